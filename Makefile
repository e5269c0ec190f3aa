# The developer's commands. `make` alone explains them.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup up console check format lint types layers test unit bench drills lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.ready: requirements/dev.lock pyproject.toml
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.ready console ## Make .venv from the locked requirements and build the console

console: $(VENV)/.ready ## Build the console's pages, if their sources changed
	@$(PY) web-console/build.py

up: setup ## Start all systems on this machine and print where to go
	@$(BIN)/twelvefold up

check: $(VENV)/.ready ## Format, lint, types, layers, locks, licences, unit tests: under a minute
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/unit

format: $(VENV)/.ready ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

unit: $(VENV)/.ready ## Only the unit tests
	@$(BIN)/pytest -q tests/unit

test: setup ## Every test that this machine can run; the last lines say what it could not
	@$(BIN)/pytest

bench: setup ## Measure a system beside its peers: make bench SYSTEM=links
	@$(PY) -m bench $(SYSTEM)

lock: ## Lock the requirements again, with hashes and without hosts
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/pip install -q uv
	@$(BIN)/uv pip compile pyproject.toml -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/run.lock
	@$(BIN)/uv pip compile pyproject.toml -q --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements/dev.lock

clean: ## Remove what was built here (not your data)
	@rm -rf $(VENV) build dist src/twelvefold/console/static web-console/node_modules web-console/dist .mypy_cache .ruff_cache .pytest_cache
