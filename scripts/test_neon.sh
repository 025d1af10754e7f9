#!/usr/bin/env bash
# Tests the C kernels on an emulated ARM processor: Debian's cross compiler builds them, and the tests with the mark
# `kernels` run in an arm64 Python under qemu-aarch64, beside a check for undefined behavior. Arguments go to pytest.
#
#   make test-neon
#
# Everything is in .venv-arm64: Debian's Python, the locked packages for arm64, and a copy of the checkout. Where the
# programs are missing, Debian's are installed if apt-get and the rights for it are there; otherwise the tests are
# skipped, and this succeeds. On GitHub (CI=true) that is an error. DEBIAN_MIRROR is where Debian's packages come from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=$PWD/.venv-arm64
checkout=$environment/checkout
compiler="aarch64-linux-gnu-gcc -Wall -Wextra -Werror"

. scripts/debian_packages.sh

has_programs() {
  [ "$(command -v aarch64-linux-gnu-gcc qemu-aarch64 apt-get dpkg-deb | wc -l)" = 4 ] && [ -f "$debian_keyring" ]
}

install_programs() {
  echo "Installing a compiler for ARM and qemu, about 350 MB"
  install_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user debian-archive-keyring
} >&2

make_root() { # Debian's Python with the libraries that it needs
  [ ! -x "$environment/root/usr/bin/python3.11" ] || return 0
  echo "Fetching Python for arm64, 16 MB"
  unpack_packages "$environment/root" arm64 bookworm python3.11 libstdc++6
}

install_python_packages() { # those that the service needs, and pytest
  ! cmp -s requirements/dev.txt "$environment/packages/dev.txt" || return 0
  echo "Installing requirements/local.txt for arm64, about 120 MB"
  rm -rf "$environment/packages"
  .venv/bin/python scripts/uv.py pip install --quiet --target "$environment/packages" --python-version 3.11 \
    --python-platform aarch64-manylinux_2_28 --only-binary :all: --requirement requirements/local.txt \
    --constraint requirements/dev.txt pytest pytest-timeout hypothesis
  cp requirements/dev.txt "$environment/packages/"
}

copy_checkout() { # the kernels of another processor, and bytecode, must not get into this one
  rm -rf "$checkout"
  mkdir -p "$checkout"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
  done | tar --null --files-from=- --create --file=- | tar --extract --directory="$checkout"
}

emulated_python() {
  PYTHONPATH=$environment/packages PYTHONDONTWRITEBYTECODE=1 CC=$compiler \
    qemu-aarch64 -L "$environment/root" "$environment/root/usr/bin/python3.11" "$@"
}

build_kernels() { # and load them, with the command that make setup uses
  emulated_python -m uvr.separation.native.build
  [ -n "$(find uvr/separation/native -name 'libtdfnet-*')" ]
}

# shellcheck disable=SC2329  # called by in_background
check_undefined_behavior() { # UBSan, the only sanitizer that works in an emulator
  local kernels=uvr/separation/native/kernels
  # shellcheck disable=SC2086  # the compiler has arguments
  $compiler -std=gnu99 -O2 -g1 -pthread -fsanitize=undefined -fno-sanitize-recover=all -DTDFNET_POISON -I"$kernels" \
    "$kernels"/*.c tests/support/kernels/*.c @tests/support/kernels/link.flags -o "$environment/check" -lm
  qemu-aarch64 -L /usr/aarch64-linux-gnu "$environment/check"
}

# shellcheck disable=SC2329  # called by in_background
run_tests() { # FOLDER
  local tests=tests/integration/separation/$1
  # Not the products of bfloat16 (1, 3 and 6 terms): there are no instructions for them here, and the portable functions,
  # which the check below runs too, would take most of the time.
  emulated_python -m pytest -q -rfE -p no:cacheprovider -m kernels -k "not (neon-1 or neon-3 or neon-6)" \
    "${pytest_arguments[@]}" "$tests"/test_{kernels,network}.py
}

in_background() { # NAME FUNCTION…: its output is shown by `finish NAME`
  local name=$1
  shift
  "$@" >"$environment/$name.log" 2>&1 &
  jobs_by_name[$name]=$!
}

finish() { # NAME
  local status=0
  wait "${jobs_by_name[$1]}" || status=$?
  printf '== %s: %s s\n' "$1" "$SECONDS"
  cat "$environment/$1.log"
  return "$status"
}

if ! has_programs && ! install_programs; then
  echo "skipped: there is no compiler for ARM or no qemu, and they could not be installed;" \
    "on Debian: sudo apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user" >&2
  [ "${CI:-}" != true ]
  exit
fi
pytest_arguments=("$@")
declare -A jobs_by_name
scripts/setup.sh dev
make_root
install_python_packages
copy_checkout
cd "$checkout"
build_kernels
in_background native run_tests native
in_background roformer run_tests roformer
in_background ubsan check_undefined_behavior
failed=0
for name in native roformer ubsan; do
  finish "$name" || failed=1
done
exit "$failed"
