#!/usr/bin/env bash
# Both trackers on this machine's GPU, direct and served: checked against the CPU, then timed, with
# the GPU's utilisation and the energy of an event. Nothing is installed; the python3 on PATH must
# have numpy, numba, numba-cuda, PyTorch, safetensors, pyarrow, typer and rich, and to serve grpcio
# and protobuf. ARCHIVE is what gpu_pack.sh made: Triton and events. Without it nothing is served,
# and the events are the sample of the tests and random space points.
# With --check the answers alone are checked, also under compute-sanitizer.
# What is printed goes to gpu-DEVICE.txt (gpu-DEVICE-check.txt) in OUT (build/) too. Exits with 1 if
# a part failed; the other parts are done all the same. A part that would end later than LIMIT (580) s
# is cut.
# usage: benchmarks/gpu.sh [--device cpu] [--check] [ARCHIVE.tar.xz]
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
device=cuda
if [ "${1:-}" = --device ]; then device=$2 && shift 2; fi
check=
if [ "${1:-}" = --check ]; then check=-check && shift; fi
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

sanitize() { # TOOL PIXEL TRACKER
  if [ "$device" != cuda ]; then
    run "small events (compute-sanitizer $1 needs a GPU)" 90 gpu_check "$2" --points "$3" --models default --small
  elif command -v compute-sanitizer >/dev/null; then
    part "compute-sanitizer $1" 90 compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 \
      python3 -m benchmarks.gpu_check "$2" --points "$3" --models default --small --device cuda
  else
    echo "there is no compute-sanitizer"
  fi
}

all() {
  local tracker=$work/carried/tracker.npz pixels
  if [ -n "$archive" ]; then python3 -m tarfile -e "$archive" "$work" || return 1; fi
  pixels=("$work"/carried/pixel/*/)
  if [ ! -d "${pixels[0]}" ]; then
    python3 -m tarfile -e "tests/data/patatrack-sample.tar.xz" "$work"
    pixels=("$work/patatrack-sample")
    tracker=random
  fi
  local pixel=${pixels[0]} # the one that is timed
  python3 -m benchmarks.overlay "$work/python" ${archive:+"$work/carried"} || return 1
  export PATH=$work/python/bin:$PATH
  if [[ $(readlink "$work/python/bin/python3") = "$work"/carried/python/* ]]; then
    echo "the Python of this machine has no shared library: the carried one is used"
    export LD_LIBRARY_PATH=$work/carried/python/lib:${LD_LIBRARY_PATH:-}
  fi

  if [ -d "$work/carried/cache" ]; then export XDG_CACHE_HOME=$work/carried/cache; fi # the native backend

  part "this machine" 60 python3 -c 'from trackserve.cli import app; app()' doctor
  df -h /dev/shm
  run "compilation" 150 compile_all "$pixel"
  run "answers" 90 gpu_check "${pixels[@]}" --points "$tracker"
  if [ -n "$check" ]; then
    sanitize memcheck "$pixel" "$tracker"
    sanitize racecheck "$pixel" "$tracker"
  else
    run "Patatrack, direct" 75 gpu "$pixel"
    run "Exa.TrkX, direct" 75 gpu_exatrkx "$tracker"
    if [ -n "$archive" ]; then
      run "Patatrack, served" 130 gpu_served patatrack "$pixel" --rounds 2 --seconds 1
      run "Exa.TrkX, served" 90 gpu_served exatrkx "$tracker" --events 3 --rounds 2 --seconds 1 --instances 1 2
    fi
    run "Patatrack, roofline" 30 roofline patatrack "$pixel"
    run "Exa.TrkX, roofline" 30 roofline exatrkx "$tracker" --events 3
  fi

  printf '\n== %d s, %d parts failed: %s\n' "$SECONDS" "${#failed[@]}" "$(IFS=\;; echo "${failed[*]:-none}")"
  [ ${#failed[@]} -eq 0 ]
}

name=$device
if [ "$device" = cuda ]; then name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1); fi
results=$out/gpu-$(tr -cs 'a-z0-9' - <<<"${name,,}" | sed 's/-$//')$check.txt
mkdir -p "$out"
all 2>&1 | tee "$results"
exit "${PIPESTATUS[0]}"
