#!/usr/bin/env bash
# Patatrack on this machine's GPU: checked against the CPU, then timed. Nothing need be installed
# but Python with numpy, numba and numba-cuda; without DIR the sample of the tests is used.
# usage: benchmarks/gpu.sh [DIR...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$root/src NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$work/numba}
if [ $# -eq 0 ]; then
  python3 -m tarfile -e "$root/tests/data/patatrack-sample.tar.xz" "$work"
  set -- "$work/patatrack-sample"
fi
for directory in "$@"; do
  python3 "$root/benchmarks/gpu.py" "$directory"
done
