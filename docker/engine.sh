# Sourced by build.sh and loopback.sh: the same few verbs for Docker and for buildah.
STORAGE=${STORAGE:-/var/tmp/osteofed-images}
# overlay shares layers; vfs copies the whole image for each step (60 GB in all) and works everywhere
if [ -z "${DRIVER:-}" ]; then
  if grep -q "overlay$" /proc/filesystems; then DRIVER=overlay; else DRIVER=vfs; fi
fi
if [ -z "${ENGINE:-}" ]; then
  if docker info >/dev/null 2>&1; then ENGINE=docker; else ENGINE=buildah; fi
fi

buildah_here() {
  command -v buildah >/dev/null || { echo "neither a Docker engine nor buildah is here" >&2; exit 1; }
  mkdir -p "$STORAGE/run"
  buildah --root "$STORAGE/root" --runroot "$STORAGE/run" --storage-driver "$DRIVER" "$@"
}

# This machine's pip settings in $SECRETS: pip.conf, and the authority that it trusts as pip-ca. Its own
# constraints stay here: versions in an image are the project's.
pip_secrets() {
  python3 -m pip config list 2>/dev/null \
    | sed -n "s/^\(:env:\|global\)\.\([a-z-]*\)='\(.*\)'$/\2 = \3/p" | sort -u > "$SECRETS/found"
  authority=$(sed -n 's/^cert = //p' "$SECRETS/found")
  echo "[global]" > "$SECRETS/pip.conf"
  grep -v "^cert = \|^constraint = " "$SECRETS/found" >> "$SECRETS/pip.conf" || true
  if [ -n "$authority" ]; then
    cp "$authority" "$SECRETS/pip-ca"
    echo "cert = /run/secrets/pip-ca" >> "$SECRETS/pip.conf"
  else
    : > "$SECRETS/pip-ca"
  fi
}

# --volume arguments for mirrors on this machine's disk that pip's settings name
pip_volumes() {
  sed 's/^[^=]*= //' "$SECRETS/pip.conf" | tr ' ' '\n' | sed -n 's#^file://##; s#/simple/*$##; /^\//p' \
    | sort -u | while read -r path; do
      [ ! -d "$path" ] || printf -- '--volume %s:%s:ro ' "$path" "$path"
    done
}

build_image() {
  if [ "$ENGINE" = docker ]; then
    DOCKER_BUILDKIT=1 docker build --file docker/Dockerfile --target "$1" --tag "osteofed-$1" \
      --build-arg "BASE=$BASE" --build-arg "TORCH_INDEX=$TORCH_INDEX" \
      --secret "id=pip,src=$SECRETS/pip.conf" --secret "id=pip-ca,src=$SECRETS/pip-ca" .
    return
  fi
  if [ -d "$BASE" ]; then import_base; fi
  # shellcheck disable=SC2046
  layers=false
  [ "$DRIVER" != overlay ] || layers=true
  buildah_here bud --isolation chroot --layers="$layers" --file docker/Dockerfile --target "$1" \
    --tag "osteofed-$1" --build-arg "BASE=$BASE" --build-arg "TORCH_INDEX=$TORCH_INDEX" \
    --secret "id=pip,src=$SECRETS/pip.conf" --secret "id=pip-ca,src=$SECRETS/pip-ca" --ignorefile docker/Dockerfile.dockerignore \
    $(pip_volumes) .
}

# A folder made by debootstrap becomes the image localhost/osteofed-base.
import_base() {
  if ! buildah_here inspect --type image osteofed-base >/dev/null 2>&1; then
    container=$(buildah_here from scratch)
    buildah_here add --quiet "$container" "$BASE" / >/dev/null
    buildah_here config --cmd /bin/sh "$container"
    buildah_here commit --quiet --rm "$container" osteofed-base >/dev/null
  fi
  BASE=localhost/osteofed-base
}

# One command in a throw-away container of an image.
in_image() {
  image=$1
  shift
  if [ "$ENGINE" = docker ]; then
    docker run --rm --network none --read-only --tmpfs /tmp "$image" "$@"
    return
  fi
  container=$(buildah_here from --pull-never "localhost/$image")
  status=0
  buildah_here run --isolation chroot "$container" -- "$@" || status=$?
  buildah_here rm "$container" >/dev/null
  return $status
}

image_size() {
  if [ "$ENGINE" = docker ]; then
    echo $(($(docker image inspect --format '{{.Size}}' "$1") / 1000000))
    return
  fi
  container=$(buildah_here from --pull-never "localhost/$1")
  root=$(buildah_here mount "$container")
  du -s --block-size=1MB "$root" | cut -f1
  buildah_here umount "$container" >/dev/null
  buildah_here rm "$container" >/dev/null
}

# SERVICE SITE COMMAND…: until the command succeeds in the service's container
wait_well() {
  tries=60
  until in_service "$@" > /dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "$1 of ${2:-the coordinator} is not well" >&2; exit 1; }
    sleep 1
  done
}

# SERVICE SITE WHAT COMMAND…: the command must fail in the service's container
refuses() {
  service=$1 site=$2 what=$3
  shift 3
  if in_service "$service" "$site" "$@" > /dev/null 2>&1; then
    echo "$site: $service has $what" >&2
    exit 1
  fi
  echo "$site: $service has no $what"
}

# the same, and it must succeed
allows() {
  service=$1 site=$2 what=$3
  shift 3
  if ! in_service "$service" "$site" "$@" > /dev/null 2>&1; then
    echo "$site: $service has no $what" >&2
    exit 1
  fi
  echo "$site: $service has $what"
}

# PATH…: the door answers 404 to them
refuses_http() {
  for path in "$@"; do
    code=$(curl --silent --insecure --output /dev/null --write-out '%{http_code}' "https://127.0.0.1:9443$path")
    [ "$code" = 404 ] || { echo "the door answers $code to $path" >&2; exit 1; }
    echo "the door answers 404 to $path"
  done
}
