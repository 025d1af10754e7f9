#!/usr/bin/env bash
# Tests the pages of web/ in a headless Chromium. Arguments go to pytest.
#
#   make test-browser                         what takes less than four minutes
#   CHROMIUM=/path/to/chrome make test-browser
#
# Where there is no Chromium, Debian's is installed if apt-get and the rights for it are there; otherwise the tests are
# skipped, and this succeeds. On GitHub (CI=true) that is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null
}

install_chromium() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null || return 1
  echo "Installing Chromium, about 400 MB"
  "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium
} >&2

if ! has_chromium && ! install_chromium; then
  echo "skipped: there is no Chromium, and it could not be installed; on Debian: sudo apt-get install chromium" >&2
  [ "${CI:-}" != true ]
  exit
fi
scripts/setup.sh browser
exec "${VENV:-.venv}/bin/python" -m pytest tests/browser "$@"
