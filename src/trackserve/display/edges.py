"""Pairs of hits that a stage leaves, as many as a page can show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trackserve.edm.columns import Array

MOST_EDGES = 10_000
"""Edges of the largest stage that a page shows of an event."""


def in_sector(
    stages: Mapping[str, Array], position: Array, middle: float
) -> tuple[dict[str, Array], str]:
    """The edges in a sector about the beam, so wide that no stage has more than :data:`MOST_EDGES`.

    Args:
        stages: by name, the edges that are left after each, int[n, 2], rows of ``position``.
        position: float[hits, 3].
        middle: azimuth of the middle of the sector, rad.

    Returns:
        the edges, int32[m, 2], by name; the sector in words, empty if it is the whole circle.
    """
    phi = np.arctan2(position[:, 1], position[:, 0]).astype(np.float64)
    away = np.abs((phi - middle + np.pi) % (2 * np.pi) - np.pi)
    reach = {name: away[edges].max(axis=1, initial=0) for name, edges in stages.items()}
    crowded = [one for one in reach.values() if len(one) > MOST_EDGES]
    half = min((float(np.partition(one, MOST_EDGES)[MOST_EDGES]) for one in crowded), default=np.pi)
    whole = not crowded
    shown = {
        name: (edges if whole else edges[reach[name] < half]).astype(np.int32)
        for name, edges in stages.items()
    }
    return shown, "" if whole else f"φ from {middle - half:.2f} to {middle + half:.2f}"


def leading_azimuth(pt: Array, phi: Array) -> float:
    """Azimuth of the track with the largest pT, rad; 0 without tracks."""
    return float(phi[np.nan_to_num(pt, posinf=0).argmax()]) if len(pt) else 0.0
