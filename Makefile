# Everything a person or a machine runs. Needs Python >= 3.11 and make; the rest is fetched.

SHELL := /bin/bash
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help run test check bench faults lock clean setup setup-dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## Set up, serve on 127.0.0.1:8080 and show a first answer
	@exec $(BIN)/factory-mcp serve --hello

test: setup-dev ## Set up and run every test, with the coverage gate
	@scripts/test.sh --cov --durations=10 \
	  -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

check: setup-dev ## Format, lint, types, import rules, droid specs
	$(BIN)/python -m black --check --quiet .
	$(BIN)/python -m ruff check --quiet
	$(BIN)/python -m pyright
	$(BIN)/lint-imports
	$(BIN)/factory-mcp droids check

bench: setup-dev ## Measure the server's own share, beside the bare SDK
	@$(BIN)/python bench/spawn.py

faults: setup-dev ## Break things around the real droid and time what happens: id value bar pass|fail
	@export PATH=$(CURDIR)/$(BIN):$$PATH && \
	  FACTORY_MCP_DROID_BIN=$$(scripts/fetch_droid.sh) $(BIN)/python -m tests.faults.droid_faults

lock: setup-dev ## Bring the lock files up to pyproject.toml
	@scripts/lock.sh

clean: ## Remove all that make put into this folder, .venv included
	rm -rf .venv .coverage* .hypothesis .pytest_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@scripts/setup.sh base

setup-dev:
	@scripts/setup.sh dev
