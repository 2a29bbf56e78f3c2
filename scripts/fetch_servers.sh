#!/usr/bin/env bash
# See that Redis and a PostgreSQL with TLS are installed for the tests. Instant when they are.
# Usage: scripts/fetch_servers.sh [faults]; `make faults` needs libfaketime as well.
#
# Root on a machine with apt gets the distribution's packages; neither starts a server or makes a
# database cluster, now or at the next boot. Everybody else is told the command.
set -euo pipefail
shopt -s inherit_errexit

has_postgres() {
  compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null
}

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
has_postgres || missing+=(postgresql)
[[ ${1:-} != faults ]] || compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null ||
  missing+=(libfaketime)
((${#missing[@]})) || exit 0

if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "setup: the tests need ${missing[*]}, which only the system's packages bring." >&2
  echo "setup: Debian, Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

policy=/usr/sbin/policy-rc.d # what Debian's packages ask before they start anything
clusters=/etc/postgresql-common/createcluster.conf
made_policy=0
restore() {
  ((!made_policy)) || rm -f $policy
  [[ ! -f $clusters.factory-mcp ]] || mv $clusters.factory-mcp $clusters
}
trap restore EXIT

install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

echo "setup: installing ${missing[*]} with apt-get (once); no service of theirs is started" >&2
if [[ ! -e $policy ]]; then
  made_policy=1
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
apt-get update -qq >&2
if ! has_postgres; then
  install postgresql-common # first, so that it can be told to make no cluster
  cp -p $clusters $clusters.factory-mcp
  echo "create_main_cluster = false" >>$clusters
fi
install "${missing[@]}"
if [[ -d /run/systemd/system ]]; then
  for name in "${missing[@]}"; do
    [[ $name == libfaketime ]] || systemctl --quiet disable "$name" >&2
  done
fi
