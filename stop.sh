#!/usr/bin/env bash
# Stops the service that ./start.sh started. Workers first finish their tasks or return them to the queue. The queue,
# the stems and the models stay in their volumes.
#
#   ./stop.sh                           further arguments go to `docker compose down`:
#   ./stop.sh --volumes                 also deletes the data
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

command -v docker >/dev/null || { echo "Docker is not installed, so there is nothing to stop." >&2; exit 1; }
exec docker compose --profile "*" down "$@" # also of profiles that .env no longer names
