#!/usr/bin/env bash
# Shows which processes of start_local.sh run, since when, and their health; exits 1 unless all of them are up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=${VENV:-.venv}/bin/python
if ! [ -x "$python" ]; then # nothing was ever started here
  echo "The service does not run: ./start_local.sh"
  exit 1
fi
exec "$python" -m scripts.local status
