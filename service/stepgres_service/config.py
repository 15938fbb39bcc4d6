"""Settings of a coordinator: environment variables STEPGRES_*, each with its unit, range and default.

A variable NAME_FILE names a file that holds the value, for secrets: STEPGRES_DATABASE_URL_FILE.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stepgres_service.errors import SettingsError

_MIB = 1 << 20
#: The rule of slugs, as the database has it.
_QUEUE = re.compile(r"(?!run\Z)[a-zA-Z_][a-zA-Z0-9_]{0,127}\Z")


#: What pydantic found -> what people read, with pydantic's own facts.
_FAULTS = {
    "int_parsing": "is no whole number; give one",
    "int_type": "is no whole number; give one",
    "int_from_float": "is no whole number; give one",
    "float_parsing": "is no number; give one",
    "bool_parsing": "is neither true nor false; give one of them",
    "greater_than_equal": "is too small; use {ge} or more",
    "greater_than": "is too small; use more than {gt}",
    "less_than_equal": "is too large; use {le} or less",
    "less_than": "is too large; use less than {lt}",
    "literal_error": "is unknown; use {expected}",
    "value_error": "{error}",
}


def _fault(error: Any) -> str:
    """What is wrong with a value, and what to do."""
    text = _FAULTS.get(error["type"])
    return f"is refused ({error['msg']}); correct it" if text is None else text.format(**error.get("ctx", {}))


class _FileSource(PydanticBaseSettingsSource):
    """Values from files that STEPGRES_<NAME>_FILE names."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        variable = f"STEPGRES_{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text().strip(), field_name, False
        except OSError as error:
            raise SettingsError(
                f"{variable}: {path} cannot be read ({error.strerror}); name a readable file"
            ) from error

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value = self.get_field_value(field, name)[0]
            if value is not None:
                # Under the alias where there is one: pydantic looks for it first.
                alias = field.validation_alias
                found[str(alias.choices[0]) if isinstance(alias, AliasChoices) else name] = value
        return found


class Settings(BaseSettings):
    """What a coordinator is started with."""

    # An empty variable is none: compose files and charts set what was left out to "".
    model_config = SettingsConfigDict(
        env_prefix="STEPGRES_", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    database_url: str = Field(
        validation_alias=AliasChoices("STEPGRES_DATABASE_URL", "DATABASE_URL"),
        description="Address of the database; may lead through PgBouncer. Where it is not set, `DATABASE_URL` counts.",
    )
    listen_database_url: str | None = Field(None, description="Address without a pooler, for LISTEN and migrate.")
    listen: str = Field("127.0.0.1:50051", description="host:port to serve on; port 0 takes a free one.")
    pool_min: int = Field(
        2,
        ge=1,
        le=1000,
        description="Connections kept open, beside one for each lane, LISTEN, renewals and starts.",
    )
    pool_max: int = Field(8, ge=1, le=1000, description="Most connections of the pool.")
    prepare_threshold: int | None = Field(
        None,
        ge=0,
        description="Executions after which a statement is prepared, 0 = never; unset = 2, or never behind a pooler.",
    )
    lanes: int = Field(2, ge=1, le=16, description="Transactions under way at the same time.")

    lease_s: float = Field(15.0, ge=1, le=3600, description="Seconds a session lives without a renewal.")
    heartbeat_s: float = Field(
        5.0, ge=0.2, le=1200, description="Seconds between renewals; at most a third of the lease."
    )
    reconnect_grace_ms: int = Field(2000, ge=0, description="Milliseconds a broken stream's tasks wait by default.")
    poll_s: float = Field(
        5.0, ge=0.1, le=60, description="Seconds between looks for work that no notification announced."
    )
    drain_s: float = Field(20.0, ge=0, le=3600, description="Seconds that workers have to go elsewhere on SIGTERM.")
    default_queue: str | None = Field(None, description="Shared queue of flows that are made without one.")

    retention_s: float | None = Field(
        None, ge=1, le=100 * 366 * 86400, description="Seconds that a run is kept after its end; unset = for ever."
    )

    max_input_bytes: int = Field(_MIB, ge=1, description="Bytes of a run input.")
    max_output_bytes: int = Field(_MIB, ge=1, description="Bytes of one task's output.")
    max_params_bytes: int = Field(64 << 10, ge=2, le=64 << 10, description="Bytes of a step's params as JSON.")
    max_task_input_bytes: int = Field(16 * _MIB, ge=1, le=16 * _MIB, description="Bytes of an assembled task input.")
    max_map_output_bytes: int = Field(16 * _MIB, ge=1, le=16 * _MIB, description="Bytes of all outputs of a map step.")
    max_items: int = Field(100_000, ge=0, le=1_000_000, description="Items of a map.")
    max_steps: int = Field(2000, ge=1, le=2000, description="Steps of a flow.")
    max_dependencies: int = Field(2000, ge=1, le=2000, description="Dependencies of a step.")
    max_credits: int = Field(10_000, ge=1, le=100_000, description="Credits and leases of a stream.")
    max_streams: int = Field(1000, ge=1, description="Worker streams of this coordinator.")
    max_watches: int = Field(10_000, ge=1, description="WatchRun streams of this coordinator.")
    max_lost_leases: int = Field(5, ge=0, le=1000, description="Lost leases a task survives.")
    max_held_bytes: int = Field(
        64 * _MIB, ge=_MIB, description="Bytes of results that wait to be recorded; more are put off."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe line that is logged."
    )
    log_format: Literal["json", "console", "auto"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )
    reflection: bool = Field(True, description="Serve gRPC reflection.")

    def __init__(self, **given: Any) -> None:
        """Reads the environment; what is given counts more.

        Raises:
            SettingsError: a value is missing or out of range; the message names the variable.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            variable = name if name.startswith("STEPGRES_") else f"STEPGRES_{name.upper()}"
            if first["type"] == "missing":
                raise SettingsError(
                    f"{variable} is not set; set it to the database's address, such as "
                    "postgresql://user@host/database, or use `stepgres dev`"
                ) from error
            raise SettingsError(f"{variable}: {first.get('input')!r} {_fault(first)}") from error

    @field_validator("listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError("is no host:port; write it like 0.0.0.0:50051")
        return value

    @field_validator("default_queue")
    @classmethod
    def _names_a_queue(cls, value: str | None) -> str | None:
        # Here, or every CreateFlow would be refused for a name that its caller never sent.
        if value is not None and not _QUEUE.match(value):
            raise ValueError(
                'is no name; use letters, digits and _ (a letter or _ first), 1 to 128 characters, not "run"'
            )
        return value

    @model_validator(mode="after")
    def _pool_holds_its_minimum(self) -> Self:
        if self.pool_max < self.pool_min:
            raise SettingsError(
                f"STEPGRES_POOL_MAX: {self.pool_max} is less than STEPGRES_POOL_MIN ({self.pool_min}); raise it or lower "
                "the other"
            )
        return self

    @property
    def host(self) -> str:
        """Host part of listen."""
        return self.listen.rpartition(":")[0]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Given values, then files (or DATABASE_URL would win over STEPGRES_DATABASE_URL_FILE), then the environment."""
        return init_settings, _FileSource(settings_cls), env_settings
