# shellcheck shell=bash
# Sourced by the scripts that drive a browser: is there a Chromium, and install Debian's where that is allowed.

has_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null
}

. scripts/debian_packages.sh

install_chromium() {
  echo "Installing Chromium, about 400 MB"
  install_packages chromium
} >&2
