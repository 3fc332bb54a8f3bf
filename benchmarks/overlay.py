"""A Python environment that has the packages of this one, this checkout and a few more.

usage: benchmarks/overlay.py TARGET [CARRIED]

Nothing is installed: ``TARGET`` becomes a virtual environment of links, with ``bin/python3``. It
is one, and not a search path in a variable, since Triton's backend takes packages from the
``python3`` on PATH alone. CARRIED is what gpu_pack.sh packed: ``site/``, packages, and ``python/``,
an interpreter for the case that this one has no shared library, which the backend loads.
"""

from __future__ import annotations

import ctypes
import os
import site
import sys
import sysconfig
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def has_library() -> bool:
    """Whether the loader, or Triton's backend with the directories it is given, finds it."""
    name = f"lib{VERSION}.so.1.0"
    places = (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib")
    if any(place and Path(place, name).exists() for place in places):
        return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def make(target: Path, interpreter: Path, packages: list[Path]) -> None:
    """Of packages that are in several directories the first is linked."""
    inside = target / "lib" / VERSION / "site-packages"
    inside.mkdir(parents=True)
    for directory in packages:
        for entry in directory.iterdir():
            if not os.path.lexists(inside / entry.name):
                (inside / entry.name).symlink_to(entry)
    (target / "bin").mkdir()
    (target / "bin" / "python3").symlink_to(interpreter)
    (target / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")


def main() -> None:
    target, *rest = map(Path, sys.argv[1:])
    own = [Path(place) for place in site.getsitepackages() if Path(place).is_dir()]
    interpreter = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    carried = [(rest[0] / "site").resolve()] if rest else []
    if rest and (os.environ.get("CARRIED_PYTHON") or not has_library()):
        interpreter = (rest[0] / "python" / "bin" / VERSION).resolve()
    make(target, interpreter, [SOURCES, *carried, *own])


if __name__ == "__main__":
    main()
