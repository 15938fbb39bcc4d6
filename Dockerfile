# stepgres: coordinator, command line and Python SDK in one image; `stepgres` is the entry point.
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements.lock ./
# The pins of the lock as constraints, without hashes: only what the wheels need is installed.
RUN python -m venv /opt/stepgres \
 && grep -v '^ ' requirements.lock | sed 's/ *\\$//' > /constraints.txt \
 && /opt/stepgres/bin/pip install --no-cache-dir -c /constraints.txt hatchling editables
COPY proto proto
COPY worker_sdk/python worker_sdk/python
COPY service service
COPY migrations migrations
RUN /opt/stepgres/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /wheels ./proto ./worker_sdk/python ./service \
 && python -m venv --clear /opt/stepgres \
 && /opt/stepgres/bin/pip install --no-cache-dir -c /constraints.txt /wheels/*.whl \
 && /opt/stepgres/bin/pip uninstall -y pip

FROM python:3.12-slim
LABEL org.opencontainers.image.title="stepgres" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home stepgres
COPY --from=build /opt/stepgres /opt/stepgres
COPY LICENSE NOTICE THIRD_PARTY_NOTICES.md /usr/share/doc/stepgres/
ENV PATH=/opt/stepgres/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STEPGRES_LISTEN=0.0.0.0:50051
USER 10001
EXPOSE 50051
# SIGTERM drains: give the container at least 35 s to stop.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["stepgres", "health", "--target", "127.0.0.1:50051"]
ENTRYPOINT ["stepgres"]
CMD ["serve"]
