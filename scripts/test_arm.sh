#!/usr/bin/env bash
# Tests the images for arm64 on a real engine, from a clean clone: ./start.sh builds both targets of the Dockerfile, and
# two songs go through all containers, one on ONNX Runtime and one on our kernels. It removes everything that it created.
#
#   make test-arm                                         tests the last commit
#   DOCKER_TEST_WORKTREE=1 scripts/test_arm.sh            tests the working tree
#
# On another processor the containers are emulated, which takes about a quarter of an hour. If the kernel has no emulator
# for ARM, root registers Debian's until the end of the test. Without an engine, or without the rights for that, this
# test is skipped and succeeds. ../shared/tools/docker-engine.sh cannot pull images: Debian's packages for arm64 take
# their place.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. scripts/docker_service.sh

export START_TIMEOUT_SECONDS=900
start_limit_s=3600
song_limit_s=1800
emulators=/proc/sys/fs/binfmt_misc
emulator_folder=$root/.venv-arm64/emulator
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
python_image=uvr-test/python:arm64 # in place of the registry's
at_the_end=unregister_emulator

# --- an ARM processor -----------------------------------------------------------------------------------------------

# The emulator of Debian 12 crashes when it loads ONNX Runtime; that of Debian 13 needs no library and runs there too.
fetch_emulator() {
  [ ! -x "$emulator_folder/usr/bin/qemu-aarch64" ] || return 0
  local apt=$work/apt
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$emulator_folder"
  : >"$apt/status"
  echo "deb [signed-by=$keyring] $mirror trixie main" >"$apt/sources.list"
  local options=(-qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=-
    -o Dir::State="$apt" -o Dir::Cache="$apt" -o Dir::State::status="$apt/status")
  apt-get "${options[@]}" update && (cd "$apt" && apt-get "${options[@]}" download qemu-user) &&
    dpkg-deb --extract "$apt"/qemu-user_*.deb "$emulator_folder"
}

# The kernel opens the emulator now (F), so that it works in containers, whose files do not include it.
register_emulator() {
  local header='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  [ -f "$emulators/register" ] || mount -t binfmt_misc binfmt_misc "$emulators" || return 1
  printf ':uvr-test-arm:M::%s:%s:%s:F' "$header" "$mask" "$emulator_folder/usr/bin/qemu-aarch64" >"$emulators/register"
}

ensure_processor() {
  [ "$(docker version --format '{{.Server.Arch}}')" != arm64 ] || return 0
  ! grep -sq b700 "$emulators"/* || return 0
  step "registering an emulator"
  if ! fetch_emulator 2>>"$work/engine.log" || ! register_emulator 2>>"$work/engine.log"; then
    tail -n 5 "$work/engine.log" >&2
    [ "${CI:-}" != true ] || fail "there is no ARM processor, and none can be emulated"
    skip "there is no ARM processor, and none can be emulated"
  fi
}

unregister_emulator() {
  [ ! -e "$emulators/uvr-test-arm" ] || echo -1 >"$emulators/uvr-test-arm"
}

# --- base images, where no registry can be reached ------------------------------------------------------------------

make_base_images() {
  ensure_base_images
  docker image inspect "$python_image" >/dev/null 2>&1 || make_python_image
  echo "PYTHON_IMAGE=$python_image" >>"$clone/env.example"
}

make_python_image() { # with the certificates of this machine, so that pip reaches the package index
  step "making a substitute for Python's image"
  command -v arch-test >/dev/null || apt-get install -y -qq --no-install-recommends arch-test >>"$work/engine.log" 2>&1
  # shellcheck disable=SC2016  # $1 is the root of the new image
  mmdebstrap --quiet --arch=arm64 --variant=minbase --include=ca-certificates,python3.11,python3-venv,python3-pip \
    --customize-hook='mkdir -p $1/usr/local/share/ca-certificates
      cp /usr/local/share/ca-certificates/*.crt $1/usr/local/share/ca-certificates/ 2>/dev/null
      chroot $1 update-ca-certificates
      rm -f $1/usr/lib/python3.11/EXTERNALLY-MANAGED
      for name in python python3 python3.11; do ln -s /usr/bin/python3.11 $1/usr/local/bin/$name; done' \
    bookworm - "deb [signed-by=$keyring] $mirror bookworm main" 2>>"$work/engine.log" |
    docker import --platform linux/arm64 --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' \
      --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' - "$python_image"
}

# --- the checks -----------------------------------------------------------------------------------------------------

# An emulated processor is thirty times slower: leases and limits are as long. Redis keeps the machine's own processor,
# because it takes an emulator for a faulty kernel and ends.
configure_for_arm() {
  cat >"$clone/docker-compose.override.yml" <<OVERRIDE
services:
  api: {platform: linux/arm64}
  uploader: {platform: linux/arm64}
  processor: {platform: linux/arm64}
OVERRIDE
  cat >>"$clone/env.example" <<SETTINGS
PROCESSORS=1
API_WORKERS=1
LEASE_SECONDS=300
HEARTBEAT_SECONDS=20
TASK_TIMEOUT_SECONDS=3000
TASK_TIMEOUT_PER_AUDIO_SECOND=200
MODELS_OFFERED=*
SETTINGS
}

check_architecture() {
  local image found
  for image in service processor; do
    found=$(docker image inspect --format '{{.Architecture}}' "$COMPOSE_PROJECT_NAME-$image")
    [ "$found" = arm64 ] || fail "the image $image is for $found"
  done
  found=$(docker compose exec -T processor python -c '
import platform
from uvr.separation.native.bindings import load
print(platform.machine(), load().best.name)')
  [ "$found" = "aarch64 NEON" ] || fail "the processor has: $found"
}

make_model() { # a small ConvTDFNet, which our kernels run
  scripts/setup.sh local
  "${VENV:-.venv}/bin/python" - "$work/models/small.onnx" <<'PROGRAM'
import sys
from pathlib import Path
from bench import standin

path = Path(sys.argv[1])
path.parent.mkdir()
standin.ensure(path, standin.Geometry(bins=640, frames=32, growth=4, levels=2, convolutions=1))
PROGRAM
}

add_model() { # a processor announces its models as it starts
  docker compose cp "$work/models/small.onnx" processor:/srv/uvr/models/ 2>/dev/null
  docker compose cp "$work/models/small.onnx.json" processor:/srv/uvr/models/ 2>/dev/null
  docker compose restart processor >/dev/null 2>&1
  docker compose up --detach --no-build --wait processor >/dev/null 2>&1
}

send_songs() {
  fetch_song
  send_song >"$work/songs.log" || fail "a song did not come through"
  grep -q 'by onnxruntime$' "$work/songs.log" || fail "Spleeter did not run on ONNX Runtime"
  add_model
  send_song --model small.onnx >>"$work/songs.log" || fail "a song did not come through our kernels"
  cat "$work/songs.log"
  tail -n 1 "$work/songs.log" | grep -q 'by native$' || fail "our kernels were not used"
}

main() {
  trap clean_up EXIT
  trap 'echo "FAILED in line $LINENO" >&2' ERR
  ensure_engine
  ensure_processor
  make_model
  make_clone
  configure
  configure_for_arm
  [ -z "$engine_started" ] || make_base_images
  cd "$clone"
  step "./start.sh, which builds both images for arm64"
  # shellcheck disable=SC2119  # without arguments
  start
  check_architecture
  step "sending a song through ONNX Runtime, and one through our kernels"
  send_songs
  step "all checks passed"
}

main
