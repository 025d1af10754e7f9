#!/usr/bin/env bash
# Writes the locked requirements from pyproject.toml, for every platform and for Python 3.11 and later. dev.txt is
# written first and constrains the others, so that all files contain the same versions. `scripts/lock.sh --upgrade` uses
# new ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${VENV:-.venv}/bin/python
upgrade=("$@")

compile() { # NAME ARGUMENTS…
  local file=requirements/$1.txt
  shift
  MAIN_INDEX_ONLY=1 "$python" scripts/uv.py pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command "make lock" --output-file "$file" "$@"
  echo "$file: $(grep -c '^[a-z].*==' "$file") packages"
}

compile dev pyproject.toml --group embedded --group test --group lint --group tools \
  ${upgrade[@]+"${upgrade[@]}"}
compile local pyproject.toml --group embedded --constraints requirements/dev.txt
compile api --group api --constraints requirements/dev.txt
compile processor --group processor --constraints requirements/dev.txt
compile processor-gpu --group processor-gpu --constraints requirements/dev.txt
compile library pyproject.toml --group embedded --group library \
  --group torch --no-emit-package torch --constraints requirements/dev.txt \
  --override requirements/library.overrides
sed -i.whole '/^$/,$d' requirements/library.txt && rm requirements/library.txt.whole # remove a comment about torch
compile browser --group browser --constraints requirements/dev.txt
compile tools --group tools --constraints requirements/dev.txt
