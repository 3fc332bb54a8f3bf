#!/usr/bin/env bash
# Both trackers on this machine's GPU, direct and served: checked against the CPU, then timed, with
# the GPU's utilisation and the energy of an event. Nothing is installed; the python3 on PATH must
# have numpy, numba, numba-cuda, PyTorch, safetensors, pyarrow, typer and rich, and to serve grpcio
# and protobuf. ARCHIVE is what gpu_pack.sh made: Triton and events. Without it nothing is served,
# and the events are the sample of the tests and random space points.
# With --check the first part alone is done: the answers, also under compute-sanitizer.
# What is printed goes to gpu-DEVICE.txt (gpu-DEVICE-check.txt) in OUT (build/) too, as it comes; what
# the sanitizers print, to gpu-DEVICE-memcheck.txt and -racecheck.txt. Exits with 1 if a command
# failed; the others are done all the same. A command that takes longer than its part allows is cut,
# and so is one that would end later than LIMIT (470) s.
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
limit=${LIMIT:-470}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work # whatever a part that is cut leaves
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$work/numba} PYTHONUNBUFFERED=1 COLUMNS=${COLUMNS:-120}
if [ -z "${CUDA_HOME:-}${CUDA_PATH:-}" ] && [ -d /usr/local/cuda ]; then
  export CUDA_HOME=/usr/local/cuda # where Numba looks for NVVM, if no package has it
fi

name=$device
if [ "$device" = cuda ]; then name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1); fi
results=$out/gpu-$(tr -cs 'a-z0-9' - <<<"${name,,}" | sed 's/-$//')
mkdir -p "$out"

failed=()
seconds() { # MOST: seconds that a command may take
  local left=$((limit - SECONDS))
  echo $((left < $1 ? (left > 0 ? left : 1) : $1))
}

ended() { # NAME STATUS
  if [ "$2" -ne 0 ]; then
    failed+=("$1")
    printf '== %s FAILED (%s)\n' "$1" "$([ "$2" -eq 124 ] && echo cut || echo "exit $2")"
  fi
}

run() { # NAME SECONDS MODULE ARGUMENTS...
  local name=$1 most=$2 module=$3
  shift 3
  printf '\n== %s, %d s after the start\n' "$name" "$SECONDS"
  timeout -k 10 "$(seconds "$most")" python3 -m "benchmarks.$module" "$@"
  ended "$name" $?
}

sanitize() { # TOOL PIXEL TRACKER
  local command=(compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20)
  if [ "$device" != cuda ]; then command=(nice); fi # the same events, without the tool
  timeout -k 10 "$(seconds 90)" "${command[@]}" python3 -m benchmarks.gpu_check "$2" --points "$3" \
    --models default --small --device "$device" >"$results-$1.txt" 2>&1
}

check() { # TRACKER PIXEL...: beside each other, since each leaves most of the GPU idle
  local tracker=$1 pixels=("${@:2}") tools=() jobs=() tool small
  small=$(dirname "$(ls -Sr "${pixels[@]/%//raw.bin}" | head -1)")
  if [ "$device" != cuda ] || command -v compute-sanitizer >/dev/null; then
    tools=(memcheck racecheck)
  else
    echo "there is no compute-sanitizer"
  fi
  for tool in "${tools[@]}"; do
    sanitize "$tool" "$small" "$tracker" &
    jobs+=($!)
  done
  run "answers" 90 gpu_check "${pixels[@]}" --points "$tracker" --device "$device"
  for tool in "${!tools[@]}"; do
    wait "${jobs[tool]}"
    local status=$?
    printf '\n== compute-sanitizer %s, its last lines\n' "${tools[tool]}"
    tail -n 12 "$results-${tools[tool]}.txt"
    ended "compute-sanitizer ${tools[tool]}" $status
  done
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
  local pixel=${pixels[0]} busy=${pixels[-1]} # those that are timed
  python3 -m benchmarks.overlay "$work/python" ${archive:+"$work/carried"} || return 1
  export PATH=$work/python/bin:$PATH
  if [[ $(readlink "$work/python/bin/python3") = "$work"/carried/python/* ]]; then
    echo "the Python of this machine has no shared library: the carried one is used"
    export LD_LIBRARY_PATH=$work/carried/python/lib:${LD_LIBRARY_PATH:-}
  fi
  if [ -d "$work/carried/cache" ]; then export XDG_CACHE_HOME=$work/carried/cache; fi # the native backend

  timeout 30 python3 -c 'from trackserve.cli import app; app()' doctor
  ended "this machine" $?
  df -h /dev/shm
  local on=(--device "$device")
  run "compilation" 100 compile_all "$pixel" "${on[@]}"

  printf '\n==== 1: answers\n'
  check "$tracker" "${pixels[@]}"
  if [ -z "$check" ]; then
    printf '\n==== 2: direct\n'
    run "Patatrack, direct" 40 gpu "$pixel" "${on[@]}"
    run "Patatrack, direct, the last events" 20 gpu "$busy" --batches 1 16 64 --streams 2 \
      --seconds 1 "${on[@]}"
    run "Exa.TrkX, direct" 35 gpu_exatrkx "$tracker" --seconds 1 "${on[@]}"
    run "Exa.TrkX, other models" 25 gpu_exatrkx "$tracker" --models large soft pixels --precisions fp32 \
      --streams 2 --seconds 1 "${on[@]}"
    if [ -n "$archive" ]; then
      printf '\n==== 3: served\n'
      run "Patatrack, served" 80 gpu_served patatrack "$pixel" --rounds 2 --seconds 1 "${on[@]}"
      run "Exa.TrkX, served" 40 gpu_served exatrkx "$tracker" --events 3 --rounds 2 --seconds 1 \
        --instances 1 "${on[@]}"
    fi
    printf '\n==== 4: kernels\n'
    run "Patatrack, kernels and packing" 15 gpu_kernels patatrack "$pixel" "${on[@]}"
    run "Exa.TrkX, kernels and packing" 15 gpu_kernels exatrkx "$tracker" --events 1 \
      --models default soft pixels "${on[@]}"
    run "Patatrack, roofline" 15 roofline patatrack "$pixel" --rounds 3 "${on[@]}"
    run "Exa.TrkX, roofline" 15 roofline exatrkx "$tracker" --events 1 --rounds 3 "${on[@]}"
    printf '\n==== 5: the CPU, all cores\n'
    run "Patatrack, CPU" 20 gpu "$pixel" --seconds 4 --device cpu
    run "Exa.TrkX, CPU" 40 gpu_exatrkx "$tracker" --models default large soft pixels --seconds 4 --device cpu
  fi

  printf '\n== %d s, %d failed: %s\n' "$SECONDS" "${#failed[@]}" "$(IFS=\;; echo "${failed[*]:-none}")"
  [ ${#failed[@]} -eq 0 ]
}

all 2>&1 | tee "$results$check.txt"
exit "${PIPESTATUS[0]}"
