#!/usr/bin/env bash
# Makes the Python environment that everything runs in, from the locked requirements; quick when nothing changed.
#
#   scripts/setup.sh local      what the service needs on one machine
#   scripts/setup.sh dev        the same with everything for tests and lint
#
# PYTHON names the interpreter (3.11 or later). VENV names an environment of your own: it is used as it is, and nothing
# is installed into it. The package index is the one that pip is configured with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=requirements/$1.txt

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

is_recent() { # PYTHON
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if is_recent "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or later is needed; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || true)." \
    "Install it, or name it: PYTHON=/path/to/python3.11 make setup"
}

make_environment() {
  local python
  python=$(find_python)
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python lacks the modules venv and ensurepip." "On Debian and Ubuntu: sudo apt install python3-venv"
  "$python" -m venv --clear .venv || fail "$python could not make the environment .venv; the lines above say why."
}

is_up_to_date() { # a requirements file is copied into the environment once it is installed; dev holds all of local
  cmp -s requirements/dev.txt .venv/dev.txt || cmp -s "$requirements" ".venv/$(basename "$requirements")"
}

is_whole() { # a removed interpreter leaves an environment that does not start, an interruption one without pip
  is_recent .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1
}

if [ -n "${VENV:-}" ]; then
  [ -x "$VENV/bin/python" ] || fail "VENV names $VENV, which holds no Python environment."
  exit 0
fi
is_recent .venv/bin/python && is_up_to_date && exit 0
is_whole || make_environment

echo "Installing $requirements into .venv"
rm -f .venv/*.txt # what is half installed must not count
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install --quiet --require-hashes --requirement requirements/tools.txt
.venv/bin/python scripts/uv.py pip install --require-hashes --requirement "$requirements"
cp "$requirements" .venv/
