#!/usr/bin/env bash
# Stops the service and starts it again, for instance after a change in .env. The configuration is checked first: with a
# fault in it the service goes on as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/setup.sh local
exec "${VENV:-.venv}/bin/python" -m scripts.local restart
