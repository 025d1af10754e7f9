#!/usr/bin/env bash
# Stops the service and starts it again, for instance after a change in .env.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

./stop_local.sh
exec ./start_local.sh
