#!/usr/bin/env bash
# Creates the Python environment from the locked requirements, and builds the kernels of uvr/separation/native if there
# is a C compiler. It is quick if nothing has changed.
#
#   scripts/setup.sh local      what the service needs on one machine, in .venv
#   scripts/setup.sh dev        the same with the tools for tests and lint, in .venv
#   scripts/setup.sh browser    the same as dev, with what drives a browser in tests, in .venv
#   scripts/setup.sh library    what the service needs, with audio-separator, in .venv-library
#
# PYTHON is the interpreter to use (3.11 or later). VENV, or LIBRARY_VENV for `library`, is your own environment: it is
# used unchanged, and nothing is installed into it. Packages come from the index that pip is configured with. TORCH=cuda
# installs the torch for NVIDIA cards with audio-separator, 5 GB instead of 0.7 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=requirements/$1.txt
environment=.venv
given=${VENV:-}
if [ "$1" = library ]; then
  environment=.venv-library
  given=${LIBRARY_VENV:-}
fi
torch_build=${TORCH:-cpu}

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
  fail "Python 3.11 or later is required; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || true)." \
    "Install it, or set its path: PYTHON=/path/to/python3.11 make setup"
}

make_environment() {
  local python
  python=$(find_python)
  if [ "$installer" != "$environment" ]; then
    "$installer/bin/uv" venv --quiet --clear --python "$python" "$environment"
    return
  fi
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python lacks the modules venv and ensurepip." "On Debian and Ubuntu: sudo apt install python3-venv"
  "$python" -m venv --clear "$environment" ||
    fail "$python could not create the environment $environment; the lines above say why."
}

is_up_to_date() { # the installed requirements file is copied into the environment; dev includes local
  cmp -s requirements/dev.txt "$environment/dev.txt" || cmp -s "$requirements" "$environment/$(basename "$requirements")"
}

has_its_torch() {
  [ "$environment" = .venv ] || [ "$(cat .venv-library/torch.txt 2>/dev/null)" = "$(torch_version)" ]
}

torch_version() { # on Linux, PyTorch's builds without CUDA have their own versions; elsewhere there is only one build
  local version
  version=$(sed -n 's/^torch = \["\(.*\)"\]$/\1/p' pyproject.toml)
  case "$torch_build-$(uname -s)" in
    cpu-Linux) echo "$version+cpu" ;;
    *) echo "$version" ;;
  esac
}

install_torch() {
  local torch
  torch=$(torch_version)
  if [ "${torch%+cpu}" = "$torch" ]; then
    install "${torch/==/===}" # exactly this build, even if a folder of wheels has others
  else # the usual index does not have this build, but a mirror or a folder of wheels may
    install --no-deps "$torch" 2>/dev/null ||
      install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu "$torch"
  fi
  echo "$torch" >.venv-library/torch.txt
}

build_kernels() { # PYTHON; without a C compiler the service works without them
  "$1" -m uvr.separation.native.build
}

install() {
  "$installer/bin/python" scripts/uv.py pip install --python "$environment/bin/python" "$@" 2>&1 | without_lists >&2
}

without_lists() { # removes the lists of packages, and downloads of less than 20 MiB, from the output of uv
  local line name large=" "
  while IFS= read -r line; do
    read -r _ name _ <<<"$line"
    case $line in
      " + "* | " - "* | " ~ "* | "Resolved "* | "Prepared "* | "Installed "* | "Uninstalled "*) continue ;;
      "Downloading "*"("[2-9][0-9].*MiB")" | "Downloading "*"("[0-9][0-9][0-9].*MiB")" | "Downloading "*GiB")")
        large+="$name "
        ;;
      "Downloading "*) continue ;;
      " Downloaded "*) [[ $large == *" $name "* ]] || continue ;;
    esac
    printf '%s\n' "$line"
  done
}

describe_download() { # its size, if it was measured, and its source
  local size=""
  case $requirements in
    */local.txt) size="about 120 MB " ;;
    */dev.txt) size="about 370 MB " ;;
    */browser.txt) size="about 55 MB " ;;
    */library.txt) size="1.5 GB once installed, with TORCH=cuda 5 GB more, " ;;
  esac
  echo "${size}from $("$installer/bin/python" scripts/uv.py --show-index)"
}

is_complete() { # false if its interpreter was removed, or if its creation was interrupted
  is_recent "$environment/bin/python" && "$installer/bin/python" -m pip --version >/dev/null 2>&1
}

installer=$environment # the environment whose pip and uv are used
if [ "$environment" != .venv ] && [ -x .venv/bin/uv ] && is_recent .venv/bin/python; then
  installer=.venv # installing pip and uv takes most of the time of a new environment
fi

if [ -n "$given" ]; then
  [ -x "$given/bin/python" ] || fail "VENV or LIBRARY_VENV is $given, which is not a Python environment."
  build_kernels "$given/bin/python"
  exit 0
fi
if [ "$1" = browser ]; then # goes on top of dev, and of nothing else
  scripts/setup.sh dev
  cmp -s "$requirements" "$environment/browser.txt" && exit 0
  echo "Installing $requirements into $environment, $(describe_download)"
  install --require-hashes --requirement "$requirements"
  cp "$requirements" "$environment/"
  exit 0
fi
if is_recent "$environment/bin/python" && is_up_to_date && has_its_torch; then
  build_kernels "$environment/bin/python" >/dev/null # a compiler may have been installed since
  exit 0
fi
is_complete || make_environment

echo "Installing $requirements into $environment, $(describe_download)"
rm -f "$environment"/*.txt # a partial installation must not count as complete
export PIP_DISABLE_PIP_VERSION_CHECK=1
if [ "$installer" = "$environment" ]; then
  "$environment/bin/python" -m pip install --quiet --require-hashes --requirement requirements/tools.txt
else
  install --require-hashes --requirement requirements/tools.txt
fi
if [ "$environment" = .venv ]; then
  install --require-hashes --requirement "$requirements"
else # the lock file is complete except for torch, and omits some dependencies on purpose
  install --no-deps --require-hashes --requirement "$requirements"
  install_torch
fi
cp "$requirements" "$environment/"
build_kernels "$environment/bin/python"
