#!/usr/bin/env bash
# Resolve pyproject.toml into the two hashed lock files. Usage: scripts/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
  .venv/bin/uv --quiet pip compile pyproject.toml - \
    --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command "make lock" "$@" <<<"$build"
}

# An editable install without build isolation finds its builder among what is locked.
build=$'hatchling\neditables'

compile --extra server --extra dev --output-file requirements-dev.lock "$@"
compile --extra server --constraint requirements-dev.lock --output-file requirements.lock
echo "requirements.lock $(grep -c '^[a-z]' requirements.lock), requirements-dev.lock $(grep -c '^[a-z]' requirements-dev.lock) packages"
