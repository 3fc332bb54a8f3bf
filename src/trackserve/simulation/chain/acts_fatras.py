"""ACTS Fatras, run on particles in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trackserve.errors import MissingExtraError

try:
    import acts as acts  # so that it can be imported from here, with this error
    import acts.examples
    import acts.examples.arrow
    import acts.fatras
    import acts.json
except ImportError:
    raise MissingExtraError("simulation needs pyacts: pip install 'trackserve[sim]'") from None

_SHOW = acts.logging.Level.FATAL
"""Fatras reports every particle that it gives up as an error. Its callers count them instead."""


class FatrasRunner:
    """Fatras in one detector and a constant field.

    Args:
        geometry: tracking geometry of ACTS.
        field: Tesla, along z.
        conversion: whether photons convert.
        min_momentum: GeV. A particle with less is not followed and not made.

    Attributes:
        output: takes the store of a :meth:`run`; returns the particles at their end.
        hits: takes the store of a :meth:`run`; returns where sensors were crossed.
    """

    def __init__(
        self, geometry: Any, field: float, conversion: bool, min_momentum: float = 0.0
    ) -> None:
        self._geometry = geometry
        self._field = acts.ConstantBField(acts.Vector3(0, 0, field * acts.UnitConstants.T))
        self._conversion = conversion
        self._min_momentum = min_momentum
        owner = acts.examples.IAlgorithm("transport", _SHOW)
        particles, hits = acts.examples.SimParticleContainer, acts.examples.SimHitContainer
        self._owner = owner  # the handles do not keep it alive
        self._input = acts.examples.WriteDataHandle(owner, particles, "input")
        self._input.initialize("input")
        self.output = self.handle("output", particles)
        self.hits = self.handle("hits", hits)

    def algorithm(self, seed: int) -> Any:
        """Make what :meth:`run` executes.

        Args:
            seed: 0..2**62; all random numbers follow from it.
        """
        config = acts.examples.FatrasSimulation.Config()
        config.inputParticles = "input"
        config.outputParticles = "output"
        config.outputSimHits = "hits"
        config.trackingGeometry = self._geometry
        config.magneticField = self._field
        config.randomNumbers = acts.examples.RandomNumbers(seed=seed)
        config.pMin = self._min_momentum
        config.emPhotonConversion = self._conversion
        return acts.examples.FatrasSimulation(config, _SHOW)

    def run(self, algorithm: Any, number: int, particles: Any) -> tuple[Any, Any]:
        """Transport ``particles``.

        Args:
            algorithm: what :meth:`algorithm` made.
            number: gives each call random numbers of its own.
            particles: what :func:`to_container` made.

        Returns:
            The context of the call, and the store that ``output``, ``hits`` and the functions
            of :meth:`handle` read.
        """
        store = acts.examples.WhiteBoard(_SHOW)
        context = acts.examples.AlgorithmContext(0, number, store, 0)
        self._input(context, particles)
        algorithm.execute(context)
        return context, store

    def handle(self, name: str, kind: Any) -> Any:
        """A function that takes a store and returns its object ``name`` of type ``kind``."""
        handle = acts.examples.ReadDataHandle(self._owner, kind, name)
        handle.initialize(name)
        return handle


def to_container(
    particles: Iterable[tuple[int, int, float, list[float], list[float], float]],
) -> Any:
    """Put particles into a container for Fatras; their barcodes count from 1.

    Args:
        particles: PDG number, charge, mass (GeV), position (mm), direction (unit vector) and
            momentum (GeV) of each.
    """
    container = acts.examples.SimParticleContainer()
    for number, (pdg, charge, mass, position, direction, momentum) in enumerate(particles, 1):
        barcode = acts.fatras.Barcode()
        barcode.vertexPrimary = 1
        barcode.particle = number
        particle = acts.examples.SimParticle(barcode, acts.PdgParticle(pdg), charge, mass)
        particle.fourPosition = acts.Vector4(*position, 0.0)
        particle.direction = acts.Vector3(*direction)
        particle.absoluteMomentum = momentum
        container.insert(particle)
    return container
