"""``simulation.json``: everything that determines the bytes of a simulated directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.errors import InputError, parse_json
from trackserve.io.files import complete

from ..processes import PHYSICS
from .collisions import Setup
from .generate import Acceptance

_FILE = "simulation.json"


class Claim(NamedTuple):
    """What a directory holds of the simulation that is to be made there.

    Attributes:
        complete: whether it holds all events.
        counts: counts of the events of an earlier, complete simulation, summed over them.
        kept: number of these events.
    """

    complete: bool
    counts: dict[str, int]
    kept: int


def make_manifest(
    setup: Setup, acceptance: Acceptance, constants: Mapping[str, Any], packages: tuple[str, ...]
) -> dict[str, Any]:
    """The versions of the packages and all parameters, as plain JSON.

    Args:
        setup: what is simulated.
        acceptance: what of the collisions is kept.
        constants: what else determines the bytes.
        packages: those whose versions do, too, beside Pythia.

    Raises:
        MissingExtraError: Pythia is needed and not installed.
    """
    parameters = setup._asdict()
    gun, jets = parameters.pop("gun"), parameters.pop("jets")
    collisions: dict[str, Any] = acceptance._asdict()
    if setup.needs_pythia:
        from . import pythia

        packages += ("pythia8mc",)
        collisions["energy"] = pythia.ENERGY
    manifest = {
        "versions": {name: version(name) for name in packages},
        "parameters": parameters,
        "gun": gun._asdict() if setup.is_gun else None,
        "collisions": collisions,
        "constants": constants,
        "physics": PHYSICS,
    }
    if setup.process == "jets":
        manifest["jets"] = jets._asdict()
    plain: dict[str, Any] = json.loads(json.dumps(manifest))
    return plain


def claim(directory: Path, manifest: dict[str, Any], files: tuple[str, ...]) -> Claim:
    """Start, continue or extend a simulation in ``directory``.

    Args:
        directory: is made if needed.
        manifest: what :func:`make_manifest` made. It may have more events than the directory.
        files: names of what a complete directory has beside ``simulation.json``.

    Raises:
        InputError: the directory holds other data, more events, or a malformed
            ``simulation.json``.
    """
    path = directory / _FILE
    if not path.exists():
        if any((directory / name).exists() for name in files):
            raise InputError("the directory holds data of another origin", directory=str(directory))
        directory.mkdir(parents=True, exist_ok=True)
        write_manifest(directory, manifest)
        return Claim(False, {}, 0)
    there = read_manifest(path)
    counts, kept = _counts_in(there, path)
    differences = _differences(manifest, there)
    asked = manifest["parameters"]["events"]
    found = there["parameters"].get("events") if "parameters" not in differences else None
    if isinstance(found, int) and found < asked:
        del differences["parameters.events"]
    if differences:
        raise InputError(
            "the directory holds another simulation", directory=str(directory), **differences
        )
    if found == asked and counts is not None:
        return Claim(True, counts, asked)
    if counts is not None:
        kept = {"events": found, "counts": counts}
    if found < asked:
        write_manifest(directory, manifest | ({"kept": kept} if kept["events"] else {}))
    return Claim(False, kept["counts"], kept["events"])


def _counts_in(content: dict[str, Any], path: Path) -> tuple[dict[str, int] | None, dict[str, Any]]:
    """Take what the content says of its own events and of those kept; check it.

    Raises:
        InputError: it is malformed.
    """
    counts = content.pop("counts", None)
    kept = content.pop("kept", {"events": 0, "counts": {}})
    try:
        given = [*kept["counts"].values(), *(counts or {}).values(), kept["events"]]
        if all(type(number) is int for number in given):
            return counts, kept
    except (TypeError, KeyError, AttributeError):
        pass
    raise InputError("the counts of events are malformed", file=str(path))


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
