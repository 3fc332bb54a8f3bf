"""How large is a page of the event display, how long does it take to make, to open and to draw?

    python -m benchmarks.display build/ttbar-pu50

Drawing is by the software of a headless Chromium, in a window of 800 x 600 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from trackserve.display import make_scene, write_page
from trackserve.display.chromium import Page, browser
from trackserve.display.scenes import kept_for
from trackserve.errors import TrackserveError
from trackserve.studies.machine import cpu_name
from trackserve.trackers.registry import find_tracker, tracker_names

_WINDOW = (800, 600)
_FRAMES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="events of a tracker")
    parser.add_argument("--events", type=int, default=1, help="events of the page")
    arguments = parser.parse_args()
    tracker, events = _open(arguments.path)
    which = range(min(arguments.events, len(events)))
    pipeline = tracker.build({}, events=events)
    pipeline.warm_up()
    outcomes = pipeline.run([events[i] for i in which], kept_for(tracker))
    print(f"{tracker.name} on {events.name}, {len(which)} events; {cpu_name()}")
    with tempfile.TemporaryDirectory() as folder, browser() as tab:
        start = time.perf_counter()
        page = write_page(Path(folder) / "event.html", make_scene(tracker, events, which, outcomes))
        print(
            f"page: {page.stat().st_size / 1e6:.2f} MB, made in {time.perf_counter() - start:.2f} s"
        )
        tab.size(*_WINDOW)
        start = time.perf_counter()
        tab.open(page.as_uri())
        tab.wait_for("document.documentElement.dataset.ready === 'true'")
        tab.evaluate("display.picture.timeFrame(display.theme.back)")
        print(f"opened and drawn in {time.perf_counter() - start:.2f} s")
        for view in ("3d", "xy", "rz"):
            still, moving = _frame(tab, view, False), _frame(tab, view, True)
            times = f"{still:.0f} ms a frame, {moving:.0f} ms while it moves"
            print(f"{view}: {times}, medians of {_FRAMES}")


def _open(path: Path) -> tuple[Any, Any]:
    for name in tracker_names():
        try:
            return find_tracker(name), find_tracker(name).open_events(path)
        except TrackserveError:
            continue
    raise SystemExit(f"no tracker reads {path}")


def _frame(tab: Page, view: str, moving: bool) -> float:
    """Median time of a frame, all tracks and hits shown, ms."""
    tab.evaluate(f"display.state.cuts.pt = 0; display.setView('{view}')")
    tab.evaluate(f"display.picture.setMoving({str(moving).lower()})")
    draw = "display.picture.timeFrame(display.theme.back)"
    return median(tab.evaluate(draw) for _ in range(_FRAMES))


if __name__ == "__main__":
    main()
