"""The pictures of the event display in the documentation, ``docs/img/display-*.png``:

    trackserve simulate pixel --pileup 50 --events 3 --seed 1 -o ttbar-pu50
    trackserve simulate points --pileup 20 --events 2 --seed 1 -o points-pu20
    python docs/site/pictures.py ttbar-pu50 points-pu20

Needs a Chromium on PATH.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.display import Scene, make_scene, write_page
from trackserve.display.png import write_png
from trackserve.display.scene import FAKE, MISSED, SceneParticles, SceneTracks
from trackserve.display.scenes import kept_for
from trackserve.trackers.registry import find_tracker

FOLDER = Path(__file__).parents[1] / "img"
SIZE = (1100, 660)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pixel", type=Path, help="pixel events")
    parser.add_argument("points", type=Path, help="events of space points")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene, page = shown("patatrack", arguments.pixel, Path(folder))
        event = scene.events[0]
        fake, missed = hardest(event.tracks, FAKE), hardest(event.particles, MISSED)
        take("rz", page, "rz", "pt=0.9&colour=vertex&hide=missed,hits")
        take("fake", page, "xy", f"pt=0.5&hide=found,missed,hits&track={fake}")
        take("missed", page, "xy", f"pt=0.5&hide=found,fake,hits&particle={missed}")
        scene, page = shown("exatrkx", arguments.points, Path(folder))
        track = int(np.argmax(scene.events[0].tracks.pt))
        take("points", page, "xy", f"pt=1&colour=pt&hide=missed,hits,used&track={track}")
        edges = "edges+filter,edges+gnn"
        take("edges", page, "xy", f"hide=found,duplicate,missed&show={edges}", dark=True)


def shown(name: str, path: Path, folder: Path) -> tuple[Scene, Path]:
    """The first events at ``path`` as a tracker sees them, and their page."""
    tracker = find_tracker(name)
    events: Any = tracker.open_events(path)
    pipeline = tracker.build({}, events=events)
    outcomes = pipeline.run(list(events), kept_for(tracker))
    scene = make_scene(tracker, events, range(len(events)), outcomes)
    return scene, write_page(folder / f"{name}.html", scene)


def hardest(rows: SceneTracks | SceneParticles | None, match: int) -> int:
    """The row of the largest pT among those of a match."""
    assert rows is not None
    return int(np.argmax(np.where(rows.match == match, rows.pt, 0)))


def take(name: str, page: Path, view: str, state: str, *, dark: bool = False) -> None:
    print(
        write_png(
            FOLDER / f"display-{name}.png", page, view=view, dark=dark, size=SIZE, state=state
        )
    )


if __name__ == "__main__":
    main()
