"""A headless Chromium for tests; they are skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trackserve.display import chromium
from trackserve.errors import MissingExtraError


@contextmanager
def browser() -> Iterator[chromium.Page]:
    """A tab; see :func:`trackserve.display.chromium.browser`."""
    try:
        chromium.find_chromium()
    except MissingExtraError as error:
        pytest.skip(str(error))
    with chromium.browser() as tab:
        yield tab
