#!/usr/bin/env bash
# Starts the service on this machine without Docker: installs what it needs into .venv, writes .env with random
# passwords when there is none, fetches the model, and starts Redis (if none answers), the API, the processor and the
# uploader. A second call starts what died meanwhile, or says that all of it runs. Logs are in logs/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/setup.sh local
exec "${VENV:-.venv}/bin/python" -m scripts.local start
