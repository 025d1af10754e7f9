# shellcheck shell=bash
# Sourced by the scripts that need programs from Debian's packages. DEBIAN_MIRROR is where they come from.

debian_mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

install_packages() { # PACKAGE…; fails without apt-get, or without the rights for it
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null || return 1
  "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@"
} >&2

apt_elsewhere() { # FOLDER ARCHITECTURE …: a package system of its own, which knows nothing of this machine's
  local folder=$1 architecture=$2
  shift 2
  apt-get -qq -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" -o APT::Sandbox::User=root \
    -o APT::Install-Recommends=false -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::Etc::parts=- -o Dir::State="$folder" -o Dir::Cache="$folder" -o Dir::State::status="$folder/status" "$@"
}

unpack_packages() { # FOLDER ARCHITECTURE RELEASE PACKAGE…: with all that they need; nothing is installed
  local folder=$1 architecture=$2 release=$3 package
  shift 3
  rm -rf "$folder" "$folder.apt" "$folder.part"
  mkdir -p "$folder.apt/lists/partial" "$folder.apt/archives/partial"
  : >"$folder.apt/status"
  echo "deb [signed-by=$debian_keyring] $debian_mirror $release main" >"$folder.apt/sources.list"
  apt_elsewhere "$folder.apt" "$architecture" update
  apt_elsewhere "$folder.apt" "$architecture" --yes --download-only install "$@"
  for package in "$folder.apt"/archives/*.deb; do
    dpkg-deb --extract "$package" "$folder.part"
  done
  mv "$folder.part" "$folder"
  rm -rf "$folder.apt"
}
