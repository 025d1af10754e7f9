#!/usr/bin/env bash
# Starts the whole service in Docker: writes .env with random passwords if there is none, builds the images, waits until
# every container is healthy and prints the address. A second call applies changes in .env or in the code.
#
#   ./start.sh                          further arguments go to `docker compose up`:
#   ./start.sh --scale processor=2      until the next start; PROCESSORS=2 in .env stays
#
# It writes what the profiles in COMPOSE_PROFILES need into .env, unless it is there, and removes the containers of
# profiles that were taken out. With IMAGE it builds nothing and downloads the published images.
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
    fail "Docker is not installed: see https://docs.docker.com/engine/install/. ./start_local.sh works without Docker."
  docker compose version >/dev/null 2>&1 ||
    fail "The plugin 'docker compose' is missing: see https://docs.docker.com/compose/install/"
  docker version >/dev/null 2>&1 ||
    fail "The Docker engine does not answer: start it, and check your permissions (group 'docker', or sudo)."
}

setting() { # NAME: its value in .env without quotes; the last line wins
  sed -n "s/^$1=//p" .env | tail -n 1 | sed -e 's/[[:space:]]*$//' -e "s/^\([\"']\)\(.*\)\1\$/\2/"
}

chosen() { # NAME: its value for Docker Compose, for which the environment wins over .env
  printf '%s' "${!1-$(setting "$1")}"
}

has_profile() { [[ ",$(chosen COMPOSE_PROFILES | tr -d ' ')," == *",$1,"* ]]; } # NAME

write() { # NAME VALUE: into .env; replaces an empty line or one that is commented out
  awk -v name="$1" -v value="$2" '
    $0 ~ "^(# )?" name "=" { if (!written++) print name "=" value; next }
    { print }
    END { if (!written) print name "=" value }' .env >.env.new
  mv .env.new .env
}

set_value() { # NAME VALUE: unless it has a value
  [ -z "$(chosen "$1")" ] || return 0
  write "$1" "$2"
  echo "$1: wrote $2 into .env"
}

set_random_value() { # NAME: unless it has a value
  [ -z "$(chosen "$1")" ] || return 0
  write "$1" "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
  echo "$1: wrote a random value into .env"
}

prepare_env() {
  [ -f .env ] || cp env.example .env
  set_random_value BASIC_AUTH_PASSWORD
  set_random_value REDIS_PASSWORD
  ! has_profile proxy || set_value DOMAIN localhost
  ! has_profile minio || point_to_minio
  # A processor on the CPU would take every second song away from the card, and need minutes for it.
  ! has_profile gpu || set_value PROCESSORS 0
  ! has_profile monitoring || { set_random_value METRICS_TOKEN && set_random_value GRAFANA_PASSWORD; }
}

point_to_minio() {
  set_value S3_BUCKET_NAME uvr-stems
  set_value S3_ENDPOINT_URL http://minio:9000
  set_value S3_PUBLIC_ENDPOINT_URL "$(address_of_links)"
  set_value AWS_ACCESS_KEY_ID uvr
  set_random_value AWS_SECRET_ACCESS_KEY
}

address_of_links() { # the proxy passes on requests with a signature, so links need neither port nor certificate of their own
  local host port
  if has_profile proxy; then
    port=$(chosen HTTPS_PORT)
    echo "https://$(chosen DOMAIN)${port:+:$port}"
  else
    host=$(chosen MINIO_BIND)
    port=$(chosen MINIO_PORT)
    [ "${host:-0.0.0.0}" != 0.0.0.0 ] || host=127.0.0.1
    echo "http://$host:${port:-9000}"
  fi
}

warn_about_profiles() { # what .env says is possible, but probably not meant
  if [ "$(chosen PROCESSORS)" = 0 ] && ! has_profile gpu; then
    echo "Warning: PROCESSORS is 0, so songs wait until there is a processor: set it to 1 in .env."
  fi
  if [ -n "$(chosen DOMAIN)" ] && [[ ! "$(chosen API_BIND)" =~ ^(127\..*)?$ ]]; then
    echo "Warning: with DOMAIN, clients should reach the API through the proxy only: remove API_BIND from .env."
  fi
} >&2

states() { # one line per container: name, status, health, restarts; without those that have done their work
  docker compose ps --all --quiet | xargs docker inspect --format \
    '{{slice .Name 1}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.RestartCount}} {{.State.ExitCode}}' |
    awk '$2 != "exited" || $5 != 0'
}

remove_unused() { # the containers of profiles that COMPOSE_PROFILES no longer names
  local all used unused
  all=$(docker compose --profile '*' config --services) || return 0
  used=$(docker compose config --services) || return 0
  unused=$(comm -23 <(sort <<<"$all") <(sort <<<"$used"))
  # shellcheck disable=SC2086  # several names
  [ -z "$unused" ] || docker compose --profile '*' rm --stop --force $unused >/dev/null 2>&1 || true
}

start_containers() { # further arguments go to `docker compose up`
  if [ -z "$(chosen IMAGE)" ]; then
    docker compose up --detach --build "$@"
    return
  fi
  # `up` would not download an image that it could also build.
  docker compose pull --policy missing api processor || return
  ! has_profile gpu || docker compose build processor-gpu || return
  docker compose up --detach --no-build "$@"
}

broken() { # the first container that cannot recover by itself; between two restarts "unhealthy" means nothing
  awk '$2 == "exited" || $2 == "dead" || ($2 == "running" && $3 == "unhealthy") || ($2 == "restarting" && $4 >= 3) {
    print $1
    exit
  }'
}

summary() { # the output of `states` as one line for people
  awk '{ printf "%s%s %s", (NR > 1 ? ", " : ""), $1, ($3 == "-" ? $2 : $3) } END { print "" }'
}

show_log_and_fail() { # CONTAINER SENTENCE: the log of the container since this start, with the reason last
  local log
  log=$(docker logs --since "$started" --tail 20 "$1" 2>&1) || true
  fail "The last lines of $1 since this start (docker compose logs shows all):" "$log" "" "$2: ${log##*$'\n'}"
}

explain_failed_up() { # compose has printed the reason, but no logs
  local container
  container=$(states 2>/dev/null | awk '$2 == "exited" || $2 == "restarting" || $3 == "unhealthy" { print $1; exit }')
  [ -z "$container" ] || show_log_and_fail "$container" "The container $container does not start"
  fail "The service could not be started; the lines above say why."
}

wait_for_health() {
  local now line before="" container
  while true; do
    now=$(states)
    line=$(summary <<<"$now")
    [ "$line" = "$before" ] || echo "$line"
    before=$line
    container=$(broken <<<"$now")
    [ -z "$container" ] || show_log_and_fail "$container" "The container $container does not start"
    container=$(awk '$3 != "healthy" { print $1; exit }' <<<"$now")
    [ -n "$container" ] || return 0
    [ "$SECONDS" -lt "$timeout_s" ] || show_log_and_fail "$container" "The container $container is still not ready"
    sleep 1
  done
}

warn_about_links() { # the same warning as `python -m uvr doctor`
  docker compose exec -T api python -c '
from config import load_settings
if sentence := load_settings().link_warning:
    print("Warning:", sentence)
' >&2 || true
}

warn_unless_ready() { # why tasks are not processed, such as a bucket that refuses files, or a full disk
  docker compose exec -T api python -c '
import json
from urllib.error import HTTPError
from urllib.request import urlopen
try:
    urlopen("http://127.0.0.1:8000/ready", timeout=10)
except HTTPError as answer:
    parts = json.load(answer)["components"].values()
    for sentence in dict.fromkeys(part["message"] for part in parts if part["status"] != "up"):
        print("Warning: tasks are accepted, but not processed at the moment.", sentence)
' >&2 || true
}

print_address() {
  local user url
  user=$(setting BASIC_AUTH_USERNAME)
  url=http://$(docker compose port api 8000)
  ! has_profile proxy || url=$(docker compose exec -T api printenv PUBLIC_BASE_URL)
  cat <<TEXT

The service is running: $url
  page      $url/  (open it in a browser, sign in, and drop a song)
  user      ${user:-admin}
  password  BASIC_AUTH_PASSWORD in .env$(print_monitoring)
  docs      $url/docs
  logs      docker compose logs --follow
  stop      ./stop.sh
TEXT
}

print_monitoring() {
  ! has_profile monitoring || printf '\n  %s' "Grafana   http://$(docker compose port grafana 3000), admin, GRAFANA_PASSWORD in .env"
}

check_docker
prepare_env
warn_about_profiles
remove_unused
start_containers "$@" || explain_failed_up
wait_for_health
warn_about_links
warn_unless_ready
docker compose exec -T api python -m uvr.environment.unknown_variables <.env || true # reports variables without effect
print_address
