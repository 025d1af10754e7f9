#!/usr/bin/env bash
# Takes the pictures of the page in docs/images, of a real run; see scripts/screenshots.py. SONG=path for your own song.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. scripts/chromium.sh

if ! has_chromium && ! install_chromium; then
  echo "There is no Chromium, and it could not be installed; on Debian: sudo apt-get install chromium" >&2
  exit 1
fi
if [ -z "$(fc-list Inter 2>/dev/null)" ] || [ -z "$(fc-list :lang=zh 2>/dev/null)" ]; then
  echo "Installing the fonts of the pictures, about 60 MB" >&2
  install_packages fontconfig fonts-inter fonts-noto-cjk ||
    echo "Without them, the pictures look different, and Chinese may be missing." >&2
fi
scripts/setup.sh browser
exec "${VENV:-.venv}/bin/python" -m scripts.screenshots "${SONG:-}"
