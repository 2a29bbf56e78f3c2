#!/usr/bin/env bash
# Run pytest with the real programs the tests need, fetched where they are missing.
# Usage: scripts/test.sh [pytest's arguments], after `make test` has made .venv once.
#
# Node.js and npm come from the PyPI wheel in .venv. What is fetched is kept outside the tree in
# ~/.cache/factory-mcp, keyed by version, so that a second run fetches nothing.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # the programs that tests start would each compile the tree again

path=$PWD/.venv/bin:$PATH # node and npm of the wheel
cache=${XDG_CACHE_HOME:-$HOME/.cache}/factory-mcp

ts_clients() {
  local source=tests/real/ts key folder fresh
  key=$(cat $source/package.json $source/package-lock.json | cksum | tr ' ' -)
  folder=$cache/ts-$key
  if [[ ! -d $folder ]]; then
    echo "setup: installing the TypeScript MCP clients into $folder (once)" >&2
    mkdir -p "$cache"
    fresh=$(mktemp -d "$cache/ts-new-XXXXXX")
    cp $source/package.json $source/package-lock.json "$fresh"
    PATH=$path npm ci --prefix "$fresh" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    [[ -d $folder ]] || mv "$fresh" "$folder"
  fi
  echo "$folder"
}

FACTORY_MCP_TS=$(ts_clients)
FACTORY_MCP_NODE=$(PATH=$path node -p process.execPath)
export FACTORY_MCP_TS FACTORY_MCP_NODE
if [[ ${FACTORY_MCP_TEST_DROID:-1} == 0 ]]; then
  echo "setup: FACTORY_MCP_TEST_DROID=0: NOTHING is tested against the real droid" >&2
else
  command -v ps >/dev/null || {
    echo "setup: there is no ps, and without it the droid kills every command that it runs." >&2
    echo "setup: Debian, Ubuntu: apt-get install procps; or: FACTORY_MCP_TEST_DROID=0 make test" >&2
    exit 1
  }
  FACTORY_MCP_DROID_BIN=$(PATH=$path bash scripts/fetch_droid.sh)
  export FACTORY_MCP_DROID_BIN
fi
if [[ ${FACTORY_MCP_TEST_CLIENTS:-1} == 0 ]]; then
  echo "setup: FACTORY_MCP_TEST_CLIENTS=0: NOTHING is tested with real MCP clients" >&2
elif [[ -z ${FACTORY_MCP_CLIENTS:-} ]]; then # scripts/clients.sh has fetched all of them
  FACTORY_MCP_CLIENTS=$(PATH=$path scripts/fetch_clients.sh claude)
  export FACTORY_MCP_CLIENTS
fi
scripts/fetch_servers.sh
if [[ -z ${FACTORY_MCP_WEAVIATE_BIN:-} ]]; then
  FACTORY_MCP_WEAVIATE_BIN=$(scripts/fetch_weaviate.sh)
  export FACTORY_MCP_WEAVIATE_BIN
fi
exec .venv/bin/python -m pytest "$@"
