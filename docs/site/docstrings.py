"""Docstrings as Markdown: names that Sphinx's roles mark become code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class PlainNames(griffe.Extension):
    """Takes roles away, as in ``:class:`~trackserve.edm.Tracks```."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            text = re.sub(r":[a-z]+:`~?\.*([^`]*)`", r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"``([^`]+)``", r"`\1`", text)
