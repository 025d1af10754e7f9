# shellcheck shell=bash
# Sourced by the scripts that drive a browser: is there a Chromium, and install Debian's where that is allowed.

has_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null
}

install_packages() { # PACKAGE…; fails without apt-get, or without the rights for it
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null || return 1
  "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@"
} >&2

install_chromium() {
  echo "Installing Chromium, about 400 MB"
  install_packages chromium
} >&2
