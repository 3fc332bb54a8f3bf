"""``simulation.json``: everything that determines the bytes of a simulated directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trackserve.errors import InputError, parse_json
from trackserve.io.files import complete

from .collisions import Setup
from .generate import Acceptance

_FILE = "simulation.json"


def make_manifest(
    setup: Setup, acceptance: Acceptance, constants: Mapping[str, Any]
) -> dict[str, Any]:
    """The versions of the packages and all parameters, as plain JSON.

    Args:
        setup: what is simulated.
        acceptance: what of the collisions is kept.
        constants: what else determines the bytes.

    Raises:
        MissingExtraError: Pythia is needed and not installed.
    """
    parameters = setup._asdict()
    gun = parameters.pop("gun")
    packages = ["trackserve", "pyacts", "numpy"]
    collisions: dict[str, Any] = acceptance._asdict()
    if setup.needs_pythia:
        from . import pythia

        packages.append("pythia8mc")
        collisions["energy"] = pythia.ENERGY
    manifest = {
        "versions": {name: version(name) for name in packages},
        "parameters": parameters,
        "gun": gun._asdict() if setup.is_gun else None,
        "collisions": collisions,
        "constants": constants,
    }
    plain: dict[str, Any] = json.loads(json.dumps(manifest))
    return plain


def claim(directory: Path, manifest: dict[str, Any], data: str) -> dict[str, int] | None:
    """Start or continue a simulation in ``directory``.

    Args:
        directory: is made if needed.
        manifest: what :func:`make_manifest` made.
        data: name of a file that only a complete directory has.

    Returns:
        The counts if the directory is complete; None if something is to be made.

    Raises:
        InputError: the directory holds other data, or a malformed ``simulation.json``.
    """
    path = directory / _FILE
    if not path.exists():
        if (directory / data).exists():
            raise InputError("the directory holds data of another origin", directory=str(directory))
        directory.mkdir(parents=True, exist_ok=True)
        write_manifest(directory, manifest)
        return None
    there = read_manifest(path)
    counts: dict[str, int] | None = there.pop("counts", None)
    differences = _differences(manifest, there)
    if differences:
        raise InputError(
            "the directory holds another simulation", directory=str(directory), **differences
        )
    return counts


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of ``simulation.json``.

    Raises:
        InputError: the file cannot be read, or is no JSON object.
    """
    try:
        return parse_json(path.read_bytes(), dict, file=str(path))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from None


def write_manifest(
    directory: Path, manifest: dict[str, Any], counts: dict[str, int] | None = None
) -> None:
    """Write ``simulation.json``; with ``counts`` the directory is complete."""
    content = manifest if counts is None else manifest | {"counts": counts}
    with complete(directory / _FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def _differences(mine: Any, theirs: Any, name: str = "") -> dict[str, str]:
    """Both values of every entry that differs, by its dotted name."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        found: dict[str, str] = {}
        for key in sorted(mine.keys() | theirs.keys()):
            place = f"{name}.{key}" if name else key
            found |= _differences(mine.get(key), theirs.get(key), place)
        return found
    return {} if mine == theirs else {name: f"{theirs} there, {mine} asked"}
