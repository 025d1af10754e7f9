#!/usr/bin/env bash
# Makes the Python environment that everything runs in, from the locked requirements, and builds the kernels of
# uvr/separation/native where there is a C compiler; quick when nothing changed.
#
#   scripts/setup.sh local      what the service needs on one machine, in .venv
#   scripts/setup.sh dev        the same with everything for tests and lint
#   scripts/setup.sh library    what the service needs, with audio-separator, in .venv-library
#
# PYTHON names the interpreter (3.11 or later). VENV, or LIBRARY_VENV for the last, names an environment of your own: it
# is used as it is, and nothing is installed into it. The package index is the one that pip is configured with.
# TORCH=cuda gives the library the torch that runs on NVIDIA's cards, 5 GB in place of 0.7.
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
  fail "Python 3.11 or later is needed; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || true)." \
    "Install it, or name it: PYTHON=/path/to/python3.11 make setup"
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
    fail "$python could not make the environment $environment; the lines above say why."
}

is_up_to_date() { # a requirements file is copied into the environment once it is installed; dev holds all of local
  cmp -s requirements/dev.txt "$environment/dev.txt" || cmp -s "$requirements" "$environment/$(basename "$requirements")"
}

has_its_torch() {
  [ "$environment" = .venv ] || [ "$(cat .venv-library/torch.txt 2>/dev/null)" = "$(torch_version)" ]
}

torch_version() { # PyTorch's builds for Linux without CUDA have versions of their own; elsewhere there is only one
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
    install "${torch/==/===}" # exactly this build, whatever lies in a folder of wheels
  else # the usual index has no such build, but a mirror or a folder of wheels may
    install --no-deps "$torch" 2>/dev/null ||
      install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu "$torch"
  fi
  echo "$torch" >.venv-library/torch.txt
}

build_kernels() { # PYTHON; without a C compiler the service does without them
  "$1" -m uvr.separation.native.build
}

install() {
  "$installer/bin/python" scripts/uv.py pip install --python "$environment/bin/python" "$@" 2>&1 | without_lists >&2
}

without_lists() { # uv's output without its lists of packages and without downloads of less than 20 MiB
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

describe_download() { # how large it is, as far as that was measured, and where it comes from
  local size=""
  case $requirements in
    */local.txt) size="about 120 MB " ;;
    */dev.txt) size="about 230 MB " ;;
    */library.txt) size="1.5 GB once installed, with TORCH=cuda 5 GB more, " ;;
  esac
  echo "${size}from $("$installer/bin/python" scripts/uv.py --show-index)"
}

is_whole() { # a removed interpreter leaves an environment that does not start, an interruption one without pip
  is_recent "$environment/bin/python" && "$installer/bin/python" -m pip --version >/dev/null 2>&1
}

installer=$environment # whose pip and uv are used
if [ "$environment" != .venv ] && [ -x .venv/bin/uv ] && is_recent .venv/bin/python; then
  installer=.venv # most of the time that a new environment takes is spent on a pip and a uv of its own
fi

if [ -n "$given" ]; then
  [ -x "$given/bin/python" ] || fail "VENV or LIBRARY_VENV names $given, which holds no Python environment."
  build_kernels "$given/bin/python"
  exit 0
fi
if is_recent "$environment/bin/python" && is_up_to_date && has_its_torch; then
  build_kernels "$environment/bin/python" >/dev/null # a compiler may have come since, and its absence is no news
  exit 0
fi
is_whole || make_environment

echo "Installing $requirements into $environment, $(describe_download)"
rm -f "$environment"/*.txt # what is half installed must not count
export PIP_DISABLE_PIP_VERSION_CHECK=1
if [ "$installer" = "$environment" ]; then
  "$environment/bin/python" -m pip install --quiet --require-hashes --requirement requirements/tools.txt
else
  install --require-hashes --requirement requirements/tools.txt
fi
if [ "$environment" = .venv ]; then
  install --require-hashes --requirement "$requirements"
else # the lock is complete but for the torch, and leaves out on purpose what its packages ask for
  install --no-deps --require-hashes --requirement "$requirements"
  install_torch
fi
cp "$requirements" "$environment/"
build_kernels "$environment/bin/python"
