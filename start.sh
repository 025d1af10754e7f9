#!/usr/bin/env bash
# Starts the whole service in Docker: writes .env with random passwords when there is none, builds the images, waits
# until every container is healthy and prints the address. A second call applies what changed in .env or in the code.
#
#   ./start.sh                          further arguments go to `docker compose up`:
#   ./start.sh --scale processor=2
#
# START_TIMEOUT_SECONDS (1800) limits the wait; the first start downloads the model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077

timeout_s=${START_TIMEOUT_SECONDS:-1800}
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

check_docker() {
  command -v docker >/dev/null ||
    fail "Docker is not installed: see https://docs.docker.com/engine/install/, or do without it: ./start_local.sh"
  docker compose version >/dev/null 2>&1 ||
    fail "The plugin 'docker compose' is missing: see https://docs.docker.com/compose/install/"
  docker version >/dev/null 2>&1 ||
    fail "The Docker engine does not answer: start it, and check that you may use it (group 'docker', or sudo)."
}

setting() { # NAME: its value in .env, the last one if there are several, without quotes
  sed -n "s/^$1=//p" .env | tail -n 1 | sed -e 's/[[:space:]]*$//' -e "s/^\([\"']\)\(.*\)\1\$/\2/"
}

give_a_random_value() { # NAME: unless it has a value in .env; takes the place of a line that is empty or commented out
  [ -z "$(setting "$1")" ] || return 0
  local value
  value=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  awk -v name="$1" -v value="$value" '
    $0 ~ "^(# )?" name "=" { if (!written++) print name "=" value; next }
    { print }
    END { if (!written) print name "=" value }' .env >.env.new
  mv .env.new .env
  echo "$1: a random one was written into .env"
}

prepare_env() {
  [ -f .env ] || cp env.example .env
  give_a_random_value BASIC_AUTH_PASSWORD
  give_a_random_value REDIS_PASSWORD
}

states() { # one line a container: name, status, health, restarts
  docker compose ps --all --quiet | xargs docker inspect --format \
    '{{slice .Name 1}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.RestartCount}}'
}

broken() { # the first container that will not come up by itself; between two restarts "unhealthy" means nothing
  awk '$2 == "exited" || $2 == "dead" || ($2 == "running" && $3 == "unhealthy") || ($2 == "restarting" && $4 >= 3) {
    print $1
    exit
  }'
}

summary() { # of `states`: one line for people
  awk '{ printf "%s%s %s", (NR > 1 ? ", " : ""), $1, ($3 == "-" ? $2 : $3) } END { print "" }'
}

show_log_and_fail() { # CONTAINER SENTENCE: what the container logged since this start, the reason last
  local log
  log=$(docker logs --since "$started" --tail 20 "$1" 2>&1) || true
  fail "The last lines of $1 since this start (docker compose logs shows all):" "$log" "" "$2: ${log##*$'\n'}"
}

explain_failed_up() { # compose has named the reason, but shows no logs
  local container
  container=$(states 2>/dev/null | awk '$2 == "exited" || $2 == "restarting" || $3 == "unhealthy" { print $1; exit }')
  [ -z "$container" ] || show_log_and_fail "$container" "The container $container does not come up"
  fail "The service was not started; the lines above say why."
}

wait_for_health() {
  local now line before="" container
  while true; do
    now=$(states)
    line=$(summary <<<"$now")
    [ "$line" = "$before" ] || echo "$line"
    before=$line
    container=$(broken <<<"$now")
    [ -z "$container" ] || show_log_and_fail "$container" "The container $container does not come up"
    container=$(awk '$3 != "healthy" { print $1; exit }' <<<"$now")
    [ -n "$container" ] || return 0
    [ "$SECONDS" -lt "$timeout_s" ] || show_log_and_fail "$container" "The container $container is still not ready"
    sleep 1
  done
}

warn_about_links() { # `python -m uvr doctor` has the sentence
  docker compose exec -T api python -c '
from config import load_settings
if sentence := load_settings().link_warning:
    print("Warning:", sentence)
' >&2 || true
}

warn_unless_ready() { # what keeps tasks from being worked on: a bucket that takes nothing, a full disk
  docker compose exec -T api python -c '
import json
from urllib.error import HTTPError
from urllib.request import urlopen
try:
    urlopen("http://127.0.0.1:8000/ready", timeout=10)
except HTTPError as answer:
    parts = json.load(answer)["components"].values()
    for sentence in dict.fromkeys(part["message"] for part in parts if part["status"] != "up"):
        print("Warning: tasks are accepted, but not worked on for now.", sentence)
' >&2 || true
}

print_address() {
  local user url
  user=$(setting BASIC_AUTH_USERNAME)
  url=http://$(docker compose port api 8000)
  cat <<TEXT

The service runs: $url
  docs      $url/docs
  user      ${user:-admin}
  password  BASIC_AUTH_PASSWORD in .env
  logs      docker compose logs --follow
  stop      ./stop.sh
TEXT
}

check_docker
prepare_env
docker compose up --detach --build "$@" || explain_failed_up
wait_for_health
warn_about_links
warn_unless_ready
docker compose exec -T api python -m uvr.environment.unknown_variables <.env || true # names what no process reads
print_address
