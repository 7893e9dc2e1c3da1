# Sourced by loopback.sh: the compose files as they are, on this machine's Docker engine.
export NAME=host.docker.internal DATA="$WORK/coordinator" SUPERLINK=host.docker.internal:9443

door_host() { echo host.docker.internal; }

compose_server() { docker compose --file docker/compose.server.yaml "$@"; }
compose_client() {
  site=$1
  shift
  PRACTICE="$WORK/practice_hospital.py" PROJECT="osteofed-$site" SITE="$WORK/$site/site" LINK="$WORK/$site/link" ARCHIVE="$WORK/$site/archive" \
    docker compose --file docker/compose.client.yaml --file docker/compose.loopback.yaml "$@"
}

prepare_engine() { :; }
coordinator() { compose_server run --rm --no-deps coordinator "$@"; }
serving() { compose_server exec -T coordinator "$@"; }
desk() {
  site=$1
  shift
  compose_client "$site" run --rm desk "$@"
}
start_server() { compose_server up --detach --wait; }
start_client() { compose_client "$1" up --detach; }
in_service() {
  service=$1 site=$2
  shift 2
  compose_client "$site" exec -T "$service" "$@"
}

take_down() {
  trap - EXIT
  for site in $SITES; do compose_client "$site" down --timeout 10 || true; done
  compose_server down --timeout 10 || true
  echo "taken down"
}
