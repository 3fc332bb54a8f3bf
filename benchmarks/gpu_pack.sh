#!/usr/bin/env bash
# What gpu.sh needs on a machine that can download nothing: a real Triton and its client, a Python
# of the running version with its shared library, and events. One archive, which gpu.sh unpacks.
# TRACKER is a directory of space points, each PIXEL a pixel data directory; the events of all are
# checked, those of the first and of the last one are timed. Without them the archive has no events.
# usage: benchmarks/gpu_pack.sh ARCHIVE.tar.xz [TRACKER PIXEL...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}
archive=$(realpath -m "$1")
shift
places=()
for place in "$@"; do places+=("$(realpath "$place")"); done
export PYTHONPATH=$root/src:$root
version=$($python -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')

get() { $python -m pip download -q --no-deps -d "$work/wheels" "$@"; }
get nvidia-pytriton==0.7.0
get tritonclient==2.51.0  # its messages take any protobuf from 3.20 on
get python-rapidjson
get numba-cuda==0.30.4  # small, and what the kernels are tested with

mkdir "$work/all" "$work/carried" "$work/carried/site"
for wheel in "$work"/wheels/*.whl; do $python -m zipfile -e "$wheel" "$work/all"; done
cd "$work/all"
cp -r tritonclient-*.data/purelib/tritonclient tritonclient-*.dist-info ./*rapidjson* \
  ./*numba_cuda* nvidia_pytriton-*.dist-info nvidia_pytriton.libs "$work/carried/site"
rm -f "$work"/carried/site/nvidia_pytriton.libs/libpython*  # only Triton's own client wants it
triton=pytriton/tritonserver
cp -r --parents pytriton/__init__.py $triton/bin $triton/backends $triton/caches \
  "$triton/python_backend_stubs/$version" "$work/carried/site"
chmod +x "$work/carried/site/$triton/bin/tritonserver" \
  "$work/carried/site/$triton/python_backend_stubs/$version/triton_python_backend_stub"

prefix=$($python -c 'import sys; print(sys.base_prefix)')
if [ -e "$prefix/lib/libpython$version.so.1.0" ]; then
  carried=$work/carried/python
  mkdir -p "$carried/bin" "$carried/lib"
  cp "$prefix/bin/python$version" "$carried/bin"
  cp "$prefix/lib/libpython$version.so.1.0" "$carried/lib"
  tar -C "$prefix/lib" --exclude=__pycache__ --exclude=site-packages --exclude='config-*' \
    --exclude=test --exclude=idlelib --exclude=ensurepip --exclude=tkinter --exclude=lib2to3 \
    --exclude=pydoc_data --exclude='_test*' -cf - "python$version" | tar -C "$carried/lib" -xf -
  find "$carried" -type f \( -name '*.so*' -o -path '*/bin/*' \) -exec strip {} +
else
  echo "no libpython$version.so in $prefix/lib: the other machine must have one"
fi

# the library of the native backend, where it is looked for; it depends on no version of Python
mkdir -p "$work/carried/cache/trackserve"
$python - "$work/carried/cache/trackserve" <<'END'
import sys
from pathlib import Path
from trackserve.serving.backend.native import build
build.compile_library(Path(sys.argv[1]) / build.library_name())
END

if [ ${#places[@]} -gt 1 ]; then
  $python -m benchmarks.points "${places[0]}" "$work/carried/tracker.npz"
  for k in $(seq 1 $((${#places[@]} - 1))); do
    to=$work/carried/pixel/$k-$(basename "${places[k]}")
    mkdir -p "$to"
    for name in fedIds cablingMap gain cpefast beamspot raw material; do
      [ ! -e "${places[k]}/$name.bin" ] || cp "${places[k]}/$name.bin" "$to"
    done
  done
fi

mkdir -p "$(dirname "$archive")"
tar -C "$work" -cf - carried | xz -T0 -9e >"$archive"
du -sm "$work"/carried/*/ | sed "s|$work/||"
echo "$archive: $(($(stat -c %s "$archive") / 1024)) KiB"
