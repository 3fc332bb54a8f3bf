"""Meanings of the columns of a noun, as its class states them in the texts under them."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from contextlib import suppress
from itertools import pairwise
from typing import Any


@functools.cache
def meanings(noun: Any) -> dict[str, str]:
    """The text under each attribute, and that of each property, as :func:`plain`, by name.

    Where the source of the class is not installed, only properties are there.
    """
    found = {
        name: member.__doc__
        for name, member in vars(noun).items()
        if isinstance(member, property) and member.__doc__
    }
    with suppress(OSError):
        found |= _under_attributes(inspect.getsource(noun))
    return {name: plain(text) for name, text in found.items()}


def plain(text: str) -> str:
    """The text on one line, with the names that its markup marks alone."""
    without_roles = re.sub(r":[a-z]+:`~?([^`]*)`", r"\1", text)
    return " ".join(without_roles.replace("``", "").split())


def _under_attributes(source: str) -> dict[str, str]:
    """The text under each attribute in the source of a class."""
    found = {}
    body = ast.parse(textwrap.dedent(source)).body[0].body  # type: ignore[attr-defined]
    for node, text in pairwise(body):
        match node, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(said))):
                found[name] = said
    return found
