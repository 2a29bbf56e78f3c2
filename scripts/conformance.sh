#!/usr/bin/env bash
# Run the protocol's official conformance suite against the product, for both eras.
# Usage: scripts/conformance.sh, after `make test` has made .venv once.
#
# Node.js and npm come from the PyPI wheel in .venv. The suite is fetched once, into
# ~/.cache/factory-mcp, keyed by its lock file; nothing it finds is expected to fail.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

locks=tests/conformance/npm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/factory-mcp
folder=$cache/conformance-$(cat $locks/package.json $locks/package-lock.json | cksum | tr ' ' -)
if [[ ! -d $folder ]]; then
  echo "setup: installing the conformance suite into $folder (once)" >&2
  mkdir -p "$cache"
  fresh=$(mktemp -d "$folder.new-XXXXXX")
  cp $locks/package.json $locks/package-lock.json "$fresh"
  npm ci --prefix "$fresh" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh" # another one was faster
fi
exec python -m tests.conformance.run \
  "$(node -p process.execPath)" "$folder/node_modules/@modelcontextprotocol/conformance/dist/index.js"
