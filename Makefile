# stepgres: every task of the house. Recipes are POSIX sh and run under GNU make 3.81 (macOS) too.
# `make` alone lists the targets; each carries one line of help behind ##.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stepgres-stamp
PYPROJECTS := pyproject.toml proto/pyproject.toml service/pyproject.toml worker_sdk/python/pyproject.toml

# The folder `make demo` reads; empty means the standard library of the running Python.
FOLDER ?=
# More options for pytest, such as ARGS='-k lease'.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-polyglot test test-all lint fmt gen verify bench chaos chaos-selftest conformance conformance-selftest sabotage package clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## create .venv with every dependency (other targets do it by themselves)

$(STAMP): requirements.lock $(PYPROJECTS) scripts/bootstrap
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/bootstrap
	@touch $(STAMP)

demo: $(STAMP) ## run the main job: Postgres, coordinator, two workers, a report; FOLDER=… picks the sources
	@exec $(BIN)/python examples/python/code_report/demo.py $(if $(FOLDER),"$(FOLDER)")

demo-polyglot: $(STAMP) ## one run served by workers in Python, Go and TypeScript; FOLDER=… picks the texts
	@exec $(BIN)/python examples/python/polyglot/polyglot.py $(if $(FOLDER),"$(FOLDER)")

test: $(STAMP) ## the fast tests, at most 5 minutes; ARGS=… goes to pytest
	@exec $(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: $(STAMP) ## every test; conformance-selftest and sabotage test the tools and the tests
	@exec $(BIN)/python -m pytest -n 2 --dist worksteal -m "not thorough" $(ARGS)

sabotage: $(STAMP) ## plant faults in copies of the tree and expect named tests to fail; ARGS='fence retry' picks by name
	@exec $(BIN)/python -m tests.sabotage $(ARGS)

lint: $(STAMP) ## style, types, layers, protos, migrations
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/lint

fmt: $(STAMP) ## let ruff and buf rewrite what they can
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q . && $(BIN)/buf format -w proto

gen: $(STAMP) ## generate proto/gen, and the code of every SDK whose toolchain is there, from the .proto files
	@sh scripts/gen && for each in scripts/gen-*; do sh "$$each" || exit 1; done

verify: $(STAMP) ## fail when generated code, locks or docs are stale
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/verify

bench: $(STAMP) ## measure; ARGS='latency maps' picks scenarios (ARGS=--help lists them), QUICK=1 is short
	@exec $(BIN)/python -m bench $(ARGS)

chaos: $(STAMP) ## kill, stop and cut off a loaded system for DURATION_S (60) seconds by SEED, then check it; ends with JSON
	@exec $(BIN)/python -m tests.chaos run --duration-s $(or $(DURATION_S),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-selftest: $(STAMP) ## plant each violation and see that the checker of `make chaos` reports exactly that
	@exec $(BIN)/python -m pytest tests/chaos $(ARGS)

conformance: $(STAMP) ## judge the worker of every SDK by the protocol's rules; ARGS='go -- --only acks' picks; ends with JSON
	@exec $(BIN)/python -m scripts.conformance $(ARGS)

conformance-selftest: $(STAMP) ## plant each fault in a worker and see that the kit finds exactly that; about 15 minutes
	@exec $(BIN)/python -m pytest -n 2 --dist worksteal -m thorough tests/conformance $(ARGS)

package: $(STAMP) ## build the wheels and try them in a fresh environment outside the repository
	@sh scripts/package

clean: ## remove everything the targets made
	rm -rf $(VENV) .tools .stepgres build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf worker_sdk/typescript/node_modules worker_sdk/typescript/dist
	rm -rf examples/typescript/*/node_modules examples/typescript/*/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
