#!/bin/sh
# Builds osteofed-client and osteofed-server and writes their SBOMs. With a Docker engine, or without
# one by buildah in chroot isolation (as root).
#
#   docker/build.sh BASE [OUT]
#     BASE   image pinned by digest, or (buildah only) a folder made by debootstrap
#     OUT    folder for the SBOMs; default docker/out
#   TORCH_INDEX   where torch comes from; empty: pip's own index (with CUDA)
#   STORAGE       buildah's storage folder; default /var/tmp/osteofed-images
#   DRIVER        buildah's storage driver; default overlay where the kernel has it, else vfs
# pip uses this machine's settings (index, mirror, certificate); no image keeps them.
set -eu
[ -n "${1:-}" ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
BASE=$1
[ ! -d "$BASE" ] || BASE=$(cd "$BASE" && pwd)
OUT=${2:-$(dirname "$0")/out}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
TORCH_INDEX=${TORCH_INDEX:-}
cd "$(dirname "$0")/.."
. docker/engine.sh

SECRETS=$(mktemp -d)
trap 'rm -rf "$SECRETS"' EXIT
pip_secrets

for target in client server; do
  start=$(date +%s)
  build_image "$target"
  in_image "osteofed-$target" cat /usr/share/osteofed/sbom.cdx.json > "$OUT/osteofed-$target.cdx.json"
  echo "osteofed-$target: $(image_size "osteofed-$target") MB, built in $(($(date +%s) - start)) s"
done
