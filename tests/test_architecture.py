"""An import goes down the table of rooms in docs/design.md, never up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/trackserve"
ROOMS = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE)


def imported(path: Path) -> set[str]:
    """Dotted names of the modules of this package that a file imports, relative ones too."""
    package = path.relative_to(SOURCES.parent).parent.parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {module, *(f"{module}.{name.name}" for name in node.names)}
    return {name for name in found if name.startswith("trackserve.")}


def room_of(name: str) -> str:
    """The room of a dotted name; empty of what stands above all rooms."""
    room = name.split(".")[1]
    return room if room in ROOMS else ""


FILES = sorted(SOURCES.glob("**/*.py"))


def test_every_room_is_in_the_table() -> None:
    folders = {path.name for path in SOURCES.iterdir() if (path / "__init__.py").exists()}
    assert folders <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down(room: str) -> None:
    up = [
        f"{path.relative_to(SOURCES)}: {name}"
        for path in FILES
        if (path.relative_to(SOURCES).parts[0].removesuffix(".py")) == room
        for name in sorted(imported(path))
        if room_of(name) and ROOMS.index(room_of(name)) > ROOMS.index(room)
    ]
    assert up == []


def test_the_workflow_knows_no_tracker() -> None:
    allowed = (
        "trackserve.trackers.base",
        "trackserve.trackers.registry",
        "trackserve.trackers.batch",
    )
    known = [
        f"{path.name}: {name}"
        for path in SOURCES.glob("workflow/**/*.py")
        for name in sorted(imported(path))
        if name.startswith("trackserve.trackers.") and not name.startswith(allowed)
    ]
    assert known == []
