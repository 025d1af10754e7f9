#!/usr/bin/env bash
# Saves a running service into one file: a snapshot of Redis, OUTPUT_DIR, the settings and the users file.
#
#   scripts/backup.sh FOLDER       writes FOLDER/uvr-2026-11-28T19-05-01Z.tar, which only its owner can read
#
# Run it where the settings are (ENV_FILE, or .env), as a user who can read OUTPUT_DIR, with redis-cli on the PATH. Stop
# processors and uploaders first, so that no stems move while they are copied; the API may go on to accept tasks. Redis
# is saved before the files: each task in the snapshot finds its files, and files of later tasks do no harm.
# scripts/restore.sh reads the file. docs/server.md describes both.
set -euo pipefail
umask 077

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

[ $# = 1 ] || fail "usage: scripts/backup.sh FOLDER"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v redis-cli >/dev/null || fail "redis-cli is missing; on Debian and Ubuntu: sudo apt install redis-tools"

settings=$("${VENV:-.venv}/bin/python" -c '
from config import env_file, load_settings
from uvr.liveness.workers import runs_on_this_host
settings = load_settings()
print(settings.output_dir)
print(settings.redis_host)
print(settings.redis_port)
print(settings.redis_password.get_secret_value())
print(settings.redis_url.get_secret_value() and "set")
print(env_file() or "")
print(settings.basic_auth_users_file or "")
print(settings.presets_file or "")
running = [] if settings.redis_url.get_secret_value() else ["processor", "uploader"]
print(" and ".join(kind for kind in running if runs_on_this_host(settings, kind)))
print("end")
')
{
  IFS= read -r output_dir
  IFS= read -r host
  IFS= read -r port
  IFS= read -r REDISCLI_AUTH
  IFS= read -r redis_url
  IFS= read -r env_file
  IFS= read -r users_file
  IFS= read -r presets_file
  IFS= read -r running
} <<<"$settings"
[ -z "$redis_url" ] || fail "REDIS_URL is set, and this script saves only a Redis at REDIS_HOST and REDIS_PORT:" \
  "use the backups of that Redis, and copy $output_dir after it."
# Not as an argument, which other users could see.
if [ -n "$REDISCLI_AUTH" ]; then export REDISCLI_AUTH; else unset REDISCLI_AUTH; fi

[ -z "$running" ] ||
  echo "Warning: $running still ran here within the last seconds. Stems that move now may be missing in the backup." >&2

work=$(mktemp -d "$folder/.backup.XXXXXX")
trap 'rm -rf "$work"' EXIT

if ! said=$(redis-cli -h "$host" -p "$port" --no-auth-warning --rdb "$work/redis.rdb" 2>&1) ||
  ! head -c 6 "$work/redis.rdb" | grep -qaE '^(REDIS|VALKEY)'; then
  fail "Redis at $host:$port could not be saved: ${said##*$'\n'}"
fi
names=(redis.rdb)

copy_setting() { # FILE NAME: if there is such a file
  [ -n "$1" ] || return 0
  install -m 600 "$1" "$work/$2"
  names+=("$2")
}
copy_setting "$env_file" env
copy_setting "$users_file" users.htpasswd
copy_setting "$presets_file" presets

# What is still being written belongs to no task. Files that the API deletes meanwhile belong to tasks that a client
# has deleted: tar's status 1 says that a file has changed or is gone.
mkdir -p "$output_dir"
backup=$folder/uvr-$(date -u +%Y-%m-%dT%H-%M-%SZ).tar
tar --create --file "$work/backup.tar" --exclude='*.part' --warning=no-file-changed --warning=no-file-removed \
  --directory "$work" "${names[@]}" --transform 's,^[.],output,' --directory "$output_dir" ./ || [ $? = 1 ]
sync "$work/backup.tar"
mv "$work/backup.tar" "$backup"
echo "$backup"
