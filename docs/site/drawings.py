"""The drawings of the documentation: ``python docs/site/drawings.py`` writes ``docs/img/*.svg``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np

FOLDER = Path(__file__).parents[1] / "img"
INK, GREY, PALE, LINE = "#1f2937", "#6b7280", "#d6dae1", "#9aa3b2"
BLUE, ORANGE, GREEN, VIOLET = "#3b5bdb", "#d9480f", "#2b8a3e", "#862e9c"
TRACKS = (BLUE, ORANGE, GREEN)
SOFT = {BLUE: "#e9eefc", ORANGE: "#fdeee4", GREEN: "#e7f5ea", VIOLET: "#f5eafa", GREY: "#f3f4f6"}

Point = tuple[float, float]


class Drawing:
    """An SVG picture; lengths are in pixels, y grows downwards."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            'font-family="system-ui, sans-serif" font-size="13">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#fff"/>',
        ]

    def add(self, part: str) -> None:
        self._parts.append(part)

    def text(
        self, at: Point, words: str, color: str = INK, *, size: float = 13, **how: str
    ) -> None:
        """Words, a line for each of them that a line break ends, about a place."""
        anchor, weight = how.get("anchor", "middle"), how.get("weight", "400")
        lines = words.split("\n")
        y = at[1] - (len(lines) - 1) * size * 0.62 + size * 0.35
        for line in lines:
            self.add(
                f'<text x="{at[0]:.1f}" y="{y:.1f}" fill="{color}" font-size="{size:g}" '
                f'font-weight="{weight}" text-anchor="{anchor}">{escape(line)}</text>'
            )
            y += size * 1.24

    def box(
        self, at: Point, size: Point, words: str = "", color: str = BLUE, *, bold: bool = False
    ) -> None:
        """A box with its upper left corner there, and words in it."""
        self.add(
            f'<rect x="{at[0]:g}" y="{at[1]:g}" width="{size[0]:g}" height="{size[1]:g}" rx="6" '
            f'fill="{SOFT[color]}" stroke="{color}"/>'
        )
        if words:
            middle = (at[0] + size[0] / 2, at[1] + size[1] / 2)
            self.text(middle, words, weight="600" if bold else "400")

    def line(
        self, points: Iterable[Point], color: str = LINE, width: float = 1.5, dash: str = ""
    ) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.add(
            f'<polyline points="{path}" fill="none" stroke="{color}" '
            f'stroke-width="{width:g}"{dashed}/>'
        )

    def arrow(self, start: Point, end: Point, color: str = GREY, *, both: bool = False) -> None:
        self.line([start, end], color)
        for tip, other in ((end, start), (start, end))[: 2 if both else 1]:
            angle = math.atan2(tip[1] - other[1], tip[0] - other[0])
            wings = [
                (tip[0] - 9 * math.cos(angle + turn), tip[1] - 9 * math.sin(angle + turn))
                for turn in (-0.42, 0.42)
            ]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip, *wings))
            self.add(f'<polygon points="{path}" fill="{color}"/>')

    def dot(self, at: Point, color: str = INK, radius: float = 3.2, fill: str = "") -> None:
        self.add(
            f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}" '
            f'fill="{fill or color}" stroke="{color}"/>'
        )

    def write(self, name: str) -> None:
        (FOLDER / f"{name}.svg").write_text("\n".join([*self._parts, "</svg>"]) + "\n")


class Wedge(NamedTuple):
    """A part of a detector across the beam, and what it has seen.

    Attributes:
        radii: of the layers, pixels.
        hits: places of hits about the beam, pixels, y upwards.
        layer: layer of each hit.
        track: particle of each hit; -1 for none.
        paths: way of each particle.
    """

    radii: Sequence[float]
    hits: list[Point]
    layer: list[int]
    track: list[int]
    paths: list[list[Point]]

    def edges(self, largest: float) -> list[tuple[int, int]]:
        """Pairs of hits on neighbouring layers that are nearer in azimuth than that, rad."""
        phi = [math.atan2(y, x) for x, y in self.hits]
        every = range(len(self.hits))
        return [
            (i, j)
            for i in every
            for j in every
            if self.layer[j] == self.layer[i] + 1 and abs(phi[i] - phi[j]) < largest
        ]

    def is_true(self, edge: tuple[int, int]) -> bool:
        first, second = (self.track[one] for one in edge)
        return first == second >= 0


def wedge() -> Wedge:
    """Three particles and a few hits of none."""
    radii = (44.0, 78.0, 112.0, 146.0)
    rng = np.random.default_rng(5)
    hits: list[Point] = []
    layer: list[int] = []
    track: list[int] = []
    paths = []
    for number, (phi, bend) in enumerate(((2.05, 0.0024), (1.5, -0.0018), (1.12, 0.0012))):
        way = np.linspace(0, 160, 60)
        angle = phi + bend * way
        x, y = np.cumsum(np.cos(angle)) * way[1], np.cumsum(np.sin(angle)) * way[1]
        paths.append(list(zip(x, y, strict=True)))
        for place, radius in enumerate(radii):
            at = int(np.argmin(np.abs(np.hypot(x, y) - radius)))
            hits.append((x[at], y[at]))
            layer.append(place)
            track.append(number)
    for place, radius in enumerate(radii):
        for phi in rng.uniform(0.75, 2.4, 1 + place % 2):
            hits.append((radius * math.cos(phi), radius * math.sin(phi)))
            layer.append(place)
            track.append(-1)
    return Wedge(radii, hits, layer, track, paths)


Panel = tuple[str, str, Callable[[Drawing, Point], None]]


def panels(title: str, name: str, parts: Sequence[Panel]) -> None:
    """Six panels in two rows, each with a head, a drawing and a sentence."""
    width, height = 250.0, 258.0
    drawing = Drawing(3 * width + 20, 2 * height + 14, title)
    for number, (head, sentence, draw) in enumerate(parts):
        x, y = 10 + (number % 3) * width, 8 + (number // 3) * height
        drawing.text((x + width / 2, y + 18), f"{number + 1}  {head}", weight="600", size=15)
        draw(drawing, (x + width / 2, y + 195))
        drawing.text((x + width / 2, y + 226), sentence, GREY, size=12)
    drawing.write(name)


def layers(drawing: Drawing, at: Point, seen: Wedge) -> None:
    """The layers of a wedge and the beam."""
    for radius in seen.radii:
        phi = np.linspace(0.62, 2.52, 40)
        arc = [(at[0] + radius * math.cos(p), at[1] - radius * math.sin(p)) for p in phi]
        drawing.line(arc, PALE, 4)
    drawing.dot(at, GREY, 2.5)


def place(at: Point, point: Point) -> Point:
    return at[0] + point[0], at[1] - point[1]


def patatrack() -> None:
    seen = wedge()
    near = seen.edges(0.16)

    def pixels(drawing: Drawing, at: Point) -> None:
        charge = {(3, 2): 3, (4, 2): 6, (4, 3): 8, (5, 3): 4, (9, 5): 5, (9, 6): 7, (7, 0): 2}
        for col in range(13):
            for row in range(8):
                value = charge.get((col, row), 0)
                fill = f"rgba(217,72,15,{0.1 * value + 0.15:.2f})" if value else "#fff"
                drawing.add(
                    f'<rect x="{at[0] - 91 + 14 * col:g}" y="{at[1] - 130 + 14 * row:g}" '
                    f'width="14" height="14" fill="{fill}" stroke="{PALE}"/>'
                )

    def hits(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for hit in seen.hits:
            drawing.dot(place(at, hit))

    def doublets(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for i, j in near:
            drawing.line([place(at, seen.hits[i]), place(at, seen.hits[j])], VIOLET, 1.2)
        for hit in seen.hits:
            drawing.dot(place(at, hit), radius=2.6)

    def ntuplets(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for i, j in near:
            if seen.is_true((i, j)):
                color = TRACKS[seen.track[i]]
                drawing.line([place(at, seen.hits[i]), place(at, seen.hits[j])], color, 2)
        for hit, track in zip(seen.hits, seen.track, strict=True):
            drawing.dot(place(at, hit), TRACKS[track] if track >= 0 else LINE)

    def fit(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for number, path in enumerate(seen.paths):
            drawing.line([place(at, one) for one in path], TRACKS[number], 2.2)
        for hit, track in zip(seen.hits, seen.track, strict=True):
            if track >= 0:
                drawing.dot(place(at, hit), TRACKS[track], 2.6)

    def vertices(drawing: Drawing, at: Point) -> None:
        drawing.arrow((at[0] - 105, at[1] - 30), (at[0] + 105, at[1] - 30), LINE)
        drawing.text((at[0] + 100, at[1] - 14), "z", GREY)
        rng = np.random.default_rng(2)
        for middle, n, color in ((-62, 5, BLUE), (4, 9, ORANGE), (66, 4, GREEN)):
            for z, slope in zip(rng.normal(middle, 2, n), rng.uniform(-0.55, 0.55, n), strict=True):
                end = (at[0] + z + 74 * slope, at[1] - 104)
                drawing.line([(at[0] + z, at[1] - 30), end], color, 1)
            drawing.dot((at[0] + middle, at[1] - 30), color, 5)

    panels(
        "Stages of Patatrack",
        "patatrack",
        (
            (
                "pixels to clusters",
                "Raw words are unpacked.\nPixels that touch are one cluster.",
                pixels,
            ),
            ("hits", "Each cluster gives a place\nand an error.", hits),
            ("doublets", "Pairs of hits on two layers,\nin a window in φ.", doublets),
            ("ntuplets", "Doublets that share a hit and lie\non a helix from the beam.", ntuplets),
            (
                "fit and selection",
                "A helix with its errors.\nOf tracks that share hits the best stays.",
                fit,
            ),
            ("vertices", "Tracks that meet on the beam line\ncome from one collision.", vertices),
        ),
    )


def exatrkx() -> None:
    seen = wedge()
    radius, filtered = seen.edges(0.5), seen.edges(0.24)
    score = {edge: 0.95 if seen.is_true(edge) else 0.15 for edge in filtered}

    def points(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for hit in seen.hits:
            drawing.dot(place(at, hit))

    def embedding(drawing: Drawing, at: Point) -> None:
        rng = np.random.default_rng(11)
        middles = ((-58.0, 96.0), (8.0, 48.0), (66.0, 112.0))
        drawing.add(
            f'<rect x="{at[0] - 108:g}" y="{at[1] - 155:g}" width="216" height="150" rx="6" '
            f'fill="none" stroke="{PALE}"/>'
        )
        for middle, color in zip(middles, TRACKS, strict=True):
            center = place(at, middle)
            drawing.add(
                f'<circle cx="{center[0]:g}" cy="{center[1]:g}" r="27" fill="{SOFT[color]}" '
                f'stroke="{color}" stroke-dasharray="4 3"/>'
            )
            for dx, dy in rng.uniform(-14, 14, (4, 2)):
                drawing.dot((center[0] + dx, center[1] + dy), color)
        for dx, dy in ((-14, 130), (48, 30), (-88, 30), (92, 62)):
            drawing.dot(place(at, (dx, dy)), LINE)

    def edges(chosen: Sequence[tuple[int, int]]) -> Callable[[Drawing, Point], None]:
        def draw(drawing: Drawing, at: Point) -> None:
            layers(drawing, at, seen)
            for i, j in chosen:
                drawing.line([place(at, seen.hits[i]), place(at, seen.hits[j])], VIOLET, 1)
            for hit in seen.hits:
                drawing.dot(place(at, hit), radius=2.6)

        return draw

    def network(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for (i, j), value in score.items():
            color = VIOLET if value > 0.5 else PALE
            ends = [place(at, seen.hits[i]), place(at, seen.hits[j])]
            drawing.line(ends, color, 2.4 if value > 0.5 else 1.2)
        for hit in seen.hits:
            drawing.dot(place(at, hit), radius=2.6)

    def candidates(drawing: Drawing, at: Point) -> None:
        layers(drawing, at, seen)
        for (i, j), value in score.items():
            if value > 0.5:
                color = TRACKS[seen.track[i]]
                drawing.line([place(at, seen.hits[i]), place(at, seen.hits[j])], color, 2.2)
        for hit, track in zip(seen.hits, seen.track, strict=True):
            drawing.dot(place(at, hit), TRACKS[track] if track >= 0 else LINE)

    panels(
        "Stages of Exa.TrkX",
        "exatrkx",
        (
            ("space points", "The places where sensors\nof the whole tracker were hit.", points),
            (
                "embedding",
                "A network moves points of one\nparticle close to each other.",
                embedding,
            ),
            ("radius graph", "Points that are near there\nare joined by edges.", edges(radius)),
            (
                "filter",
                "A network judges each edge by its\ntwo points. Most wrong edges go.",
                edges(filtered),
            ),
            (
                "graph network",
                "Edges tell their neighbours what\nthey know. Each gets a score.",
                network,
            ),
            ("candidates", "Points that good edges join\nare one track candidate.", candidates),
        ),
    )


def service() -> None:
    drawing = Drawing(780, 330, "Track reconstruction as a service")
    drawing.text((118, 24), "clients", weight="600", size=15)
    drawing.text((560, 24), "server", weight="600", size=15)
    for number in range(3):
        y = 44 + 92 * number
        drawing.box((16, y), (204, 76), "", GREY)
        drawing.text((118, y + 18), f"node {number + 1}: CPUs only", GREY, size=12)
        drawing.box((30, y + 30), (78, 36), "job", GREEN)
        drawing.box((128, y + 30), (78, 36), "client", BLUE)
        drawing.arrow((108, y + 48), (128, y + 48))
        drawing.arrow((220, y + 48), (352, 126 + 30 * number), both=True)
    drawing.text((284, 54), "raw data", GREY, size=12)
    drawing.text((284, 296), "tracks", GREY, size=12)
    drawing.box((352, 44), (412, 262), "", BLUE)
    drawing.text((558, 62), "NVIDIA Triton", weight="600")
    drawing.box((368, 110), (90, 92), "requests\nof many\nevents wait", ORANGE)
    for y, name in ((84, "Patatrack"), (164, "Exa.TrkX")):
        drawing.box((492, y), (112, 62), f"{name}\nworkers", GREEN)
        drawing.arrow((458, 156), (492, y + 31))
        drawing.arrow((604, y + 31), (640, 156), both=True)
    drawing.box((640, 110), (108, 92), "GPU,\nor cores of\na CPU", VIOLET, bold=True)
    drawing.box((368, 246), (380, 42), "model repository: conditions, networks, settings", GREY)
    for x in (548, 694):
        drawing.arrow((x, 246), (x, 226 if x < 600 else 202), LINE)
    drawing.write("service")


def three_ways() -> None:
    drawing = Drawing(780, 300, "Direct, attached and served")
    columns = (
        (16, "direct", "The job's own cores track."),
        (272, "attached", "A device in each node tracks.\nIt mostly waits."),
        (528, "served", "Many nodes share a device.\nWhile it works, the job goes on."),
    )
    for x, head, sentence in columns:
        drawing.text((x + 118, 24), head, weight="600", size=15)
        drawing.text((x + 118, 272), sentence, GREY, size=12)
    for y in (44, 146):
        drawing.box((34, y), (200, 86), "", GREY)
        drawing.text((134, y + 18), "node", GREY, size=12)
        drawing.box((48, y + 32), (172, 42), "job with tracking", GREEN)
        drawing.box((290, y), (200, 86), "", GREY)
        drawing.text((390, y + 18), "node", GREY, size=12)
        drawing.box((304, y + 32), (76, 42), "job", GREEN)
        drawing.box((400, y + 32), (76, 42), "GPU", VIOLET)
        drawing.arrow((380, y + 53), (400, y + 53), both=True)
    for number, y in enumerate((44, 112, 180)):
        drawing.box((546, y), (104, 56), "", GREY)
        drawing.box((558, y + 12), (80, 32), "job", GREEN)
        drawing.arrow((650, y + 28), (688, 120 + 20 * number), both=True)
    drawing.box((688, 96), (76, 86), "server\nwith\nGPU", VIOLET)
    drawing.write("three-ways")


def in_flight() -> None:
    drawing = Drawing(780, 292, "Events in flight while a server tracks")
    scale = 34.0

    def slot(row: float, start: float, length: float, event: int, words: str, color: str) -> None:
        drawing.box((130 + scale * start, row), (scale * length - 2, 34), words, color)
        drawing.text((138 + scale * start, row + 8), str(event), GREY, size=9)

    drawing.text((16, 22), "Tracking in the job", anchor="start", weight="600", size=14)
    drawing.text((16, 59), "thread", GREY, anchor="start")
    for event in range(3):
        slot(42, 6 * event, 2, event + 1, "track", VIOLET)
        slot(42, 6 * event + 2, 3, event + 1, "other", GREEN)
        slot(42, 6 * event + 5, 1, event + 1, "H", ORANGE)
    drawing.text(
        (16, 110),
        "Tracking on a server, two events in flight",
        anchor="start",
        weight="600",
        size=14,
    )
    drawing.text((16, 147), "thread", GREY, anchor="start")
    drawing.text((16, 211), "server", GREY, anchor="start")
    for event, (sent, taken) in enumerate(((0, 6), (3, 10), (7, 14), (11, 16))):
        slot(130, sent, 3, event + 1, "other", GREEN)
        slot(194, sent + 1.5, 2, event + 1, "track", VIOLET)
        slot(130, taken, 1, event + 1, "H", ORANGE)
        x = 130 + scale * sent
        drawing.arrow((x + 4, 164), (x + 1.5 * scale + 2, 194))
        drawing.arrow((x + 3.5 * scale - 4, 194), (x + 5 * scale - 2, 166))
    drawing.text(
        (390, 262),
        "H: modules that need the tracks. The number is the event. The job sends an event and goes on\n"
        "with others. It does four events in less time, and the server has time for other jobs.",
        GREY,
        size=12,
    )
    drawing.write("in-flight")


def one_event() -> None:
    drawing = Drawing(780, 330, "The way of one event")
    drawing.text((16, 24), "direct", anchor="start", weight="600", size=15)
    steps = (("file", GREY), ("event", BLUE), ("pipeline.run", GREEN), ("result", BLUE))
    for number, (words, color) in enumerate(steps):
        x = 16 + 200 * number
        drawing.box((x, 40), (148, 44), words, color)
        if number:
            drawing.arrow((x - 52, 62), (x, 62))
    for at, words in ((190, "io"), (390, ""), (590, "")):
        drawing.text((at, 50), words, GREY, size=11)
    drawing.text((16, 124), "served", anchor="start", weight="600", size=15)
    drawing.box((16, 140), (168, 176), "", GREY)
    drawing.text((100, 157), "client's process", GREY, size=12)
    drawing.box((30, 172), (140, 40), "event → tensors", BLUE)
    drawing.box((30, 260), (140, 40), "tensors → result", BLUE)
    drawing.box((244, 140), (150, 176), "", ORANGE)
    drawing.text((319, 157), "transport", GREY, size=12)
    drawing.text((319, 228), "gRPC,\nHTTP,\nor shared memory\nof one host")
    drawing.box((454, 140), (310, 176), "", GREY)
    drawing.text((609, 157), "Triton", GREY, size=12)
    drawing.box((468, 172), (84, 40), "queue", ORANGE)
    drawing.box((582, 172), (168, 40), "worker: the same codec", BLUE)
    drawing.box((582, 260), (168, 40), "the same pipeline.run", GREEN)
    drawing.arrow((170, 192), (244, 192))
    drawing.arrow((394, 192), (468, 192))
    drawing.arrow((552, 192), (582, 192))
    drawing.arrow((666, 212), (666, 260))
    drawing.arrow((582, 280), (394, 280))
    drawing.arrow((244, 280), (170, 280))
    drawing.write("one-event")


def truth() -> None:
    """Found, missed and fake."""
    drawing = Drawing(780, 268, "Found, missed, fake")
    radii = (46.0, 78.0, 110.0, 142.0)
    kinds = (
        ("found", "At least three quarters of the\ntrack's hits are of one particle.", GREEN),
        ("missed", "The particle crossed enough\nlayers. No track matches it.", ORANGE),
        ("fake", "The hits of the track are of\nseveral particles, or of none.", VIOLET),
    )
    for number, (head, sentence, color) in enumerate(kinds):
        at = (130.0 + 260 * number, 190.0)
        drawing.text((at[0], 22), head, weight="600", size=15)
        drawing.text((at[0], 222), sentence, GREY, size=12)
        for radius in radii:
            phi = np.linspace(0.95, 2.2, 30)
            arc = [(at[0] + radius * math.cos(p), at[1] - radius * math.sin(p)) for p in phi]
            drawing.line(arc, PALE, 4)
        drawing.dot(at, GREY, 2.5)
        truths = ((1.35, 0.0011), (1.85, -0.0009)) if head == "fake" else ((1.45, 0.0016),)
        crossings = []
        for phi0, bend in truths:
            way = np.linspace(0, 150, 60)
            angle = phi0 + bend * way
            x, y = np.cumsum(np.cos(angle)) * way[1], np.cumsum(np.sin(angle)) * way[1]
            drawing.line([place(at, one) for one in zip(x, y, strict=True)], LINE, 1.5, "5 4")
            marks = [int(np.argmin(np.abs(np.hypot(x, y) - radius))) for radius in radii]
            crossings.append([(x[mark], y[mark]) for mark in marks])
        for crossing in crossings:
            for hit in crossing:
                drawing.dot(place(at, hit), INK, 3)
        if head == "found":
            drawing.line([at, *(place(at, hit) for hit in crossings[0])], color, 2.6)
        if head == "fake":
            mixed = (crossings[0][0], crossings[1][1], crossings[0][2], crossings[1][3])
            drawing.line([at, *(place(at, hit) for hit in mixed)], color, 2.6)
    drawing.text((390, 254), "dots: hits; dashed: particle; full line: track", GREY, size=11)
    drawing.write("found-missed-fake")


def logo() -> None:
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" fill="none">',
        *(
            f'<circle cx="32" cy="32" r="{radius}" stroke="#8fa2ee" stroke-width="3"/>'
            for radius in (11, 20, 29)
        ),
        '<path d="M32 32 Q44 24 55 8" stroke="#fff" stroke-width="5"/>',
        '<path d="M32 32 Q20 40 5 42" stroke="#fff" stroke-width="5"/>',
        '<path d="M32 32 Q34 46 46 59" stroke="#ffb38a" stroke-width="5"/>',
        "</svg>",
    ]
    (FOLDER / "logo.svg").write_text("\n".join(parts) + "\n")


def main() -> None:
    for draw in (patatrack, exatrkx, service, three_ways, in_flight, one_event, truth, logo):
        draw()


if __name__ == "__main__":
    main()
