#!/usr/bin/env bash
# Make .venv hold what the lock names, and this tree. Usage: scripts/setup.sh base|dev
#
# Instant when nothing changed: .venv/.locked says which lock, which locks' contents and which
# folder it was made for. `dev` contains `base` at the same versions.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$1
case $want in
  base) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
esac
venv_python=.venv/bin/python
made_for="$(cat requirements.lock requirements-dev.lock pyproject.toml | cksum) $PWD"
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer found (python3: $(python3 --version 2>/dev/null || echo none))." \
    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it:" \
    "  PYTHON=/path/to/python3.12 make run"
}

make_venv() {
  local python version
  python=$(find_python)
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python $version has no venv module." \
      "Debian, Ubuntu: apt-get install python$version-venv"
  echo "setup: making .venv with Python $version ($python)"
  "$python" -m venv --clear .venv
}

if [[ -f .venv/.locked ]] && new_enough $venv_python; then
  read -r has is_for <.venv/.locked
  if [[ $is_for == "$made_for" && ($has == "$want" || $has == dev) ]]; then
    exit 0
  fi
  # The programs in .venv/bin name the folder they were made in.
  [[ $is_for == *" $PWD" ]] || make_venv
elif ! new_enough $venv_python; then
  make_venv
fi

rm -f .venv/.locked
$venv_python -m pip --version >/dev/null 2>&1 || $venv_python -m ensurepip >/dev/null
echo "setup: installing $(grep -c '^[a-z]' $lock) packages of $lock into .venv (once)"
# The lock is whole. Left to look for itself, an older pip finds a newer release of what is asked
# for with an extra, and refuses it for want of a hash.
$venv_python -m pip install --quiet --require-hashes --no-deps --requirement $lock
$venv_python -m pip install --quiet --no-deps --no-build-isolation --editable .
echo "$want $made_for" >.venv/.locked
