# shellcheck shell=bash
# Sourced by the scripts that need programs from Debian's packages.

install_packages() { # PACKAGE…; fails without apt-get, or without the rights for it
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null || return 1
  "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@"
} >&2
