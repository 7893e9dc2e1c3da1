#!/bin/sh
# A federation of two hospitals and a coordinator in containers on this machine, from the images of
# build.sh: founded, trained for some rounds, measured, taken down again.
#
#   docker/loopback.sh WORK [SETTING…]
#     WORK      a new folder for the parties' data
#     SETTING   overrides of the plan; default federation.rounds=3
#   STORAGE     as for build.sh
# With a Docker engine by the compose files. Without one by buildah in chroot isolation (as root): each
# hospital's executor then has a network of its own that reaches nothing but its link.
set -eu
[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir "$1"
WORK=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- federation.rounds=3
cd "$(dirname "$0")/.."
. docker/engine.sh
. "docker/loopback.$ENGINE.sh"
SITES="aster birch"
RUN=practice

for folder in coordinator aster/site aster/link aster/archive birch/site birch/link birch/archive; do
  mkdir -p "$WORK/$folder"
done
cp docker/practice_hospital.py "$WORK"
chown -R 10001:10001 "$WORK"
trap take_down EXIT
trap 'exit 1' INT TERM
prepare_engine

echo "── coordinator and hospitals are founded"
coordinator osteofed-coordinator init
for site in $SITES; do
  desk "$site" python /practice_hospital.py "$site"
  mv "$WORK/$site/site/join-request.json" "$WORK/coordinator/$site.json"
  key=$(sed -n 's/.*"public_key": "\([0-9a-f]*\)".*/\1/p' "$WORK/coordinator/$site.json")
  coordinator osteofed-coordinator enrol "/home/coordinator/$site.json" --site-key "$key"
  cp "$WORK/coordinator/enrolments/$site.json" "$WORK/$site/site/enrolment.json"
  chown -R 10001:10001 "$WORK/$site"
  key=$(sed -n 's/.*"coordinator_key": "\([0-9a-f]*\)".*/\1/p' "$WORK/coordinator/enrolments/$site.json")
  desk "$site" osteofed-site join /site/enrolment.json --coordinator-key "$key"
  desk "$site" osteofed-site ingest /archive
done

echo "── the plan, and each hospital's yes"
coordinator osteofed-coordinator plan "$RUN" engine=deployed is_synthetic=true federation.poll_s=0.05 "$@"
code=$(sed -n '2s/.*: "\(.\{8\}\).*/\1/p' "$WORK/coordinator/runs/$RUN/plan.json")
for site in $SITES; do
  cp "$WORK/coordinator/runs/$RUN/plan.json" "$WORK/$site/site/plan.json"
  chown 10001:10001 "$WORK/$site/site/plan.json"
  desk "$site" osteofed-site approve /site/plan.json --by "Dana Example" --code "$code"
done

echo "── server and clients start"
start=$(date +%s)
start_server
for site in $SITES; do
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$WORK/$site/link/executor.secret"
  cp "$WORK/coordinator/deployment/certificates/ca.pem" "$WORK/$site/link/ca.pem"
  mv "$WORK/$site/site/keys/node.key" "$WORK/$site/link/node.key"
  chown -R 10001:10001 "$WORK/$site/link"
  chmod 600 "$WORK/$site/link/"*
  start_client "$site"
done
for site in $SITES; do
  wait_well link "$site" osteofed-site doctor --only connection \
    --superlink "$(door_host "$site"):9443" --root-certificate /link/ca.pem --health 127.0.0.1:9096
  wait_well executor "$site" sh -c 'python docker/health.py beat /tmp/executor.beat 120 &&
    osteofed-site doctor --quick --only machine --only site --folder /site'
done
echo "all well after $(($(date +%s) - start)) s"

echo "── what must not be possible, beside the same where it must be"
for site in $SITES; do
  way_out="import socket; socket.create_connection(('$(door_host "$site")', 9443), timeout=3)"
  allows link "$site" "way out" python -c "$way_out"
  refuses executor "$site" "way out" python -c "$way_out"
  allows executor "$site" "sight of the cohorts" ls /site/cohorts
  refuses link "$site" "sight of the cohorts" ls /site/cohorts
  for service in link executor; do
    allows $service "$site" "writing to /tmp" touch /tmp/written
    refuses $service "$site" "writing into its image" touch /opt/osteofed/client/app.py
  done
done
refuses_http "/v1/control/" "/v1/runtime/"

echo "── rounds"
start=$(date +%s)
serving osteofed-coordinator launch "$RUN"
echo "trained in $(($(date +%s) - start)) s"
serving osteofed-coordinator validate "$RUN" internal
serving osteofed-coordinator status "$RUN"
for site in $SITES; do
  desk "$site" osteofed-site ledger verify
done
