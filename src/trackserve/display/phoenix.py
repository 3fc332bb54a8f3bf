"""Events for Phoenix, the event display of the HEP Software Foundation, as its JSON.

An event has ``Tracks``, ``Hits`` and ``Vertices``, each with collections by name. Lengths are in
mm, momenta in MeV. A track has the points of its line, and ``dparams``: d0, z0, phi, theta and q/p
about the detector's centre, where known.

Source: the loader of npm's ``phoenix-event-display`` 3.0.5.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.edm.columns import Array
from trackserve.io.files import as_path, complete, made, writable

from .scene import FAKE, MISSED, Lines, Scene, SceneEvent, SceneParticles, SceneTracks

MEV_PER_GEV = 1e3
COLOURS = {"track": "1f5a8c", "fake": "d0342c", "missed": "e07b00", "particle": "3d8f5f"}
"""RGB of lines, hexadecimal."""
RADII = {"line": 0.2, "vertex": 1.0}
"""mm. Phoenix draws lines as tubes, and vertices as balls."""
_DIGITS = 4
"""Decimals of a number: 0.1 um, 0.1 keV."""


def write_phoenix(path: str | Path, scene: Scene) -> Path:
    """Write the events of ``scene`` as a file that Phoenix opens.

    Returns:
        the path.

    Raises:
        InputError: it cannot be written.
    """
    path = as_path(path)
    events = {f"event {event.event}": phoenix_event(event, scene.tracker) for event in scene.events}
    text = json.dumps(events, separators=(",", ":"), allow_nan=False)
    with writable(path), made(path.parent), complete(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def phoenix_event(event: SceneEvent, tracker: str) -> dict[str, Any]:
    """One event; the tracks are those of ``tracker``."""
    tracks = {tracker: _tracks(event.tracks, event.paths)}
    if event.particles is not None and event.particle_paths is not None:
        tracks["particles"] = _particles(event.particles, event.particle_paths)
    vertices = [
        {"x": x, "y": y, "z": z, "z_error": error, "n_tracks": n, "size": RADII["vertex"]}
        for (x, y, z), error, n in zip(
            _plain(event.vertices.position),
            _plain(event.vertices.z_error),
            event.vertices.n_tracks.tolist(),
            strict=True,
        )
    ]
    return {
        "event number": event.event,
        "run number": 0,
        "Tracks": tracks,
        "Hits": {"hits": _plain(event.hits.position)},
        "Vertices": {"vertices": vertices},
    }


def _tracks(tracks: SceneTracks, paths: Lines) -> list[dict[str, Any]]:
    found = _lines(tracks, paths)
    parameters = _parameters(tracks, paths)
    for row, one in enumerate(found):
        fake = tracks.match[row] == FAKE
        one["color"] = COLOURS["fake" if fake else "track"]
        if np.isfinite(parameters[row]).all() and tracks.charge[row]:
            one["dparams"] = [float(f"{value:.8g}") for value in parameters[row]]
        if np.isfinite(tracks.chi2[row]):
            one["chi2"] = round(float(tracks.chi2[row]), _DIGITS)
            one["dof"] = int(tracks.ndof[row])
    return found


def _particles(particles: SceneParticles, paths: Lines) -> list[dict[str, Any]]:
    found = _lines(particles, paths)
    for row, one in enumerate(found):
        one["color"] = COLOURS["missed" if particles.match[row] == MISSED else "particle"]
        one["pdgId"] = int(particles.pdg[row])
    return found


def _lines(rows: SceneTracks | SceneParticles, paths: Lines) -> list[dict[str, Any]]:
    """What tracks and particles share; Phoenix extrapolates a line of less than three points."""
    found = []
    for row in range(len(rows)):
        points = paths.points[paths.offsets[row] : paths.offsets[row + 1]]
        if len(points) == 2:
            points = np.stack([points[0], points.mean(axis=0), points[1]])
        pt, eta = float(rows.pt[row]), float(rows.eta[row])
        one: dict[str, Any] = {"pos": _plain(points), "charge": int(rows.charge[row])}
        one["linewidth"] = RADII["line"]
        if np.isfinite([pt, eta]).all():
            one |= {"pT": round(MEV_PER_GEV * pt, _DIGITS), "eta": round(eta, _DIGITS)}
        one["phi"] = round(float(rows.phi[row]), _DIGITS)
        found.append(one)
    return found


def _parameters(tracks: SceneTracks, paths: Lines) -> Array:
    """d0, z0, phi, theta, q/p of each track about the z axis, float64[n, 5]; mm, rad, 1/MeV.

    The point nearest to the axis is (-d0 sin(phi), d0 cos(phi)). The lines begin a few tenths of a
    mm from there, where the track bends by nothing that matters.
    """
    if not len(tracks):
        return np.empty((0, 5))
    x, y, z = paths.points[paths.offsets[:-1]].T.astype(np.float64)
    phi = tracks.phi.astype(np.float64)
    cot_theta = np.sinh(tracks.eta.astype(np.float64))
    back = x * np.cos(phi) + y * np.sin(phi)
    d0 = y * np.cos(phi) - x * np.sin(phi)
    momentum = MEV_PER_GEV * tracks.pt * np.hypot(1, cot_theta)
    theta = np.arctan2(1, cot_theta)
    z0 = z - back * cot_theta
    parameters: Array = np.stack([d0, z0, phi, theta, tracks.charge / momentum], axis=1)
    parameters[~np.isfinite(tracks.tip)] = np.nan  # nothing was fitted
    return parameters


def _plain(values: Array) -> Any:
    return np.round(values.astype(np.float64), _DIGITS).tolist()
