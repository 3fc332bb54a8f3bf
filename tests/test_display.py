"""Events in the browser: what a page holds, where its lines run, what a click does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from gzip import decompress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import extract
from browser import browser
from command_line import command, says
from hypothesis import given
from hypothesis import strategies as st

from trackserve.detectors.generic import BARREL_LAYERS, DISKS
from trackserve.display import Scene, make_scene, page, write_page
from trackserve.display.helix import SAGITTA, Helices, trace, trace_through
from trackserve.display.phoenix import phoenix_event, write_phoenix
from trackserve.display.scene import DUPLICATE, FAKE, FOUND, MISSED, SEEN, Lines, SceneEvent
from trackserve.edm.columns import Array, Ragged
from trackserve.errors import InputError
from trackserve.io import open_points
from trackserve.physics.pixel.metrics import match_pixel_events, summarize_pixel
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.registry import find_tracker

TRACKML = Path(__file__).parent / "data" / "trackml-mini"
PROGRAM = files("trackserve.display") / "web"


@pytest.fixture(scope="module")
def scene(sample_directory: Path, sample_results: list[PatatrackResult]) -> Scene:
    """The first two events of the sample."""
    tracker = find_tracker("patatrack")
    return make_scene(tracker, tracker.open_events(sample_directory), range(2), sample_results[:2])


def distances(lines: Lines, hits: Ragged, position: Array) -> Array:
    """The largest distance of a hit from the line of its row, mm."""
    found = []
    for row, own in enumerate(hits):
        points = lines.points[lines.offsets[row] : lines.offsets[row + 1]].astype(float)
        start, step = points[:-1], np.diff(points, axis=0)
        hit = position[own].astype(float)[:, None]
        length = np.maximum((step**2).sum(axis=1), 1e-12)
        share = np.clip(((hit - start) * step).sum(axis=2) / length, 0, 1)
        away = np.linalg.norm(start + share[..., None] * step - hit, axis=2)
        found.append(away.min(axis=1).max(initial=0))
    return np.array(found)


HELICES = st.tuples(
    st.floats(-np.pi, np.pi),
    st.sampled_from([-1, 1]),
    st.floats(80, 1e6),
    st.floats(-10, 10),
    st.floats(0.1, 4.5),
)


@given(HELICES)
def test_a_helix_comes_back_to_the_path_of_its_own_points(
    drawn: tuple[float, int, float, float, float],
) -> None:
    phi, charge, radius, cot_theta, turn = drawn
    helix = Helices(*(np.array([one]) for one in ([3.0, -2, 5], phi, charge / radius, cot_theta)))
    path = np.array([turn * min(radius, 500)])
    point = helix.at(path)
    assert helix.path_to(point) == pytest.approx(path, rel=1e-6)
    centre = [3 + charge * radius * np.sin(phi), -2 - charge * radius * np.cos(phi)]
    assert np.hypot(*(point[0, :2] - centre)) == pytest.approx(radius, rel=1e-9)
    assert point[0, 2] == pytest.approx(5 + path[0] * cot_theta)


@given(HELICES)
def test_a_line_leaves_its_helix_nowhere(drawn: tuple[float, int, float, float, float]) -> None:
    phi, charge, radius, cot_theta, turn = drawn
    helix = Helices(*(np.array([one]) for one in ([0.0, 0, 0], phi, charge / radius, cot_theta)))
    path = np.array([min(turn * radius, 300)])
    hits = Ragged.of([np.array([0])], np.int32)
    line = trace(helix, hits, helix.at(path))
    ends = line.points[:, :2].astype(float)
    centre = [charge * radius * np.sin(phi), -charge * radius * np.cos(phi)]
    middle = np.hypot(*((ends[1:] + ends[:-1]) / 2 - centre).T)
    assert np.abs(middle - radius).max() < SAGITTA + 1e-6 * radius
    assert line.points[-1] == pytest.approx(helix.at(path)[0], abs=1e-2)


def test_a_line_through_hits_passes_scattered_ones_and_not_one_of_another_turn() -> None:
    helix = Helices(np.zeros((1, 3)), np.zeros(1), np.array([1e-3]), np.ones(1))
    hits = np.array([[30.0, 0.5, 30], [70, -2, 71], [110, -9, 112], [0, -300, 900]])
    line = trace_through(helix, Ragged.of([np.arange(4)], np.int32), hits)
    to_each = np.linalg.norm(line.points[:, None] - hits, axis=2).min(axis=0)
    assert to_each[:3].max() < 1e-3
    assert to_each[3] > 100


def test_tracks_and_particles_run_through_their_hits(scene: Scene) -> None:
    for event in scene.events:
        tracks = distances(event.paths, event.tracks.hits, event.hits.position)
        assert np.median(tracks) < 0.3
        assert np.quantile(tracks, 0.99) < 3  # soft tracks at small angles scatter
        assert np.median(tracks[event.tracks.pt > 2]) < 0.25
        assert event.particles is not None
        assert event.particle_paths is not None
        particles = distances(event.particle_paths, event.particles.hits, event.hits.position)
        assert np.quantile(particles, 0.95) < 0.3


def test_a_wrong_beam_spot_moves_tracks_away_from_hits(scene: Scene) -> None:
    event = scene.events[0]
    moved = Lines(event.paths.offsets, event.paths.points + np.float32(1))
    away = distances(moved, event.tracks.hits, event.hits.position)
    assert np.median(away) > 0.5


def test_states_are_those_of_the_validation(
    scene: Scene, sample_directory: Path, sample_results: list[PatatrackResult]
) -> None:
    truth = find_tracker("patatrack").open_events(sample_directory).truth()
    summary = summarize_pixel(match_pixel_events(truth, sample_results[:2]))
    states = np.concatenate([event.tracks.match for event in scene.events])
    n = summary.tracks
    assert [(states == one).sum() for one in (FOUND, DUPLICATE, FAKE)] == [
        n - summary.fake_rate.passed - summary.duplicate_rate.passed,
        summary.duplicate_rate.passed,
        summary.fake_rate.passed,
    ]


def test_each_track_names_its_particle_and_each_vertex_its_tracks(scene: Scene) -> None:
    event = scene.events[0]
    assert event.particles is not None
    matched = event.tracks.particle >= 0
    assert (event.particles.match[event.tracks.particle[matched]] == SEEN).all()
    assert (matched == (event.tracks.match != FAKE)).all()
    for track, own in enumerate(event.tracks.hits):
        if matched[track]:
            theirs = event.particles.hits[int(event.tracks.particle[track])]
            assert np.isin(own, theirs).mean() >= 0.75
    assert event.vertices.n_tracks.sum() == (event.tracks.vertex >= 0).sum()


def test_a_page_holds_the_numbers_of_the_scene(scene: Scene, tmp_path: Path) -> None:
    text = write_page(tmp_path / "new" / "event.html", scene).read_text()
    told = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    packed = re.search(r'id="numbers">(.*?)</script>', text, re.S)[1]  # type: ignore[index]
    block = decompress(b64decode(packed))

    def numbers(place: dict[str, Any]) -> Array:
        return np.frombuffer(block, place["type"], place["n"], place["at"])

    event, shown = scene.events[1], told["events"][1]
    assert told["title"] == "patatrack on patatrack-sample"
    assert (numbers(shown["tracks"]["pt"]) == event.tracks.pt).all()
    position = shown["hits"]["position"]
    written = numbers(position) * position["step"]
    assert np.abs(written - event.hits.position.reshape(-1)).max() <= position["step"] / 2 + 1e-4
    assert position["step"] < 0.02
    assert all(place["at"] % 8 == 0 for place in (position, shown["tracks"]["pt"]))


def test_a_page_is_small(scene: Scene) -> None:
    program = len((PROGRAM / "bundle.js").read_bytes())
    assert len(page.page_of(scene)) < program + 600_000


def test_text_of_users_stays_text(scene: Scene) -> None:
    named = replace(scene, title="</script><b>&{{program}}")
    text = page.page_of(named)
    assert "<b>&" not in text
    assert text.count("</script>") == page.page_of(scene).count("</script>")
    assert "{{program}}" in text


def test_a_page_lets_a_browser_fetch_nothing(scene: Scene) -> None:
    text = page.page_of(scene)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]  # type: ignore[index]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    head = text[: text.index("<script")]
    assert not re.search(r'(src|href)="', head)


def test_doublets_are_layers_that_the_cleaning_thins(scene: Scene) -> None:
    edges = scene.events[0].edges
    assert 0 < len(edges["fishbone"]) < len(edges["doublets"]) <= 10_000
    hits = scene.events[0].hits
    inner, outer = hits.position[edges["doublets"]].transpose(1, 0, 2)
    across = np.hypot(outer[:, 0], outer[:, 1]) > np.hypot(inner[:, 0], inner[:, 1])
    assert (across | (np.abs(outer[:, 2]) > np.abs(inner[:, 2]))).all()


def test_no_event_is_an_error(sample_directory: Path) -> None:
    tracker = find_tracker("patatrack")
    with pytest.raises(InputError, match="no event to show"):
        make_scene(tracker, tracker.open_events(sample_directory), [], [])


def test_a_result_without_hits_is_an_error_that_names_them(
    sample_directory: Path, sample_results: list[PatatrackResult]
) -> None:
    tracker = find_tracker("patatrack")
    bare = replace(sample_results[0], hits=None)
    with pytest.raises(InputError, match=r"lacks what is to be shown .*hits"):
        make_scene(tracker, tracker.open_events(sample_directory), [0], [bare])


def points_scene(event: Any) -> SceneEvent:
    """The event with perfect candidates: the points of each particle, one of them in two pieces."""
    from trackserve.display.points import points_event
    from trackserve.edm import Edges, TrackCandidates

    particle = event.truth.points.particle
    sizes = np.bincount(particle[particle >= 0])
    best = np.argsort(-sizes)[:30]
    lists = [np.flatnonzero(particle == one).astype(np.int32) for one in best]
    lists.append(lists[0][-4:])
    lists[0] = lists[0][:-4]
    noise = np.flatnonzero(particle < 0)[:6].astype(np.int32)
    lists.append(noise)
    candidates = TrackCandidates(
        Ragged.of(lists, np.int32), np.linspace(0, 1, len(lists)).astype(np.float32)
    )
    n = len(particle)
    source = np.arange(n - 1, dtype=np.int32)
    edges = Edges(source, source + 1, np.ones(n - 1, np.float32))

    class Result:
        radius_edges = edges
        track_edges = edges.take(slice(0, 10))

    result: Any = Result()
    result.candidates = candidates
    return points_event(event, result)


def test_candidates_have_lines_through_their_points_and_states() -> None:
    event = points_scene(open_points(TRACKML)[0])
    assert distances(event.paths, event.tracks.hits, event.hits.position).max() < 1e-3
    assert event.tracks.match.tolist().count(FOUND) == 30
    assert event.tracks.match[30] == DUPLICATE
    assert event.tracks.match[31] == FAKE
    assert event.particles is not None
    assert event.particles.match.tolist().count(SEEN) == 30
    assert event.particles.match.tolist().count(MISSED) > 10
    assert list(event.edges) == ["radius", "gnn"]


@given(HELICES)
def test_a_fitted_candidate_has_the_line_and_the_numbers_of_its_helix(
    drawn: tuple[float, int, float, float, float],
) -> None:
    from trackserve.display.points import points_event
    from trackserve.edm import Helices as Fitted
    from trackserve.edm import PointsEvent, SpacePoints, TrackCandidates

    phi, charge, radius, cot_theta, turn = drawn
    d0, z0 = 3.0, -20.0
    start = np.array([[-d0 * np.sin(phi), d0 * np.cos(phi), z0]])  # as ACTS has it
    one = Helices(start, np.array([phi]), np.array([charge / radius]), np.array([cot_theta]))
    paths = np.linspace(0.1, 1, 6) * min(turn * radius, 1000)
    points = np.concatenate([one.at(np.array([path])) for path in paths]).astype(np.float32)
    pt = radius * 0.299792458e-3 * 2  # GeV, at 2 T

    class Result:
        candidates = TrackCandidates(Ragged.of([np.arange(6)], np.int32), np.ones(1, np.float32))
        helices = Fitted(
            pt=np.array([pt], np.float32),
            eta=np.arcsinh([cot_theta]).astype(np.float32),
            phi=np.array([phi], np.float32),
            d0=np.array([d0], np.float32),
            z0=np.array([z0], np.float32),
            charge=np.array([charge], np.int8),
            covariance=np.zeros((1, 15), np.float32),
            chi2=np.array([5], np.float32),
            ndof=np.array([7], np.int32),
            holes=np.zeros(1, np.int32),
        )

    event = points_event(PointsEvent(SpacePoints(points), 0), Result())
    near = 0.25 + 2e-6 * float(np.abs(points).max()) * (1 + abs(cot_theta))  # mm; float32
    assert distances(event.paths, event.tracks.hits, event.hits.position).max() < near
    assert event.paths.points[0] == pytest.approx(start[0], abs=1e-3)
    tracks = event.tracks
    assert (tracks.tip[0], tracks.z0[0], tracks.charge[0]) == (-d0, z0, charge)
    assert (tracks.chi2[0], tracks.ndof[0]) == (5, 7)
    assert phoenix_event(event, "x")["Tracks"]["x"][0]["dparams"][0] == pytest.approx(d0, abs=0.01)


def test_edges_are_those_of_a_sector_if_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trackserve.display.edges.MOST_EDGES", 100)
    event = points_scene(open_points(TRACKML)[0])
    assert 0 < len(event.edges["radius"]) <= 100
    assert re.fullmatch(r"φ from -?\d\.\d\d to -?\d\.\d\d", event.sector)


def test_points_of_trackml_lie_on_the_layers_that_are_drawn() -> None:
    truth, position = (lambda e: (e.truth, e.points.position))(open_points(TRACKML)[0])
    assert truth is not None
    r, z = np.hypot(position[:, 0], position[:, 1]), position[:, 2]
    known = np.zeros(len(r), bool)
    for one in BARREL_LAYERS:
        mine = (truth.points.volume == one.volume) & (truth.points.layer == one.layer)
        assert np.abs(r[mine] - one.radius).max() < 8
        assert np.abs(z[mine]).max() <= one.half_length + 1
        known |= mine
    for disk in DISKS:
        mine = (truth.points.volume == disk.volume) & (truth.points.layer == disk.layer)
        assert np.abs(z[mine] - disk.z).max(initial=0) < 8
        assert r[mine].min(initial=disk.inner) >= disk.inner - 5
        assert r[mine].max(initial=disk.outer) <= disk.outer + 5
        known |= mine
    assert known.all()


def test_phoenix_gets_lines_in_mm_and_momenta_in_mev(scene: Scene) -> None:
    event = scene.events[0]
    told = phoenix_event(event, "patatrack")
    assert set(told) == {"event number", "run number", "Tracks", "Hits", "Vertices"}
    tracks = told["Tracks"]["patatrack"]
    assert len(tracks) == len(event.tracks)
    assert min(len(one["pos"]) for one in tracks) >= 3
    for row in (0, 7):
        d0, z0, phi, theta, q_over_p = tracks[row]["dparams"]
        start = np.array(tracks[row]["pos"][0])
        nearest = np.array([-d0 * np.sin(phi), d0 * np.cos(phi), z0])
        assert np.linalg.norm(np.cross(start - nearest, direction(phi, theta))) < 0.02
        assert 1 / abs(q_over_p) == pytest.approx(
            1e3 * event.tracks.pt[row] / np.sin(theta), rel=1e-4
        )
        assert np.sign(q_over_p) == event.tracks.charge[row]
    assert np.shape(told["Hits"]["hits"]) == (len(event.hits), 3)
    assert set(told["Vertices"]["vertices"][0]) >= {"x", "y", "z"}
    json.dumps(told, allow_nan=False)


def direction(phi: float, theta: float) -> Array:
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


PHOENIX = ("phoenix-event-display@3.0.5", "three@0.170.0")
"""Packages of npm; the first one has a bundle that wants the second one's globals."""
PHOENIX_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<div id="eventDisplay" style="width: 640px; height: 480px"></div>
<script type="module">
  window.THREE = await import("./three/build/three.module.js");
  const script = document.createElement("script");
  script.src = "./phoenix-event-display/dist/bundle/phoenix.min.js";
  script.onload = () => (window.loaded = true);
  document.body.append(script);
</script>"""
PHOENIX_SHOWS = """(events => {
  const display = new EventDisplay(
    { elementId: "eventDisplay", eventDataLoader: new PhoenixLoader() });
  display.parsePhoenixEvents(events);
  const scene = display.getThreeManager().getSceneManager().getScene();
  const found = {};
  for (const kind of ["Tracks", "Hits", "Vertices"])
    for (const one of scene.getObjectByName(kind).children)
      found[one.name] = kind === "Hits"
        ? one.children[0].geometry.attributes.position.count : one.children.length;
  return found;
})"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; modules of a page come from a server, not from the disk."""

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.slow
def test_phoenix_shows_every_track_hit_and_vertex(scene: Scene, tmp_path: Path) -> None:
    """The events are loaded by HSF's own program, of npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    for package in PHOENIX:
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=tmp_path, capture_output=True, text=True
        )
        if packed.returncode:
            pytest.skip(f"npm cannot fetch {package}")
        extract(tmp_path / packed.stdout.strip(), tmp_path)
        (tmp_path / "package").rename(tmp_path / package.split("@")[0])
    (tmp_path / "index.html").write_text(PHOENIX_PAGE)
    written = json.loads(write_phoenix(tmp_path / "event.json", scene).read_text())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser() as tab:
            tab.open(f"http://127.0.0.1:{server.server_port}/index.html")
            tab.wait_for("window.loaded === true")
            shown = tab.evaluate(f"{PHOENIX_SHOWS}({json.dumps(written)})")
            assert tab.messages == []
        server.shutdown()
    event = scene.events[0]
    assert event.particles is not None
    assert shown == {
        "patatrack": len(event.tracks),
        "particles": len(event.particles),
        "hits": len(event.hits),
        "vertices": len(event.vertices),
    }


def test_the_command_finds_the_tracker_of_a_path(sample_directory: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "event.html", tmp_path / "event.json"
    arguments = ("-o", output, "--phoenix", other, "--events", "3:5")
    assert "2 events" in says("display", sample_directory, *arguments)
    assert "patatrack on patatrack-sample" in output.read_text()
    assert list(json.loads(other.read_text())) == ["event 3", "event 4"]


def test_the_command_takes_the_options_of_the_tracker(
    sample_directory: Path, tmp_path: Path
) -> None:
    arguments = ("display", sample_directory, "--events", ":1", "-o", tmp_path / "event.html")
    assert "config reference" in says(*arguments, "--config", "reference")
    assert "no such option" in says(*arguments, "--model", "large", status=1)


def test_a_path_of_no_tracker_is_one_line(tmp_path: Path) -> None:
    text = says("display", tmp_path, "-o", tmp_path / "event.html", status=1)
    assert "no tracker reads these events" in text


READY = "document.documentElement.dataset.ready === 'true'"
COUNT = "display.rows.tracks.length"


@pytest.fixture(scope="module")
def tab(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page in a browser."""
    written = write_page(tmp_path_factory.mktemp("page") / "event.html", scene)
    with browser() as found:
        found.size(1000, 700)
        found.prefer("light")
        found.open(written.as_uri())
        found.wait_for(READY)
        yield found


def click(tab: Any, key: str) -> None:
    tab.evaluate(f"document.querySelector('[data-key=\"{key}\"]').click()")


@pytest.mark.slow
def test_the_page_toggles_cuts_and_selects_in_a_browser(tab: Any, scene: Scene) -> None:
    event = scene.events[0]
    assert [url for url in tab.requests if url.startswith("http")] == []
    assert tab.messages == []
    tab.evaluate("Object.assign(display.state.cuts, {pt: 0}); display.update()")
    states = event.tracks.match
    assert tab.evaluate(COUNT) == len(states)
    click(tab, "found")
    assert tab.evaluate(COUNT) == (states != FOUND).sum()
    click(tab, "found")
    move = (
        "(() => {{ const one = document.querySelector('[type=range][data-key={}]'); "
        "one.value = {}; "
        "one.dispatchEvent(new Event('input')); return Number.parseFloat("
        "one.nextElementSibling.textContent.replace(/[^0-9.]/g, '')); }})()"
    )
    cut = np.float32(tab.evaluate(move.format("pt", 10)))
    assert tab.evaluate(COUNT) == (event.tracks.pt >= cut).sum() < len(states)
    least = tab.evaluate(move.format("hits", 2))
    chosen = (event.tracks.pt >= cut) & (event.tracks.hits.counts >= least)
    assert tab.evaluate(COUNT) == chosen.sum()
    tab.evaluate("document.querySelector('[data-key=vertex]').value = '0'")
    tab.evaluate("document.querySelector('[data-key=vertex]').dispatchEvent(new Event('change'))")
    assert tab.evaluate(COUNT) == (chosen & (event.tracks.vertex == 0)).sum()
    tab.evaluate("document.querySelector('[data-key=event]').value = 1")
    tab.evaluate("document.querySelector('[data-key=event]').dispatchEvent(new Event('input'))")
    assert "Event 1" in tab.evaluate("document.getElementById('tells').textContent")


@pytest.mark.slow
@pytest.mark.parametrize("view", ["3d", "xy", "rz"])
def test_a_click_on_a_track_shows_its_numbers_and_hits(tab: Any, scene: Scene, view: str) -> None:
    tab.evaluate(
        "display.setEvent(0); Object.assign(display.state.cuts, {pt: 2, hits: 4}); "
        f"display.setView('{view}'); display.home()"
    )
    row = tab.evaluate("display.rows.tracks[1]")
    end = f"display.kinds.tracks.paths.offsets[{row} + 1] - 1"
    point = f"display.kinds.tracks.paths.points.subarray(3 * ({end}), 3 * ({end}) + 3)"
    x, y = tab.evaluate(
        "[...display.picture.onCanvas((view => { const [x, y, z] = " + point + ";"
        "return view === 'rz' ? [z, Math.sign(y) * Math.hypot(x, y), 0] : [x, y, z]; })"
        f"('{view}'))]"
    )
    left, top = tab.evaluate(
        "(({left, top}) => [left, top])(document.getElementById('picture').getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.ask(
            "Input.dispatchMouseEvent",
            type=kind, x=left + x, y=top + y, button="left", clickCount=1,
        )  # fmt: skip
    assert tab.evaluate("display.state.chosen?.kind") == "tracks"
    chosen = tab.evaluate("display.state.chosen.row")
    text = tab.evaluate("document.getElementById('chosen').textContent")
    assert f"Track {chosen}" in text
    assert (
        tab.evaluate("document.querySelectorAll('.hits tbody tr').length")
        == (scene.events[0].tracks.hits.counts[chosen])
    )
    for kind in ("keyDown", "keyUp"):
        tab.ask("Input.dispatchKeyEvent", type=kind, key="Escape")
    assert tab.evaluate("document.getElementById('chosen').hidden")


@pytest.mark.slow
def test_the_picture_has_the_colours_of_the_scheme_and_fits_a_narrow_window(tab: Any) -> None:
    def corner() -> list[int]:
        tab.evaluate("new Promise(done => setTimeout(done, 200))")
        return list(
            tab.evaluate(
                "(() => { const gl = display.picture.renderer.getContext(); "
                "const seen = new Uint8Array(4); display.picture.timeFrame(display.theme.back); "
                "gl.readPixels(1, 1, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, seen); return [...seen]; })()"
            )
        )

    assert min(corner()[:3]) > 240
    tab.prefer("dark")
    assert max(corner()[:3]) < 60
    tab.size(400, 700)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    assert tab.evaluate("getComputedStyle(document.getElementById('panel')).display") == "none"
    tab.evaluate("document.getElementById('menu').click()")
    assert tab.evaluate("getComputedStyle(document.getElementById('panel')).display") == "block"
    tab.size(1000, 700)


@pytest.mark.slow
def test_the_program_is_what_its_sources_make(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on PATH")
    folder = tmp_path / "web"
    ignored = shutil.ignore_patterns("node_modules", "bundle.js")
    shutil.copytree(Path(str(PROGRAM)), folder, ignore=ignored)
    install = [npm, "ci", "--no-audit", "--no-fund"]
    if subprocess.run(install, cwd=folder, capture_output=True).returncode:
        pytest.skip("npm cannot install here")
    subprocess.run([npm, "run", "build"], cwd=folder, check=True, capture_output=True)
    assert (folder / "bundle.js").read_bytes() == (PROGRAM / "bundle.js").read_bytes()


@pytest.mark.slow
def test_the_command_takes_a_picture(sample_directory: Path, tmp_path: Path) -> None:
    with browser():
        pass
    output, picture = tmp_path / "event.html", tmp_path / "event.png"
    command("display", sample_directory, "-o", output, "--png", picture, "--events", ":1", "--dark")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size > 20_000
