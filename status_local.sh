#!/usr/bin/env bash
# Shows which processes of start_local.sh are running, since when, and their health; exits with 1 unless all are up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=${VENV:-.venv}/bin/python
if ! [ -x "$python" ]; then # nothing was ever started here
  echo "The service is not running. ./start_local.sh starts it."
  exit 1
fi
exec "$python" -m scripts.local status
