#!/usr/bin/env bash
# Tests the Docker files on a real engine, from a clean clone: ./start.sh, a song through all containers, two
# processors, containers that are killed and restart, image sizes; then the profiles `minio` and `proxy` with images that
# IMAGE names and as another user; ./stop.sh. It removes everything that it created.
#
#   make test-docker                                      tests the last commit
#   DOCKER_TEST_WORKTREE=1 scripts/test_docker.sh         tests the working tree
#
# If no Docker engine answers, ../shared/tools/docker-engine.sh starts one, with substitutes for the base images, which
# it cannot pull: Debian's Redis and Caddy, and SeaweedFS in place of MinIO. Without an engine and without that script,
# this test is skipped and succeeds.
set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

. scripts/docker_service.sh

# --- the checks -----------------------------------------------------------------------------------------------------

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

use_profiles() {
  docker tag "$COMPOSE_PROJECT_NAME-service" "$published"
  docker tag "$COMPOSE_PROJECT_NAME-processor" "$published-processor"
  docker image rm "$COMPOSE_PROJECT_NAME-service" "$COMPOSE_PROJECT_NAME-processor" >/dev/null
  docker compose cp processor:/srv/uvr/models "$work/models" >/dev/null 2>&1
  mkdir "$work/data"
  as_root chown -R 12345:0 /mnt/test/models /mnt/test/data
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
  [ -z "$(as_root find /mnt/test/data ! -user 12345)" ] || fail "files of another user are in DATA_FOLDER"
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

main() {
  trap clean_up EXIT
  trap 'echo "FAILED in line $LINENO" >&2' ERR
  ensure_engine
  [ -z "$engine_started" ] || ensure_base_images
  make_clone
  configure
  cd "$clone"
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
