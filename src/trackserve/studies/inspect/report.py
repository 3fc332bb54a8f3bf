"""The contents of a data directory as tables and as a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.detectors.phase1.geometry import SENSOR_LENGTH, SENSOR_WIDTH
from trackserve.detectors.phase1.layout import LAYER_START
from trackserve.edm.columns import Array
from trackserve.errors import parse_json
from trackserve.physics.pixel.matching import HIT_WINDOW
from trackserve.physics.pixel.truth import MIN_LAYERS, layers_crossed
from trackserve.physics.statistics import COVERAGE, Width, with_error
from trackserve.report.drawing import to_png
from trackserve.report.page import (
    Picture,
    Section,
    Table,
    write_report,
)

from . import figures
from .survey import (
    LAYER_NAMES,
    PIXELS_PER_MODULE,
    TRACK_PT,
    Survey,
    is_barrel,
    most_probable,
)


def contents_tables(directory: str | Path, survey: Survey) -> dict[str, Table]:
    """Return tables of what ``survey`` found in ``directory``, by title.

    Truth and hit quality have a table if there is truth. Provenance has one if there is a
    ``simulation.json``.

    Raises:
        InputError: ``simulation.json`` is no JSON object.
    """
    directory = Path(directory)
    tables = {"Files": _files(directory)}
    provenance = directory / "simulation.json"
    if provenance.exists():
        rows = _flatten(parse_json(provenance.read_bytes(), dict, file=str(provenance)))
        tables["Provenance"] = Table(("simulation.json", ""), list(rows))
    tables |= {"Events": _events(survey), "Layers": _layers(survey)}
    if survey.truth:
        tables |= {"Truth": _truth(survey), "Hit quality": _quality(survey)}
    return tables


def write_inspection_report(output: str | Path, directory: str | Path, survey: Survey) -> Path:
    """Write ``report.html`` and its figures to the directory ``output``.

    Returns:
        The path of ``report.html``.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: the folder cannot be written, or has a report of something else.
    """
    tables = contents_tables(directory, survey)
    n = len(survey.events) + len(survey.failed)
    about = {"data set": f"{Path(directory).resolve()}, {n} events"}
    sections = list(_sections(survey, tables))
    return write_report(output, report_title(directory), sections, about=about)


def report_title(directory: str | Path) -> str:
    """Title of the report about ``directory``."""
    return f"Contents of {Path(directory).resolve().name}"


def _sections(survey: Survey, tables: dict[str, Table]) -> Iterator[Section]:
    def figure(name: str, drawn: Any, caption: str) -> Picture:
        return Picture(name, to_png(drawn), caption)

    clusters = survey.clusters
    for name in ("Files", "Provenance"):
        if name in tables:
            yield Section(name, tables=[tables[name]])
    yield Section(
        "Events",
        tables=[tables["Events"]],
        pictures=[
            figure(
                "sizes",
                figures.size_figure(survey),
                "Size of the raw events (left) and hits per event (right); the line is the mean.",
            )
        ],
    )
    yield Section(
        "Layers",
        "Occupancy is the share of a layer's pixels that fire in an event. Charges are those "
        "at normal incidence: divided by the length of the path in the sensor, in units of its "
        "thickness.",
        [tables["Layers"]],
        [
            figure(
                "occupancy",
                figures.occupancy_figure(survey),
                "Occupancy of the layers (left) and along the barrel (right).",
            ),
            figure(
                "charge",
                figures.charge_figure(clusters),
                "Charge of clusters that do not touch the edge of their module, at normal "
                "incidence, in the barrel (left) and on the disks (right), with the most "
                "probable value.",
            ),
            figure(
                "shape",
                figures.shape_figure(survey),
                "Mean number of rows (left) and columns (right) of clusters that do not touch "
                "the edge of their module, against the angle of incidence.",
            ),
        ],
    )
    if survey.truth:
        yield Section("Truth", tables=[tables["Truth"]])
        yield Section(
            "Hit quality",
            "Each hit is compared with the true hit nearest to it on the same module, within "
            f"{10 * HIT_WINDOW:g} mm; hits of no particle are left out. Widths are half the "
            f"interval that holds the central {COVERAGE}.",
            [tables["Hit quality"]],
            [
                figure(
                    "hit-quality",
                    figures.quality_figure(clusters),
                    "Position relative to the true one (top), and the same over the error that "
                    f"is stated (bottom; the grey line is a Gaussian of width 1), with {COVERAGE} "
                    f"half-widths, for the hits of the table of particles of pT > {TRACK_PT} GeV.",
                )
            ],
        )


def _files(directory: Path) -> Table:
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    return Table(("file", "bytes"), [[path.name, f"{path.stat().st_size:,}"] for path in paths])


def _flatten(value: Any, name: str = "") -> Iterator[list[str]]:
    """Rows of (dotted name, value) of a JSON document."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flatten(part, f"{name}.{key}" if name else key)
    else:
        yield [name, str(value)]


def _events(survey: Survey) -> Table:
    events = survey.events
    rows = [["events", str(len(events)), "", ""]]
    if survey.failed:
        rows.append(["events that cannot be unpacked", str(len(survey.failed)), "", ""])
    for name, values in (
        ("raw event [kB]", events.size / 1000),
        ("pixel words", events.words),
        ("modules hit", events.modules),
        ("digis", events.digis),
        ("hits", events.hits),
        ("readout errors", events.readout_errors),
    ):
        if len(values):
            rows.append([name, *(f"{v:,.1f}" for v in (values.mean(), values.min(), values.max()))])
    return Table(("per event", "mean", "smallest", "largest"), rows)


def _layers(survey: Survey) -> Table:
    n_events = max(len(survey.events), 1)
    rows = []
    clusters = survey.clusters
    for layer, name in enumerate(LAYER_NAMES):
        modules = slice(LAYER_START[layer], LAYER_START[layer + 1])
        n_modules = LAYER_START[layer + 1] - LAYER_START[layer]
        digis = survey.module_digis[modules].sum() / n_events
        here = clusters.take(clusters.layer == layer)
        rows.append(
            [
                name,
                f"{digis:,.0f}",
                f"{1e3 * digis / (n_modules * PIXELS_PER_MODULE):.3f}",
                f"{digis / (n_modules * SENSOR_WIDTH * SENSOR_LENGTH):.2f}",
                f"{len(here) / n_events:,.0f}",
                *(_mean(values) for values in (here.pixels, here.rows, here.cols)),
                f"{most_probable(here.charge[~here.edge]) / 1000:.1f}",
            ]
        )
    header = (
        *("layer", "digis", "fired [‰]", "/cm²", "hits"),
        *("pixels", "rows", "cols", "Q [ke]"),
    )
    return Table(
        header,
        rows,
        "Per event: digis, the share of pixels that fire, digis per area, hits. Means of pixels, "
        "rows and columns per cluster; most probable charge at normal incidence.",
    )


def _mean(values: Array) -> str:
    return f"{values.mean():.2f}" if len(values) else "-"


def _truth(survey: Survey) -> Table:
    truth = survey.truth
    crossed = [layers_crossed(event) for event in truth]
    matched = survey.clusters.true
    numbers = {
        "collisions": [len(event.collisions) for event in truth],
        "charged particles": [len(event.particles) for event in truth],
        "primary ones": [int(event.particles.primary.sum()) for event in truth],
        f"those that cross at least {MIN_LAYERS} layers": [
            int((n >= MIN_LAYERS).sum()) for n in crossed
        ],
        "true hits": [len(event.hits) for event in truth],
        "true hits of no particle": [int((event.hits.particle < 0).sum()) for event in truth],
    }
    rows = [
        [name, *(f"{v:,.1f}" for v in (np.mean(values), min(values), max(values)))]
        for name, values in numbers.items()
    ]
    share = f"{matched.mean():.3f}" if len(matched) else "-"
    rows.append(["share of hits that stem from a particle", share, "", ""])
    return Table(("per event", "mean", "smallest", "largest"), rows)


def _quality(survey: Survey) -> Table:
    """Widths of residuals and pulls, by region and cluster length."""
    clusters = survey.clusters.take(survey.clusters.true & ~survey.clusters.edge)
    barrel = is_barrel(clusters)
    rows = []
    for region, in_region in (("barrel", barrel), ("disks", ~barrel)):
        for axis, length, what in (("x", clusters.rows, "row"), ("y", clusters.cols, "column")):
            fast = in_region & (clusters.pt > TRACK_PT)
            for kind, chosen in (
                ("all", in_region),
                (f"pT > {TRACK_PT} GeV", fast),
                (f"these, 1 {what}", fast & (length == 1)),
                (f"these, 2 {what}s", fast & (length == 2)),
                (f"these, 3 or more {what}s", fast & (length > 2)),
            ):
                residual = getattr(clusters, f"{axis}_residual")[chosen]
                width, pull = (
                    Width.of(values)
                    for values in (1e4 * residual, getattr(clusters, f"{axis}_pull")[chosen])
                )
                bias = f"{1e4 * np.median(residual):.2f}" if len(residual) else "-"
                rows.append(
                    [
                        f"{region} {axis}, {kind}",
                        str(width.count),
                        bias,
                        with_error(width.value, width.error),
                        with_error(pull.value, pull.error),
                    ]
                )
    return Table(
        ("hits", "number", "median [µm]", "width [µm]", "pull width"),
        rows,
        "Hit - true position in the module's frame; clusters at the edge of a module are left out.",
    )
