#!/usr/bin/env bash
# Installs Debian's package of Prometheus, with promtool, for tests/monitoring. Where it may not, says so and succeeds,
# because these tests are then skipped. On GitHub (CI=true) that is an error.
set -euo pipefail

has_prometheus() {
  command -v prometheus >/dev/null && command -v promtool >/dev/null
}

install_prometheus() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null || return 1
  echo "Installing Prometheus, about 100 MB"
  "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends prometheus
} >&2

if ! has_prometheus && ! install_prometheus; then
  echo "There is no Prometheus, and it could not be installed; on Debian: sudo apt-get install prometheus" >&2
  [ "${CI:-}" != true ]
fi
