# Sourced by loopback.sh: the services of the compose files as processes in chroot isolation.
#
# Networks, by `ip netns`: executor 10.77.N.2 — 10.77.N.1 link 10.78.N.2 — 10.78.N.1 this machine.
PIDS=""
NUMBER=0

number_of() { case $1 in aster) echo 1 ;; birch) echo 2 ;; esac; }
door_host() { echo "10.78.$(number_of "$1").1"; }
netns_of() { echo "osteofed-$1-$2"; } # site, service

# NETWORK FOLDER-FOR-/tmp CONTAINER [--volume …] -- COMMAND; the network "" is this machine's
contained() {
  network=$1 tmp=$2 container=$3
  shift 3
  mkdir -p "$WORK/tmp/$tmp"
  chmod 1777 "$WORK/tmp/$tmp"
  set -- --root "$STORAGE/root" --runroot "$STORAGE/run" --storage-driver "$DRIVER" run --isolation chroot \
    --user 10001:10001 --volume "$WORK/tmp/$tmp:/tmp" "$@"
  container_and_command "$container" "$@"
}

# Puts the container's name before the "--" that begins the command.
container_and_command() {
  name=$1
  shift
  count=$#
  while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    [ "$word" != "--" ] || set -- "$@" "$name"
    set -- "$@" "$word"
  done
  # shellcheck disable=SC2086
  ${LAUNCH:-} ${network:+nsenter --net="/run/netns/$network"} buildah "$@"
}

prepare_engine() {
  SERVER=$(buildah_here from --pull-never --add-host coordinator:127.0.0.1 localhost/osteofed-server)
  CLIENT=$(buildah_here from --pull-never --add-host link:127.0.0.1 localhost/osteofed-client)
}

coordinator() {
  contained "" coordinator "$SERVER" --volume "$WORK/coordinator:/home/coordinator" -- "$@"
}
serving() { coordinator "$@"; }

desk() {
  site=$1
  shift
  contained "" "$site-desk" "$CLIENT" --volume "$WORK/$site/site:/site" \
    --volume "$WORK/$site/archive:/archive" \
    --volume "$WORK/practice_hospital.py:/practice_hospital.py:ro" -- "$@"
}

in_link() {
  site=$1
  shift
  contained "$(netns_of "$site" link)" "$site-link" "$CLIENT" --volume "$WORK/$site/link:/link:ro" -- "$@"
}

in_executor() {
  site=$1
  shift
  contained "$(netns_of "$site" executor)" "$site-executor" "$CLIENT" \
    --volume "$WORK/$site/site:/site" \
    --volume "$WORK/$site/link/executor.secret:/run/secrets/executor.secret:ro" -- "$@"
}

# LOG FUNCTION ARGUMENT…: in the background, in a process group of its own that take_down ends
background() {
  log=$1
  shift
  (LAUNCH="exec setsid" && "$@") > "$WORK/$log.log" 2>&1 < /dev/null &
  PIDS="$PIDS $!"
}

start_server() {
  background coordinator coordinator osteofed-coordinator serve \
    --name "$(door_host aster)" --name "$(door_host birch)"
  wait_well coordinator "" python docker/health.py grpc 127.0.0.1:9095
  background door contained "" door "$SERVER" \
    --volume "$WORK/coordinator/deployment/certificates:/certificates:ro" -- \
    nginx -c /etc/osteofed/nginx.conf
  # Nothing here restarts a link that came before its key was known, as the compose files do.
  for site in $SITES; do
    until grep -qs "\"$site\"" "$WORK/coordinator/deployment/registered.json"; do sleep 1; done
  done
}

start_client() {
  site=$1 number=$(number_of "$1")
  link=$(netns_of "$site" link) executor=$(netns_of "$site" executor)
  ip netns add "$link"
  ip netns add "$executor"
  ip link add "of-l$number" netns "$link" type veth peer name "of-e$number" netns "$executor"
  ip link add "of-o$number" netns "$link" type veth peer name "of-h$number"
  ip -n "$link" address add "10.77.$number.1/30" dev "of-l$number"
  ip -n "$executor" address add "10.77.$number.2/30" dev "of-e$number"
  ip -n "$link" address add "10.78.$number.2/30" dev "of-o$number"
  ip address add "10.78.$number.1/30" dev "of-h$number"
  ip link set "of-h$number" up
  for end in "$link of-l$number" "$link of-o$number" "$executor of-e$number"; do
    # shellcheck disable=SC2086
    set -- $end
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up
  done
  background "$site-link" in_link "$site" python -m client.node.link \
    "--superlink=10.78.$number.1:9443" --root-certificates=/link/ca.pem \
    --auth-supernode-private-key=/link/node.key '--node-config=site-folder="/site"' \
    --isolation=process --host=0.0.0.0 --port=9094 \
    --superexec-auth-secret-file=/link/executor.secret --health-server-address=127.0.0.1:9096
  background "$site-executor" in_executor "$site" python -m client.node.executor \
    "--runtime-api-address=10.77.$number.1:9094" --insecure \
    --superexec-auth-secret-file=/run/secrets/executor.secret
}

in_service() {
  service=$1 site=$2
  shift 2
  case $service in
    link) in_link "$site" "$@" ;;
    executor) in_executor "$site" "$@" ;;
    coordinator) coordinator "$@" ;;
  esac
}

# The end of everything that this script started, and of nothing else. First the services themselves:
# buildah ends what it runs without notice, and a coordinator ends its own children when asked.
take_down() {
  trap - EXIT
  for group in $PIDS; do
    for pid in $(ps -eo pid=,pgid=,args= | awk -v "g=$group" '$2 == g && $3 !~ /buildah/ {print $1}'); do
      kill -s TERM "$pid" 2>/dev/null || true
    done
  done
  for _ in $(seq 15); do
    alive=$(for group in $PIDS; do ! kill -s 0 -- "-$group" 2>/dev/null || echo "$group"; done)
    [ -n "$alive" ] || break
    sleep 1
  done
  for group in $PIDS; do kill -s KILL -- "-$group" 2>/dev/null || true; done
  for site in $SITES; do
    for service in link executor; do ip netns del "$(netns_of "$site" $service)" 2>/dev/null || true; done
  done
  for container in ${SERVER:-} ${CLIENT:-}; do buildah_here rm "$container" > /dev/null || true; done
  echo "taken down"
}
