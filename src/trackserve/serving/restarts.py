"""How often Triton was started anew, which its backends report."""

from __future__ import annotations

import os

VARIABLE = "TRACKSERVE_RESTARTS"
"""Environment variable with the number, for the backends."""


def restarts() -> int:
    """Times that the server of this backend has started Triton anew; 0 without such a server."""
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdecimal() else 0
