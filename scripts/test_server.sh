#!/usr/bin/env bash
# Tests what docs/server.md installs: the proxies and the systemd units of deploy/, and backups. Arguments go to pytest.
#
#   make test-server
#
# Programs that are missing come from Debian's packages if apt-get and the rights for it are there. Otherwise the tests
# that need them are skipped, and this succeeds. On GitHub (CI=true) a missing program is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin

declare -A packages=(
  [caddy]=caddy [nginx]=nginx-light [systemd-analyze]=systemd [redis-server]=redis-server [redis-cli]=redis-tools
)

missing() { # the packages of the programs that this machine lacks
  local program
  for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || echo "${packages[$program]}"
  done
}

install_missing() {
  local as_root=() wanted
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  mapfile -t wanted < <(missing)
  command -v apt-get >/dev/null || return 1
  echo "Installing ${wanted[*]}"
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"
} >&2

if [ -n "$(missing)" ] && ! install_missing; then
  echo "Some tests are skipped, because these packages could not be installed: $(missing | paste -sd ' ')" >&2
  [ "${CI:-}" != true ]
fi
scripts/setup.sh dev
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses=3 --dist=loadfile tests/server "$@"
