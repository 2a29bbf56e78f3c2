#!/usr/bin/env bash
# Play `factory-mcp demo` and record it for the README: docs/demo.txt and docs/demo.svg.
#
# It is played in an empty git repository, with no droid program, no key and no configuration, so
# that a recording is the same on every machine but for its ids and times.
set -euo pipefail
cd "$(dirname "$0")/.."

here=$PWD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/shop/.git"
cd "$scratch/shop"
env -i HOME="$scratch" PATH="$scratch" TMPDIR="$scratch" TERM=xterm-256color \
  "$here/.venv/bin/factory-mcp" demo --svg "$scratch/demo.svg" >"$scratch/demo.txt"
for name in demo.txt demo.svg; do
  sed -e "s|$scratch|~|g" -e 's/[[:space:]]*$//' "$scratch/$name" >"$here/docs/$name"
done
echo "recorded: docs/demo.txt, docs/demo.svg"
