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
.PHONY: help setup demo test test-all lint fmt gen verify bench chaos chaos-selftest package clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## create .venv with every dependency (other targets do it by themselves)

$(STAMP): requirements.lock $(PYPROJECTS) scripts/bootstrap
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/bootstrap
	@touch $(STAMP)

demo: $(STAMP) ## run the main job: Postgres, coordinator, two workers, a report; FOLDER=… picks the sources
	@exec $(BIN)/python examples/python/code_report/demo.py $(if $(FOLDER),"$(FOLDER)")

test: $(STAMP) ## the fast tests, at most 5 minutes; ARGS=… goes to pytest
	@exec $(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: $(STAMP) ## every test
	@exec $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(STAMP) ## style, types, layers, protos, migrations
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/lint

fmt: $(STAMP) ## let ruff and buf rewrite what they can
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q . && $(BIN)/buf format -w proto

gen: $(STAMP) ## generate proto/gen from the .proto files
	@sh scripts/gen

verify: $(STAMP) ## fail when generated code, locks or docs are stale
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/verify

bench: $(STAMP) ## measure; ARGS='latency maps' picks scenarios (ARGS=--help lists them), QUICK=1 is short
	@exec $(BIN)/python -m bench $(ARGS)

chaos: $(STAMP) ## kill, stop and cut off a loaded system for DURATION_S (60) seconds by SEED, then check it; ends with JSON
	@exec $(BIN)/python -m tests.chaos run --duration-s $(or $(DURATION_S),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-selftest: $(STAMP) ## plant each violation and see that the checker of `make chaos` reports exactly that
	@exec $(BIN)/python -m pytest tests/chaos $(ARGS)

package: $(STAMP) ## build the wheels and try them in a fresh environment outside the repository
	@sh scripts/package

clean: ## remove everything the targets made
	rm -rf $(VENV) .tools .stepgres build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
