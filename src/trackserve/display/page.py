"""A scene as one HTML file that needs nothing beside itself.

The file holds the program (``web/bundle.js``, made by ``npm run build`` from the sources beside
it), a description of the scene as JSON, and all numbers of the scene as one compressed block.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import fields, is_dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.edm.columns import Array, Ragged
from trackserve.io.files import as_path, complete, made, writable

from .scene import Lines, Scene

STEPS = 32767
"""Positions are whole numbers of the largest coordinate of an array over this."""
_ALIGNED = 8
"""Bytes; an array begins at a multiple of it."""
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_POSITIONS = {"position", "points", "solid", "across", "along"}


def write_page(path: str | Path, scene: Scene) -> Path:
    """Write a page that shows ``scene``; it fetches nothing, and forbids all scripts but its own.

    Args:
        path: of the page; its folder is made if needed.
        scene: what it shows.

    Returns:
        the path.

    Raises:
        InputError: it cannot be written.
    """
    path = as_path(path)
    with writable(path), made(path.parent), complete(path) as partial:
        partial.write_text(page_of(scene), encoding="utf-8")
    return path


def page_of(scene: Scene) -> str:
    """The text of the page."""
    described, block = pack(scene)
    program = _part("bundle.js")
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data: blob:"
    )
    data = json.dumps(described, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    numbers = base64.b64encode(gzip.compress(block, 9, mtime=0)).decode()
    parts = {
        "policy": policy,
        "title": escape(scene.title),
        "style": _part("style.css"),
        "scene": data,
        "numbers": numbers,
        "program": program,
    }
    return _PLACE.sub(lambda place: parts[place[1]], _part("page.html"))


def pack(scene: Scene) -> tuple[Any, bytes]:
    """The scene as JSON takes it, and the block of its numbers.

    An array becomes ``{"at": byte, "n": values, "type": name}``, where ``type`` is that of a typed
    array of JavaScript in small letters; one with ``"step"`` holds whole numbers of this step.
    """
    block = bytearray()

    def put(array: Array, **more: float) -> dict[str, Any]:
        block.extend(bytes(-len(block) % _ALIGNED))
        at = len(block)
        block.extend(np.ascontiguousarray(array).tobytes())
        return {"at": at, "n": array.size, "type": array.dtype.name, **more}

    def plain(value: Any, name: str = "") -> Any:
        if isinstance(value, np.ndarray):
            if name in _POSITIONS:
                step = float(np.abs(value).max(initial=0.0)) / STEPS or 1.0
                return put(np.round(value / step).astype(np.int16), step=step)
            return put(value)
        if isinstance(value, Ragged | Lines):
            values = value.values if isinstance(value, Ragged) else value.points
            of = "values" if isinstance(value, Ragged) else "points"
            return {"offsets": put(value.offsets.astype(np.uint32)), of: plain(values, of)}
        if is_dataclass(value):
            return {f.name: plain(getattr(value, f.name), f.name) for f in fields(value)}
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return value

    return plain(scene), bytes(block)


def _part(name: str) -> str:
    return (files(__package__) / "web" / name).read_text(encoding="utf-8")
