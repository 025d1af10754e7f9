#!/usr/bin/env bash
# Sends one song through the running service, shows its progress and prints the links to its stems.
#
#   ./test_api.sh https://example.com/song.mp3
#   ./test_api.sh song.mp3                 uploads the file
#   ./test_api.sh                          uploads the 11 s song that comes with Spleeter-2stems
#
# The address, user and password come from .env or the environment (API_HOST, API_PORT, BASIC_AUTH_USERNAME,
# BASIC_AUTH_PASSWORD). API_URL selects a service on another machine. It needs curl and python3.
set -euo pipefail

env_file=${ENV_FILE-$(dirname "${BASH_SOURCE[0]}")/.env}

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

setting() { # NAME DEFAULT: from the environment, otherwise from .env
  local value=${!1:-}
  if [ -z "$value" ] && [ -f "$env_file" ]; then
    value=$(sed -n "s/^$1=//p" "$env_file" | tail -n 1 | sed -e 's/[[:space:]]*$//' -e "s/^\([\"']\)\(.*\)\1\$/\2/")
  fi
  printf '%s\n' "${value:-$2}"
}

field() { # NAME: the field of the JSON object on stdin; nothing if it is missing or null, or if there is no JSON
  python3 -c '
import json, sys
try:
    value = json.load(sys.stdin).get(sys.argv[1])
except ValueError:
    value = None
print("" if value is None else value)' "$1"
}

quoted() { # TEXT: as a string in a curl configuration file
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

call() { # PATH [CURL_ARGUMENT…]: the body of the answer; if the service refuses, fails with its error message
  local answer status path=$1
  shift
  # Credentials go through stdin: on the command line, every user of this machine could read them.
  answer=$(printf 'user = %s\n' "$(quoted "$user:$password")" | curl --config - --silent --show-error --max-time 30 \
    --noproxy 127.0.0.1,localhost --write-out '\n%{http_code}' "$@" "$url$path") ||
    fail "The service does not answer at $url. Is it running? ./status_local.sh"
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  [ "$status" -lt 400 ] || refused "$(field detail <<<"$answer")"
  printf '%s\n' "$answer"
}

refused() { # SENTENCE
  fail "${1:-The service refused the request and gave no reason.}"
}

follow() { # TASK_UUID: shows its progress until it ends; sets `task`
  local shown="" line status progress
  while true; do
    task=$(call "/tasks/$1")
    status=$(field status <<<"$task")
    progress=$(field progress <<<"$task")
    line=$(python3 -c 'import sys; print(f"  {sys.argv[1]:<11}{float(sys.argv[2]):>5.0%}")' "$status" "$progress")
    [ "$line" = "$shown" ] || echo "$line"
    shown=$line
    case $status in
      success) return ;;
      failed) refused "$(field error_message <<<"$task")" ;;
      cancelled) fail "The task was cancelled." ;;
    esac
    sleep 1
  done
}

[ -z "${ENV_FILE:-}" ] || [ -f "$env_file" ] || fail "ENV_FILE is $env_file, but there is no such file."
song=${1:-$(dirname "${BASH_SOURCE[0]}")/models/Spleeter-2stems.example.mp3}
[ $# -le 1 ] || fail "usage: ./test_api.sh [FILE|URL]"
host=$(setting API_HOST 127.0.0.1)
[ "$host" != 0.0.0.0 ] || host=127.0.0.1 # 0.0.0.0 is an address to listen on, not to connect to
url=${API_URL:-http://$host:$(setting API_PORT 8000)}
user=$(setting BASIC_AUTH_USERNAME admin)
password=$(setting BASIC_AUTH_PASSWORD "")

case $song in
  http://* | https://*)
    body=$(python3 -c 'import json, sys; print(json.dumps({"audio": sys.argv[1]}))' "$song")
    task=$(call /generate --header "Content-Type: application/json" --data "$body")
    ;;
  *)
    [ -f "$song" ] || fail "There is no file $song. Usage: ./test_api.sh FILE|URL"
    task=$(call /generate --max-time 3600 --form "audio=@$(quoted "$song")")
    ;;
esac
task_uuid=$(field task_uuid <<<"$task")
echo "Task $task_uuid"
follow "$task_uuid"
printf '\nvocals        %s\ninstrumental  %s\n' "$(field vocals <<<"$task")" "$(field instrumental <<<"$task")"
