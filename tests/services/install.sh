#!/usr/bin/env bash
# The Debian packages behind the tests marked "services", and the clock rows of `make chaos`; does nothing
# when they are there.
set -euo pipefail
present() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q "^install ok installed"; }
missing=()
for package in orthanc orthanc-dicomweb postgresql libfaketime; do
  present "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
# No service of the machine is started: the tests start their own, with folders of their own.
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
"${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
