"""Lines of a log, each with its time: as text, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from trackserve.errors import InputError

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)
"""Forms of a line."""


def checked_format(name: str) -> str:
    """The name of a form.

    Raises:
        InputError: there is no such form.
    """
    if name not in FORMATS:
        raise InputError("no such form of a log", found=name, bound=FORMATS)
    return name


def log_line(form: str, level: str, message: str, fields: Mapping[str, Any]) -> str:
    """A line without its end.

    Args:
        form: one of :data:`FORMATS`.
        level: "info", "warning" or "error".
        message: what has happened.
        fields: what more there is to say, by name.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if form == JSON:
        return json.dumps({"time": now, "level": level, "message": message, **fields}, default=str)
    pairs = [f"{name}={value}" for name, value in fields.items() if value != ""]
    text = " ".join([now, level, message, *pairs])
    return "".join(letter if letter.isprintable() else "?" for letter in text)
