"""Meanings of the columns of a noun, as its class states them in the texts under them."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from itertools import pairwise
from typing import Any


@functools.cache
def meanings(noun: Any) -> dict[str, str]:
    """The text under each attribute, and that of each property, on one line, by name.

    Where the source of the class is not installed, only properties are there.
    """
    found = {
        name: member.__doc__
        for name, member in vars(noun).items()
        if isinstance(member, property) and member.__doc__
    }
    try:
        source = inspect.getsource(noun)
    except OSError:
        return found
    body = ast.parse(textwrap.dedent(source)).body[0].body  # type: ignore[attr-defined]
    for node, text in pairwise(body):
        match node, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(said))):
                found[name] = said
    return {name: " ".join(text.split()) for name, text in found.items()}
