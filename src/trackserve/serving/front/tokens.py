"""Tokens of clients, which a front asks for."""

from __future__ import annotations

import os
from pathlib import Path

from trackserve.errors import InputError
from trackserve.wire.access import read_file

VARIABLE = "TRACKSERVE_FRONT_TOKENS"
"""Environment variable with the content of a file of tokens."""

_COMMENT = "#"
_LEAST = 16
"""Characters of a token; a shorter one can be guessed."""


def read_tokens(file: Path | None) -> dict[str, str]:
    """Tokens by name of the client: of a file, else of the environment, else none.

    Raises:
        InputError: the file cannot be read, or as of :func:`parse_tokens`.
    """
    if file is not None:
        return parse_tokens(read_file(file).decode(errors="replace"), str(file))
    text = os.environ.get(VARIABLE, "")
    return parse_tokens(text, f"${VARIABLE}") if text else {}


def parse_tokens(text: str, source: str) -> dict[str, str]:
    """The tokens in lines of ``NAME TOKEN``, by name; empty lines and ``#`` lines say nothing.

    Raises:
        InputError: a line has another form, a token is short, a name or a token is there twice, or
            there is none at all. No message has a token.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.lstrip().startswith(_COMMENT):
            continue
        where = {"file": source, "line": number}
        if len(words) != 2:
            raise InputError("no token", **where, bound="NAME TOKEN")
        name, token = words
        if len(token) < _LEAST or not token.isascii():
            raise InputError("this token is too short", **where, bound=f"{_LEAST} characters")
        if name in found or token in found.values():
            raise InputError("a name or a token is there twice", **where)
        found[name] = token
    if not found:
        raise InputError("no tokens: nobody could use the front", file=source)
    return found


def is_public(file: Path | None) -> bool:
    """Whether other users of this machine can read the file."""
    return file is not None and bool(file.stat().st_mode & 0o044)
