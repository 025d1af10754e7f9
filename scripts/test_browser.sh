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

. scripts/chromium.sh

if ! has_chromium && ! install_chromium; then
  echo "skipped: there is no Chromium, and it could not be installed; on Debian: sudo apt-get install chromium" >&2
  [ "${CI:-}" != true ]
  exit
fi
scripts/setup.sh browser
exec "${VENV:-.venv}/bin/python" -m pytest tests/browser "$@"
