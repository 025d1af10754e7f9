#!/usr/bin/env bash
# Puts a backup of scripts/backup.sh onto a machine where the service was never started, or whose data is lost.
#
#   scripts/restore.sh BACKUP REDIS_FOLDER       REDIS_FOLDER is the `dir` of Redis: /var/lib/redis on Debian and Ubuntu
#
# Run it as root with Redis and the service stopped and the settings of the service in place; `tar -xOf BACKUP env`
# prints the old ones. Files get the owners of the folders that they are put into. It overwrites nothing: it refuses
# folders that have data in them.
set -euo pipefail
umask 077

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

[ $# = 2 ] || fail "usage: scripts/restore.sh BACKUP REDIS_FOLDER"
backup=$(realpath "$1")
redis_dir=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_empty() { # FOLDER: or not there
  [ -z "$(find "$1" -mindepth 1 -type f -print -quit 2>/dev/null)" ]
}

settings=$("${VENV:-.venv}/bin/python" -c '
from config import load_settings
settings = load_settings()
print(settings.output_dir)
print(settings.basic_auth_users_file or "")
print("end")
')
{
  IFS= read -r output_dir
  IFS= read -r users_file
} <<<"$settings"
tar --list --file "$backup" redis.rdb >/dev/null || fail "$backup is not a backup of scripts/backup.sh."
is_empty "$output_dir" || fail "$output_dir has files in it: move them away first."
for data in "$redis_dir"/*.rdb "$redis_dir"/append*; do
  [ ! -e "$data" ] || fail "$data is there: stop Redis and move its data away first."
done

# A Redis with `appendonly yes` reads its append-only file and no snapshot. A file of this name may begin with a
# snapshot; from Redis 7 on, it is taken over into the folder appendonlydir.
tar --extract --to-stdout --file "$backup" redis.rdb >"$redis_dir/appendonly.aof"
chown --reference="$redis_dir" "$redis_dir/appendonly.aof"

mkdir -p "$output_dir"
tar --extract --file "$backup" --no-same-owner --strip-components=1 --directory "$output_dir" output
chown --recursive --reference="$(dirname "$output_dir")" "$output_dir"

if [ -n "$users_file" ] && [ ! -e "$users_file" ] && tar --list --file "$backup" users.htpasswd >/dev/null 2>&1; then
  tar --extract --to-stdout --file "$backup" users.htpasswd >"$users_file"
  chown --reference="$(dirname "$users_file")" "$users_file"
fi
echo "Restored. Start Redis, then the service."
