#!/usr/bin/env bash
# Both pipelines on this machine's GPU: checked against the CPU, then timed. Nothing need be
# installed but Python with numpy, numba and numba-cuda, and for the learned tracker PyTorch.
# DIR has pixel data, FILE.npz space points that gpu_exatrkx.py packed; without either, the sample
# of the tests and random space points are used.
# usage: benchmarks/gpu.sh [DIR | FILE.npz]...
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$root/src NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$work/numba}
if [ $# -eq 0 ]; then
  python3 -m tarfile -e "$root/tests/data/patatrack-sample.tar.xz" "$work"
  python3 "$root/benchmarks/gpu.py" "$work/patatrack-sample"
  python3 "$root/benchmarks/gpu_exatrkx.py"
fi
for path in "$@"; do
  case $path in
    *.npz) python3 "$root/benchmarks/gpu_exatrkx.py" "$path" ;;
    *) python3 "$root/benchmarks/gpu.py" "$path" ;;
  esac
done
