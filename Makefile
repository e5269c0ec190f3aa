# The developer's commands. `make` alone explains them.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
BIN := $(VENV)/bin
export UV_COMPILE_BYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help setup up console bytecode check format lint types layers test unit bench drills lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# uv installs the locked wheels in seconds, where pip takes minutes on a slow disk; it comes as a wheel itself.
$(VENV)/.ready: requirements/dev.lock requirements/uv.lock pyproject.toml
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@$(BIN)/uv pip install -q --python $(PY) --require-hashes -r requirements/dev.lock
	@$(BIN)/uv pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

# Where PYTHONDONTWRITEBYTECODE is set, each of the many processes would compile our sources anew.
bytecode: $(VENV)/.ready
	@$(PY) -m compileall -q src

setup: $(VENV)/.ready console bytecode ## Make .venv from the locked requirements and build the console

console: $(VENV)/.ready ## Build the console's pages, if their sources changed
	@$(PY) web-console/build.py

up: setup ## Start all systems on this machine and print where to go
	@$(BIN)/twelvefold up

check: $(VENV)/.ready bytecode ## Format, lint, types, layers, locks, licences, unit tests: under a minute
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q -n 2 tests/unit

format: $(VENV)/.ready ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

unit: $(VENV)/.ready ## Only the unit tests
	@$(BIN)/pytest -q -n 2 tests/unit

test: setup ## Every test that this machine can run; the last lines say what it could not
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/systems tests/wire tests/engines tests/unit # the longest first
	@$(BIN)/pytest -n 2 --dist loadfile tests/browser # apart: the browser's driver keeps an event loop running in its process

bench: setup ## Measure a system beside its peers: make bench SYSTEM=links
	@$(PY) -m bench $(SYSTEM)

LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: $(VENV)/.ready ## Lock the requirements again, with hashes and without hosts
	@$(LOCK) pyproject.toml -o requirements/run.lock
	@$(LOCK) pyproject.toml --group dev -o requirements/dev.lock
	@echo uv | $(LOCK) - -o requirements/uv.lock

clean: ## Remove what was built here (not your data)
	@rm -rf $(VENV) build dist src/twelvefold/console/static web-console/node_modules web-console/dist .mypy_cache .ruff_cache .pytest_cache
