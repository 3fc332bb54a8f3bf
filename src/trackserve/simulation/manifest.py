"""``simulation.json``: all that determines the bytes of a simulated data directory."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import generate, material, transport
from .files import complete
from .response import CMS_LIKE
from .simulator import Counts, Setup

_FILE = "simulation.json"
_CONSTANTS = {
    generate: ("MIN_PT", "MIN_PHOTON_ENERGY", "MAX_ETA"),
    material: ("PIPE_MATERIAL", "BARREL_MATERIAL", "ENDCAP_MATERIAL", "FLANGE_MATERIAL"),
    transport: ("FIELD", "MAX_HALF_TURNS", "MAX_LOOPER_PT", "MIN_LOOPER_MOMENTUM"),
}


def make_manifest(setup: Setup) -> dict[str, Any]:
    """Versions of the packages and all parameters.

    Raises:
        MissingExtraError: Pythia is needed and not installed.
    """
    parameters = setup._asdict()
    gun = parameters.pop("gun")
    packages = ["trackserve", "pyacts", "numpy"]
    constants = {
        name.lower(): getattr(module, name)
        for module, names in _CONSTANTS.items()
        for name in names
    }
    if setup.needs_pythia:
        from . import pythia

        packages.append("pythia8mc")
        constants |= {"energy": pythia.ENERGY, "decay_radius": pythia.DECAY_RADIUS}
    manifest = {
        "versions": {name: version(name) for name in packages},
        "parameters": parameters,
        "gun": gun._asdict() if setup.is_gun else None,
        "constants": constants,
        "response": CMS_LIKE._asdict(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(manifest))
    return plain


def claim(directory: Path, manifest: dict[str, Any]) -> Counts | None:
    """Start, or continue, in ``directory``.

    Returns:
        The counts, if everything was made before.

    Raises:
        InputError: the directory holds other data.
    """
    path = directory / _FILE
    if not path.exists():
        if (directory / "raw.bin").exists():
            raise InputError("the directory holds data of another origin", directory=str(directory))
        directory.mkdir(parents=True, exist_ok=True)
        write_manifest(directory, manifest)
        return None
    there = json.loads(path.read_text())
    counts = there.pop("counts", None)
    differences = _differences(manifest, there)
    if differences:
        raise InputError(
            "the directory holds another simulation", directory=str(directory), **differences
        )
    return None if counts is None else Counts(**counts)


def write_manifest(directory: Path, manifest: dict[str, Any], counts: Counts | None = None) -> None:
    """``counts`` mark a directory that is complete."""
    content = manifest if counts is None else manifest | {"counts": counts._asdict()}
    with complete(directory / _FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def _differences(mine: Any, theirs: Any, name: str = "") -> dict[str, str]:
    """What differs, by its dotted name."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        found: dict[str, str] = {}
        for key in sorted(mine.keys() | theirs.keys()):
            place = f"{name}.{key}" if name else key
            found |= _differences(mine.get(key), theirs.get(key), place)
        return found
    return {} if mine == theirs else {name: f"{theirs} there, {mine} asked"}
