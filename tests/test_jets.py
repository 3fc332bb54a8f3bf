"""Jets of tracks are those of the anti-kt algorithm, which is written out here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trigger_objects import tracks_of

from trackserve.workflow.jets import cluster
from trackserve.workflow.objects import TrackJets, TriggerTracks

Momentum = tuple[float, float, float, float]


def rapidity_and_azimuth(momentum: Momentum) -> tuple[float, float]:
    px, py, pz, energy = momentum
    return 0.5 * math.log((energy + pz) / (energy - pz)), math.atan2(py, px)


def plain_anti_kt(momenta: list[Momentum], radius: float) -> list[float]:
    """pT of the jets: the smallest of all d_ij and d_iB is taken, again and again."""
    left, jets = list(momenta), []
    while left:
        weights = [1 / (px * px + py * py) for px, py, _, _ in left]
        places = [rapidity_and_azimuth(one) for one in left]
        best, pair = min((weight, (i, i)) for i, weight in enumerate(weights))
        for i in range(len(left)):
            for j in range(i):
                phi = abs(places[i][1] - places[j][1])
                phi = min(phi, 2 * math.pi - phi)
                distance2 = (places[i][0] - places[j][0]) ** 2 + phi**2
                found = min(weights[i], weights[j]) * distance2 / radius**2
                if found < best:
                    best, pair = found, (i, j)
        i, j = pair
        if i == j:
            px, py, _, _ = left.pop(i)
            jets.append(math.hypot(px, py))
        else:
            one, two = left.pop(i), left.pop(j)
            px, py, pz, energy = (a + b for a, b in zip(one, two, strict=True))
            left.append((px, py, pz, energy))
    return sorted(jets, reverse=True)


def momenta_of(tracks: TriggerTracks) -> list[Momentum]:
    return [
        (pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta), pt * math.cosh(eta))
        for pt, eta, phi in zip(
            tracks.pt.tolist(), tracks.eta.tolist(), tracks.phi.tolist(), strict=True
        )
    ]


some_tracks = st.lists(
    st.builds(
        lambda pt, eta, phi: {"pt": pt, "eta": eta, "phi": phi},
        st.floats(0.5, 100),
        st.floats(-2.5, 2.5),
        st.floats(-math.pi, math.pi),
    ),
    max_size=25,
).map(lambda rows: tracks_of(*rows))


@settings(max_examples=50)
@given(some_tracks, st.sampled_from([0.4, 0.8]))
def test_jets_are_those_of_the_algorithm(tracks: TriggerTracks, radius: float) -> None:
    jets = cluster(tracks, radius, 1e6, 0.0)
    expected = plain_anti_kt(momenta_of(tracks), radius)
    assert jets.pt.tolist() == pytest.approx(expected, rel=1e-9)
    assert jets.n_tracks.sum() == len(tracks)


@given(some_tracks)
@example(tracks_of({"pt": 20.0, "eta": 0.0, "phi": 0.515625}))  # just the least pT
def test_soft_jets_are_left_out_and_the_others_fall_in_pt(tracks: TriggerTracks) -> None:
    every, hard = (cluster(tracks, 0.4, 1e6, least) for least in (0.0, 20.0))
    assert hard == every.take(every.pt >= 20.0)
    assert (np.diff(every.pt) <= 0).all()


def test_a_track_of_wrong_pt_makes_no_jet_of_that_pt() -> None:
    jets = cluster(tracks_of({"pt": 4000.0}), 0.4, 50.0, 5.0)
    assert jets.pt.tolist() == pytest.approx([50.0])


def test_no_tracks_make_no_jets() -> None:
    assert cluster(TriggerTracks.empty(), 0.4, 50.0, 5.0) == TrackJets.empty()
