#!/usr/bin/env bash
# Tests the C kernels on an emulated processor with AMX: Bochs starts Debian's Linux, whose only program is the one in
# tests/support/kernels. What asks for the tiles, saves them and gives them back is thus tested too.
#
#   make test-amx
#
# Everything is in .venv-amx: Bochs, which is built with our patch, Linux, and what makes a disk of it. Where a compiler
# is missing, Debian's is installed if apt-get and the rights for it are there; otherwise the test is skipped, and this
# succeeds. On GitHub (CI=true) that is an error. DEBIAN_MIRROR is where Debian's packages come from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=$PWD/.venv-amx
root=$environment/root
machine=$environment/machine
support=$PWD/tests/support/amx
kernels=$PWD/uvr/separation/native/kernels
bochs_source=bochs_3.0+dfsg.orig.tar.xz
bochs_sha256=78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b
max_seconds=600
amx=6 # in enum tdfnet_isa

. scripts/debian_packages.sh

has_programs() {
  [ "$(command -v gcc g++ make patch xz curl apt-get dpkg-deb | wc -l)" = 8 ] && [ -f "$debian_keyring" ] &&
    echo 'int main(void) { return 0; }' | gcc -static -x c - -o /dev/null 2>/dev/null
}

install_programs() {
  echo "Installing a compiler"
  install_packages gcc g++ libc6-dev make patch xz-utils curl debian-archive-keyring
} >&2

is_complete() { [ -d "$root" ] && cmp -s "$support/bochs.patch" "$environment/bochs.patch"; }

is_reachable() { curl --fail --silent --head --output /dev/null "$debian_mirror/pool/main/b/bochs/$bochs_source"; }

make_root() {
  [ ! -d "$root" ] || return 0
  echo "Fetching Linux and what starts it, 40 MB"
  unpack_packages "$root" amd64 trixie linux-image-cloud-amd64 bochsbios vgabios isolinux syslinux-common xorriso cpio
  rm -rf "$root/usr/lib/modules"
}

run_in_root() { # PROGRAM …: with the libraries of its own release
  local program=$1
  shift
  "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/$program" "$@"
}

fetch_bochs() {
  curl --fail --silent --show-error --location "$debian_mirror/pool/main/b/bochs/$bochs_source" --output "$1"
  echo "$bochs_sha256  $1" | sha256sum --check --quiet
}

build_bochs() { # without devices and debuggers that nothing here needs
  ! cmp -s "$support/bochs.patch" "$environment/bochs.patch" || return 0
  echo "Building Bochs, some minutes"
  local source=$environment/source
  rm -rf "$source" "$environment/bochs.patch"
  mkdir -p "$source"
  fetch_bochs "$source/source.tar.xz"
  tar --extract --file="$source/source.tar.xz" --directory="$source" --strip-components=1
  patch --quiet --strip=1 --directory="$source" <"$support/bochs.patch"
  (
    cd "$source"
    CXXFLAGS="-O2 -pipe" CFLAGS="-O2 -pipe" ./configure --with-nogui --disable-docbook --enable-cpu-level=6 \
      --enable-x86-64 --enable-avx --enable-evex --enable-amx --enable-protection-keys --enable-all-optimizations
    make -j"$(nproc)" bochs
  ) >"$environment/build.log" 2>&1 || { tail -n 20 "$environment/build.log" && return 1; }
  cp "$source/bochs" "$environment/bochs"
  rm -rf "$source"
  cp "$support/bochs.patch" "$environment/bochs.patch"
}

build_check() { # as test_sanitizers.py does, for a system without shared libraries
  local flags=(-std=gnu99 -O3 -fPIC -Wall -Wextra -Werror -pthread) # -O3 -fPIC: what make setup uses
  rm -rf "$machine"
  mkdir -p "$machine"/{objects,files/proc,disk/isolinux}
  printf '%s\0' "$kernels"/*.c "$PWD"/tests/support/kernels/*.c | (cd "$machine/objects" &&
    xargs -0 -n 1 -P "$(nproc)" gcc "${flags[@]}" -DTDFNET_POISON -I"$kernels" -c)
  gcc -static -pthread @tests/support/kernels/link.flags "$machine"/objects/*.o -o "$machine/files/check" -lm
  gcc "${flags[@]}" -static -DARGUMENT="\"$amx\"" "$support/init.c" -o "$machine/files/init"
}

make_disk() {
  (cd "$machine/files" && find . | run_in_root cpio --quiet --create --format=newc) >"$machine/disk/files"
  cp "$root"/boot/vmlinuz-* "$machine/disk/linux"
  cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$machine/disk/isolinux"
  echo "default /linux initrd=/files nokaslr mitigations=off quiet panic=-1" >"$machine/disk/isolinux/isolinux.cfg"
  run_in_root xorriso -as mkisofs -quiet -o "$machine/disk.iso" -b isolinux/isolinux.bin -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$machine/disk" 2>/dev/null
}

run_machine() { # prints what the program prints, through the port 0xe9
  cat >"$machine/bochsrc" <<END
cpu: model=sapphire_rapids, exclude_features=la57, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=512, host=512
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=$root/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$machine/disk.iso, status=inserted
boot: cdrom
display_library: nogui
port_e9_hack: enabled=1
log: $machine/bochs.log
panic: action=fatal
END
  timeout "$max_seconds" "$environment/bochs" -q -f "$machine/bochsrc" </dev/null 2>"$machine/bochs.err" |
    tee "$machine/output" | tail -n +6 # without Bochs's own lines
}

skip() { # REASON…
  echo "skipped: $*" >&2
  [ "${CI:-}" != true ]
  exit
}

[ "$(uname -m)" = x86_64 ] || skip "AMX is emulated on machines with an x86-64 processor only"
has_programs || install_programs || skip "there is no compiler, and it could not be installed;" \
  "on Debian: sudo apt-get install gcc g++ libc6-dev make patch xz-utils curl debian-archive-keyring"
is_complete || is_reachable || skip "Debian's packages are not reachable at $debian_mirror; DEBIAN_MIRROR names another one"
mkdir -p "$environment"
make_root
build_bochs
build_check
make_disk
run_machine || true # Bochs ends with 1 when the machine is switched off
printf '== test-amx: %s s\n' "$SECONDS"
tail -n 1 "$machine/output" | grep -qx "exit status 0"
