"""A Python environment that has the packages of this one, this checkout and a few more.

usage: python -m benchmarks.overlay TARGET [CARRIED]

Nothing is installed: TARGET becomes a virtual environment of links, with ``bin/python3``. A search
path in a variable would not do: Triton's backend takes packages from the ``python3`` on PATH alone.
CARRIED is a folder of gpu_pack.sh. It has packages in ``site/`` and an interpreter in ``python/``.
That one is used if this interpreter has no shared library, which the backend loads.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import site
import sys
import sysconfig
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def has_library() -> bool:
    """Whether Triton's backend finds the shared library of this Python."""
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
    """Make the environment; if several directories have a package, the first one is linked."""
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
    parser = argparse.ArgumentParser(description="Make a Python environment of links.")
    parser.add_argument("target", metavar="TARGET", type=Path)
    parser.add_argument("carried", metavar="CARRIED", type=Path, nargs="?")
    options = parser.parse_args()
    own = [Path(place) for place in site.getsitepackages() if Path(place).is_dir()]
    interpreter = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    packages = [SOURCES, *own]
    if options.carried:
        packages.insert(1, (options.carried / "site").resolve())
        if os.environ.get("CARRIED_PYTHON") or not has_library():
            interpreter = (options.carried / "python" / "bin" / VERSION).resolve()
    make(options.target, interpreter, packages)


if __name__ == "__main__":
    main()
