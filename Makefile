# Everything a person or a machine runs. Needs Python >= 3.11 and make; the rest is fetched.

SHELL := /bin/bash
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help run test clients check bench conformance demo faults lock clean setup setup-dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## Set up, serve on 127.0.0.1:8080 and show a first answer
	@exec $(BIN)/factory-mcp serve --hello

test: setup-dev ## Set up and run every test, with the coverage gate
	@scripts/test.sh -n 3 --dist=worksteal \
	  --cov --durations=10 --ignore=tests/real/clients \
	  -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

clients: setup-dev ## Test eight real MCP clients, with a droid run of 75 s in each
	@scripts/clients.sh

check: setup-dev ## Format, lint, types, import rules, droid specs
	$(BIN)/python -m black --check --quiet .
	$(BIN)/python -m ruff check --quiet
	$(BIN)/python -m pyright
	$(BIN)/lint-imports
	$(BIN)/factory-mcp droids check

conformance: setup-dev ## Run the protocol's official suite, for both eras
	@scripts/conformance.sh

bench: setup-dev ## Measure the server's own share, beside the bare SDK, and the stores
	@$(BIN)/python bench/spawn.py
	@$(BIN)/python bench/seal.py
	@$(BIN)/python -m bench.search
	@set -e; scripts/fetch_servers.sh; \
	  FACTORY_MCP_WEAVIATE_BIN=$${FACTORY_MCP_WEAVIATE_BIN:-$$(scripts/fetch_weaviate.sh)}; \
	  export FACTORY_MCP_WEAVIATE_BIN; exec $(BIN)/python -m bench.stores

demo: setup-dev ## Play the tour and record it: docs/demo.txt, docs/demo.svg
	@scripts/record_demo.sh

faults: setup-dev ## Break stores and droids and time what happens: id value bar pass|fail
	@set -e; export PATH=$(CURDIR)/$(BIN):$$PATH; scripts/fetch_servers.sh faults; \
	  FACTORY_MCP_WEAVIATE_BIN=$${FACTORY_MCP_WEAVIATE_BIN:-$$(scripts/fetch_weaviate.sh)}; \
	  FACTORY_MCP_DROID_BIN=$$(scripts/fetch_droid.sh); \
	  export FACTORY_MCP_WEAVIATE_BIN FACTORY_MCP_DROID_BIN; exec $(BIN)/python -m tests.faults

lock: setup-dev ## Bring the lock files up to pyproject.toml
	@scripts/lock.sh

clean: ## Remove all that make put into this folder, .venv included
	rm -rf .venv .coverage* .hypothesis .pytest_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@scripts/setup.sh base

setup-dev:
	@scripts/setup.sh dev
