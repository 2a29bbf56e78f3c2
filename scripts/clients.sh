#!/usr/bin/env bash
# Test real MCP clients and hold what they showed against docs/clients.json.
# Usage: scripts/clients.sh [pytest's arguments], after `make test` has made .venv once.
#
# Without arguments all of them, three tests at once: most of their time is a droid's 75 s. A test
# runs one client or two.
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
if (($#)); then
  exec scripts/test.sh tests/real/clients --durations=0 "$@"
fi
scripts/test.sh tests/real/clients --durations=0 -n 3 --dist=worksteal
.venv/bin/python scripts/clients_table.py check "$FACTORY_MCP_CLIENTS_RECORD"
