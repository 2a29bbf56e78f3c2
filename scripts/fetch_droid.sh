#!/usr/bin/env bash
# Fetch Factory's droid program for the tests and print its path on stdout. Instant when there.
#
# npm comes from PATH, or is given by $NPM. The program lives in a cache outside the tree.
set -euo pipefail

version=0.225.2
package=@factory/cli-linux-x64
folder=${XDG_CACHE_HOME:-$HOME/.cache}/factory-mcp/droid-$version
program=$folder/node_modules/$package/bin/droid

if [[ ! -x $program ]]; then
  echo "droid $version: proprietary (Factory's terms apply), 254 MB;" \
    "FACTORY_MCP_TEST_DROID=0 tests without it" >&2
  mkdir -p "$(dirname "$folder")"
  fresh=$(mktemp -d "$folder.new-XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  "${NPM:-npm}" install --prefix "$fresh" --ignore-scripts --no-audit --no-fund \
    --loglevel=error "$package@$version" >&2
  # Another fetch may have been faster; then its result is as good.
  mv -T "$fresh" "$folder" 2>/dev/null || [[ -x $program ]]
fi
echo "$program"
