#!/usr/bin/env bash
# Starts the service on this machine without Docker: installs the packages into .venv, writes .env with random passwords
# if there is none, downloads the model, and starts Redis (if none answers), the API, the processor and the uploader. A
# second call starts the processes that have died, or says that everything is running. Logs are in logs/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/setup.sh local
exec "${VENV:-.venv}/bin/python" -m scripts.local start
