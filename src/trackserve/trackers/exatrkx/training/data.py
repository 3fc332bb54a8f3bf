"""Events for training: points from the inside out, with their truth."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trackserve.edm import PointsEvent, PointsTruth
from trackserve.edm.columns import Array
from trackserve.errors import InputError
from trackserve.io import open_points
from trackserve.physics.points.truth import (
    STANDARD,
    Wanted,
    next_points,
    true_paths,
    truth_of,
    wanted_in,
)

from ..architecture import Features
from ..features import node_inputs, outward_order, scale_points
from .config import MODEL_NODE_INPUTS, TrainingConfig

SCALES = (1000.0, float(np.pi), 1000.0)
"""Scales of r (mm), phi (rad) and z (mm)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One event; its points are ordered by their distance from the origin.

    Attributes:
        event: the event, with points and truth in that order.
        scaled: float32[n, 3], features of the points.
        nodes: float32[n, k], the inputs :data:`.config.MODEL_NODE_INPUTS` of the points.
        particle: int32[n], particle of each point; -1 for noise.
        following: int64[n], the next point on the particle; -1 if there is none.
        pt: float32[n], transverse momentum of the particle in GeV; 0 for noise.
        good: bool[n], whether the particle should be found.
        wanted: bool[n], whether it counts when the training is judged: the central ones of these.
    """

    event: PointsEvent
    scaled: Array
    nodes: Array
    particle: Array
    following: Array
    pt: Array
    good: Array
    wanted: Array

    def __len__(self) -> int:
        return len(self.particle)

    def take(self, rows: Array) -> Sample:
        """Return the sample with only the points ``rows``, int64[k], which must ascend."""
        number = np.full(len(self) + 1, -1)
        number[rows] = np.arange(len(rows))
        truth = truth_of(self.event)
        points = PointsTruth(truth.points.take(rows), truth.particles)
        return Sample(
            event=PointsEvent(self.event.points.take(rows), self.event.event, points),
            scaled=self.scaled[rows],
            nodes=self.nodes[rows],
            particle=self.particle[rows],
            following=number[self.following[rows]],
            pt=self.pt[rows],
            good=self.good[rows],
            wanted=self.wanted[rows],
        )

    @functools.cached_property
    def by_phi(self) -> Array:
        """Rows sorted by azimuth, int64[n]."""
        return np.argsort(self.scaled[:, 1])

    @functools.cached_property
    def pairs(self) -> Array:
        """Pairs of points that follow each other on a particle, int64[2, m]."""
        first = np.flatnonzero(self.following >= 0)
        return np.stack([first, self.following[first]])

    def consecutive(self, source: Array, target: Array) -> Array:
        """Return which edges join points that follow each other on a particle, bool[m]."""
        following = self.following
        consecutive: Array = (following[target] == source) | (following[source] == target)
        return consecutive

    def same_particle(self, source: Array, target: Array) -> Array:
        """Return which edges join points of the same particle, bool[m]."""
        particle = self.particle
        same: Array = (particle[source] == particle[target]) & (particle[source] >= 0)
        return same


def make_sample(event: PointsEvent, wanted: Wanted = STANDARD) -> Sample:
    """Return an event as a sample.

    Args:
        event: the event.
        wanted: which particles should be found.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    features = Features(SCALES)
    scaled = scale_points(event.points.position, features)
    order = outward_order(scaled, features)
    scaled = scaled[order]
    event = PointsEvent(
        event.points.take(order),
        event.event,
        PointsTruth(truth.points.take(order), truth.particles),
    )
    paths = true_paths(truth)
    particle = truth.points.particle[order]
    good = paths.reconstructable(wanted)
    central = good & (np.abs(paths.eta) < wanted.central_eta)
    return Sample(
        event=event,
        scaled=scaled,
        nodes=node_inputs(MODEL_NODE_INPUTS, scaled, features),
        particle=particle,
        following=next_points(event),
        pt=np.append(paths.pt, 0).astype(np.float32)[particle],
        good=np.append(good, False)[particle],
        wanted=np.append(central, False)[particle],
    )


def choose_window(sample: Sample, n_points: int, rng: np.random.Generator) -> Array:
    """Return rows of about ``n_points`` points, from a random range in azimuth and in eta.

    A track of 1 GeV bends by 0.3 rad and keeps its eta. So a range in both has more whole tracks
    than a narrow range in azimuth.

    Returns:
        int64[k], ascending; all rows if there are no more than ``n_points``.
    """
    n = len(sample)
    if n <= n_points:
        return np.arange(n)
    in_wedge = round((n * n_points) ** 0.5)
    wedge = sample.by_phi[(rng.integers(n) + np.arange(in_wedge)) % n]
    eta = sample.nodes[wedge, MODEL_NODE_INPUTS.index("eta")]
    wedge = wedge[np.argsort(eta)]
    start = rng.integers(in_wedge - n_points + 1)
    return np.sort(wedge[start : start + n_points])


def cut_wedge(event: PointsEvent, n_points: int, rng: np.random.Generator) -> PointsEvent:
    """Return the event with only ``n_points`` points, from a random azimuth on.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    x, y, _ = event.points.position.T
    start = rng.uniform(-np.pi, np.pi)
    chosen = np.sort(np.argsort((np.arctan2(y, x) - start) % (2 * np.pi))[:n_points])
    return PointsEvent(
        event.points.take(chosen),
        event.event,
        PointsTruth(truth.points.take(chosen), truth.particles),
    )


class Data:
    """The events of some directories; an event is read when it is needed.

    Args:
        directories: places that :func:`trackserve.io.open_points` takes.
        config: settings; among them how many events of each directory are for validation.

    Raises:
        InputError: a directory has too few events, or the events are of different detectors.
    """

    def __init__(self, directories: Sequence[Path], config: TrainingConfig) -> None:
        self._seed = config.seed
        self._remember = functools.lru_cache(config.cached_events)(self._prepare)
        self._max_points = config.max_points
        self.names = [directory.resolve().name for directory in directories]
        self._opened = [open_points(directory) for directory in directories]
        detectors = {events.detector for events in self._opened}
        if len(detectors) > 1:
            raise InputError("events of different detectors", found=sorted(map(str, detectors)))
        self.detector = next(iter(detectors)) or "unknown"
        self.wanted = wanted_in(self.detector)
        if config.least_pt is not None:
            self.wanted = replace(self.wanted, min_pt=config.least_pt)
        self._n_training: list[int] = []
        self.validation: list[tuple[int, int]] = []
        for number, events in enumerate(self._opened):
            n_training = len(events) - config.validation_events
            if n_training < 1:
                raise InputError(
                    "too few events to train and to validate",
                    directory=str(directories[number]),
                    found=len(events),
                    bound=f"> {config.validation_events}",
                )
            self._n_training.append(n_training)
            self.validation += [(number, i) for i in range(n_training, len(events))]

    def require_wanted(self) -> None:
        """Check that there are particles to find.

        Raises:
            InputError: the validation events of a directory have none by which to judge.
        """
        for number, name in enumerate(self.names):
            if not any(sample.wanted.any() for sample in self.validation_samples(number)):
                least_pt, layers = self.wanted.min_pt, self.wanted.min_layers
                raise InputError(
                    "the validation events have no particle that counts: charged, primary, with "
                    f"pT > {least_pt:g} GeV and points on {layers} layers",
                    directory=name,
                )

    def sample(self, key: tuple[int, int]) -> Sample:
        """Return the event of a key; a large event for training is cut to a wedge."""
        return self._remember(key)

    def _prepare(self, key: tuple[int, int]) -> Sample:
        directory, number = key
        event = self._opened[directory][number]
        if len(event.points) > self._max_points and number < self._n_training[directory]:
            rng = np.random.default_rng([self._seed, directory, number])
            event = cut_wedge(event, self._max_points, rng)
        return make_sample(event, self.wanted)

    def validation_samples(self, directory: int) -> list[Sample]:
        """Return the validation events of one directory."""
        return [self.sample(key) for key in self.validation if key[0] == directory]

    def n_of_training(self, most: int) -> int:
        """Return the number of training events, if at most ``most`` of each directory count."""
        return sum(min(most, n) for n in self._n_training)

    def some_of_training(self, most: int) -> Iterator[Sample]:
        """Yield the first training events, at most ``most`` of each directory."""
        for directory, n in enumerate(self._n_training):
            for number in range(min(most, n)):
                yield self.sample((directory, number))

    def at_step(self, step: int) -> tuple[int, int]:
        """Return the key of the event of a step.

        Directories take turns. Each gives all its events in random order, then all again in
        another order.
        """
        turn, directory = divmod(step, len(self._opened))
        epoch, place = divmod(turn, self._n_training[directory])
        rng = np.random.default_rng([self._seed, directory, epoch])
        return directory, int(rng.permutation(self._n_training[directory])[place])
