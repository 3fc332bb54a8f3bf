"""A page of events as a picture."""

from __future__ import annotations

from pathlib import Path

from trackserve.io.files import as_path, complete, writable

from .chromium import browser

SIZE = (1280, 800)
"""Width and height of a picture, pixels."""
_DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def write_png(
    path: str | Path,
    page: Path,
    *,
    view: str = "3d",
    dark: bool = False,
    size: tuple[int, int] = SIZE,
    state: str = "",
) -> Path:
    """Write what a browser shows of a page.

    Args:
        path: of the picture.
        page: the page, from :func:`.page.write_page`.
        view: "3d", "xy" or "rz".
        dark: whether the user prefers dark pages.
        size: of the window, pixels.
        state: more of what is shown, as the page's address takes it (docs/display.md).

    Returns:
        the path of the picture.

    Raises:
        MissingExtraError: there is no Chromium on PATH.
        InputError: the file cannot be written.
        TrackserveError: Chromium does not do it.
    """
    path = as_path(path)
    with browser() as tab:
        tab.size(*size)
        tab.prefer("dark" if dark else "light")
        tab.open(f"{page.resolve().as_uri()}#view={view}&{state}")
        tab.wait_for("document.documentElement.dataset.ready === 'true'")
        tab.evaluate(_DRAWN)
        picture = tab.screenshot()
    with writable(path), complete(path) as partial:
        partial.write_bytes(picture)
    return path
