#!/usr/bin/env bash
# Test real MCP clients, at most two at once, and hold what they showed against docs/clients.json.
# Usage: scripts/clients.sh [pytest's arguments], after `make test` has made .venv once.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

if [[ ${FACTORY_MCP_TEST_CLIENTS:-1} == 0 ]]; then
  echo "clients: FACTORY_MCP_TEST_CLIENTS=0: NOTHING is tested with real clients" >&2
  exit
fi
FACTORY_MCP_CLIENTS=$(PATH=$PWD/.venv/bin:$PATH scripts/fetch_clients.sh)
export FACTORY_MCP_CLIENTS FACTORY_MCP_CLIENTS_RECORD=$PWD/build/clients.json
rm -f "$FACTORY_MCP_CLIENTS_RECORD"
scripts/test.sh tests/real/clients --durations=0 "$@"
if ((!$#)); then
  .venv/bin/python scripts/clients_table.py check "$FACTORY_MCP_CLIENTS_RECORD"
fi
