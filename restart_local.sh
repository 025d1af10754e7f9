#!/usr/bin/env bash
# Restarts the service, for example after a change in .env. The configuration is checked first: if it has errors, the
# service keeps running unchanged.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/setup.sh local
exec "${VENV:-.venv}/bin/python" -m scripts.local restart
