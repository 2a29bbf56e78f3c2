#!/usr/bin/env bash
# Fetch real MCP clients for the tests; print a line "name folder" for each. Instant when there.
# Usage: scripts/fetch_clients.sh [name ...]: the folders of tests/real/clients/npm, all by default.
#
# npm comes from PATH. All are for Linux on x64, as the droid is. A client lives in a cache outside
# the tree, keyed by its lock file. None needs its install scripts, so none is run.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

locks=tests/real/clients/npm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/factory-mcp
declare -A what=(
  [claude]="Claude Code, 360 MB"
  [codex]="Codex, 400 MB"
  [opencode]="opencode, 180 MB"
  [cline]="Cline, 150 MB"
  [gemini]="Gemini CLI, 100 MB"
  [mcp-remote]="mcp-remote, 10 MB"
  [inspector]="MCP Inspector, 110 MB"
)

folder_of() {
  local key
  key=$(cat "$locks/$1/package.json" "$locks/$1/package-lock.json" | cksum | tr ' ' -)
  echo "$cache/client-$1-$key"
}

fresh=""
trap 'rm -rf "$fresh"' EXIT

fetch() {
  local folder=$1 name=$2
  mkdir -p "$cache"
  fresh=$(mktemp -d "$folder.new-XXXXXX")
  cp "$locks/$name/package.json" "$locks/$name/package-lock.json" "$fresh"
  npm ci --prefix "$fresh" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  # Another fetch may have been faster; then its result is as good.
  mv -T "$fresh" "$folder" 2>/dev/null || [[ -d $folder ]]
}

(($#)) || set -- "${!what[@]}"
missing=""
for name in "$@"; do
  [[ -d $(folder_of "$name") ]] || missing+="${missing:+; }${what[$name]}"
done
if [[ $missing ]]; then
  echo "clients: fetching $missing: mostly proprietary (their vendors' terms apply);" \
    "FACTORY_MCP_TEST_CLIENTS=0 tests without them" >&2
fi
for name in "$@"; do
  folder=$(folder_of "$name")
  [[ -d $folder ]] || fetch "$folder" "$name"
  echo "$name $folder"
done
