#!/usr/bin/env bash
# Stops what start_local.sh started. Workers get SHUTDOWN_GRACE_SECONDS to finish their task; an unfinished task returns
# to the queue.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=${VENV:-.venv}/bin/python
if ! [ -x "$python" ]; then # nothing was ever started here
  echo "The service is stopped."
  exit 0
fi
exec "$python" -m scripts.local stop
