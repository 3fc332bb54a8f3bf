#!/usr/bin/env bash
# Both trackers on this machine's GPU, direct and served: checked against the CPU, then timed, with
# the GPU's utilisation and the energy of an event. Nothing is installed; the python3 on PATH must
# have numpy, numba, numba-cuda, PyTorch, safetensors, pyarrow, typer and rich, and to serve grpcio
# and protobuf. ARCHIVE is what gpu_pack.sh made: Triton and events. Without it nothing is served,
# and the events are the sample of the tests and random space points.
# What is printed goes to gpu-DEVICE.txt in OUT (build/) too. Exits with 1 if a part failed; the
# other parts are done all the same. A part that would end later than LIMIT (580) s is cut.
# usage: benchmarks/gpu.sh [--device cpu] [ARCHIVE.tar.xz]
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
device=cuda
if [ "${1:-}" = --device ]; then device=$2 && shift 2; fi
archive=${1:+$(realpath "$1")}
out=$(realpath -m "${OUT:-$root/build}")
cd "$root" || exit # the benchmarks are a package here
limit=${LIMIT:-580}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work # whatever a part that is cut leaves
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$work/numba} PYTHONUNBUFFERED=1 COLUMNS=${COLUMNS:-120}
if [ -z "${CUDA_HOME:-}${CUDA_PATH:-}" ] && [ -d /usr/local/cuda ]; then
  export CUDA_HOME=/usr/local/cuda # where Numba looks for NVVM, if no package has it
fi

failed=()
part() { # NAME SECONDS COMMAND...
  local name=$1 most=$2 left=$((limit - SECONDS)) status
  shift 2
  printf '\n== %s, %d s after the start\n' "$name" "$SECONDS"
  timeout -k 10 $((left < most ? (left > 0 ? left : 1) : most)) "$@"
  status=$?
  if [ $status -ne 0 ]; then
    failed+=("$name")
    printf '== %s FAILED (%s)\n' "$name" "$([ $status -eq 124 ] && echo cut || echo "exit $status")"
  fi
}

run() { # NAME SECONDS MODULE ARGUMENTS...
  local name=$1 most=$2 module=$3
  shift 3
  part "$name" "$most" python3 -m "benchmarks.$module" "$@" --device "$device"
}

all() {
  local pixel=$work/carried/pixel tracker=$work/carried/tracker.npz
  if [ -n "$archive" ]; then python3 -m tarfile -e "$archive" "$work" || return 1; fi
  if [ ! -d "$pixel" ]; then
    python3 -m tarfile -e "tests/data/patatrack-sample.tar.xz" "$work"
    pixel=$work/patatrack-sample
    tracker=random
  fi
  python3 -m benchmarks.overlay "$work/python" ${archive:+"$work/carried"} || return 1
  export PATH=$work/python/bin:$PATH
  if [[ $(readlink "$work/python/bin/python3") = "$work"/carried/python/* ]]; then
    echo "the Python of this machine has no shared library: the carried one is used"
    export LD_LIBRARY_PATH=$work/carried/python/lib:${LD_LIBRARY_PATH:-}
  fi

  part "this machine" 60 python3 -c 'from trackserve.cli import app; app()' doctor
  df -h /dev/shm
  run "compilation" 150 compile_all "$pixel"
  run "Patatrack, direct" 150 gpu "$pixel"
  run "Exa.TrkX, direct" 150 gpu_exatrkx "$tracker"
  if [ -n "$archive" ]; then
    run "Patatrack, served" 180 gpu_served patatrack "$pixel"
    run "Exa.TrkX, served" 180 gpu_served exatrkx "$tracker" --events 3
  fi
  run "Patatrack, roofline" 60 roofline patatrack "$pixel"
  run "Exa.TrkX, roofline" 60 roofline exatrkx "$tracker" --events 3

  printf '\n== %d s, %d parts failed: %s\n' "$SECONDS" "${#failed[@]}" "$(IFS=\;; echo "${failed[*]:-none}")"
  [ ${#failed[@]} -eq 0 ]
}

name=$device
if [ "$device" = cuda ]; then name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1); fi
results=$out/gpu-$(tr -cs 'a-z0-9' - <<<"${name,,}" | sed 's/-$//').txt
mkdir -p "$out"
all 2>&1 | tee "$results"
exit "${PIPESTATUS[0]}"
