#!/bin/sh
# Makes one image of those that were pushed for each platform, and a wheel and a pipeline that name it by digest:
#   release.sh REGISTRY/NAME TAG     with REGISTRY/NAME:TAG-amd64 and REGISTRY/NAME:TAG-arm64 already there
set -eu
[ $# = 2 ] || { echo "release.sh: expected REGISTRY/NAME TAG, got $# words" >&2; exit 2; }
cd "$(dirname "$0")/../../.."
rm -rf .edgeloop/steps
for platform in amd64 arm64; do
  .venv/bin/edgeloop model pull "$1:$2-$platform" --no-referrers --name "edgeloop/steps:$platform" -o .edgeloop/steps
done
digest=$(.venv/bin/python components/images/steps/join.py .edgeloop/steps)
.venv/bin/edgeloop model push oci:.edgeloop/steps:edgeloop/steps:all "$1:$2" --no-referrers
echo "steps $1@$digest" >>components/edgeloop_components/images.lock
make wheel
.venv/bin/edgeloop compile --out compiled
