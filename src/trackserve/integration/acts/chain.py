"""The steps from measurements to fitted tracks, as algorithms of ACTS.

Each function makes the algorithms of a step, for a Sequencer. Names of what they read and write in
the event store are those that ACTS' own examples use, unless an argument says otherwise.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from trackserve.detectors.generic.material import SIGMAS
from trackserve.physics.points.metrics import FIELD
from trackserve.simulation.points.detector import PointsDetector, make_points_detector

from .bindings import LEVEL, acts, examples

MIN_MEASUREMENTS = 7
"""Least measurements of a track that the ambiguity resolution keeps."""
MAX_SHARED = 3
"""Most measurements that a track shares with better ones."""
MAX_HOLES = 2
"""Most holes of a track of the combinatorial Kalman filter."""
MIN_PT = 0.9
"""GeV, of seeds."""
PIXELS = (7, 8, 9)
"""Volumes of GenericDetector with pixels."""
u = acts.UnitConstants


@functools.cache
def make_detector() -> PointsDetector:
    """GenericDetector, one for all: some algorithms of ACTS crash once its geometry is gone."""
    return make_points_detector()


def make_geometry() -> Any:
    """The tracking geometry of :func:`make_detector`, with its material."""
    return make_detector().geometry


def make_field() -> Any:
    """The field of our simulated events."""
    return acts.ConstantBField(acts.Vector3(0, 0, FIELD * u.T))


def candidate_steps(geometry: Any, field: Any, finding: Mapping[str, Any]) -> dict[str, Any]:
    """The chain from ``measurements`` to ``tracks`` with a tracker in it, step by step.

    Args:
        geometry: tracking geometry.
        field: magnetic field.
        finding: the steps from space points to proto tracks, by name.
    """
    return {
        "selection": SelectMeasurements(),
        "space points": make_space_points(geometry),
        **finding,
        "track seeds": seed_proto_tracks(geometry, field),
        "parameters": estimate_parameters(geometry, field),
        "Kalman fit": fit_tracks(geometry, field),
        "extrapolation": extrapolate_tracks(geometry, field),
        "ambiguities": resolve_ambiguities(),
    }


def ckf_steps(geometry: Any, field: Any) -> dict[str, Any]:
    """The same with ACTS' own seeds and combinatorial Kalman filter, which fits what it finds."""
    return {
        "selection": SelectMeasurements(),
        "space points": make_space_points(geometry, PIXELS, "pixelspacepoints"),
        "seeds": find_seeds(),
        "parameters": estimate_seeds(geometry, field),
        "Kalman filter (CKF)": follow_tracks(geometry, field),
        "ambiguities": resolve_ambiguities("ckf_tracks"),
    }


def simulate_particles(geometry: Any, field: Any, random_numbers: Any) -> Any:
    """ACTS' Fatras: ``particles_generated`` to ``simhits``."""
    return examples.FatrasSimulation(
        level=_SILENT,
        inputParticles="particles_generated",
        outputParticles="particles_simulated",
        outputSimHits="simhits",
        randomNumbers=random_numbers,
        trackingGeometry=geometry,
        magneticField=field,
    )


def smear_hits(geometry: Any, random_numbers: Any) -> Any:
    """Hits to measurements, by the resolutions of :data:`.detector.SIGMAS`; hits do not merge."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(_digitisation(), file)
        file.flush()
        smearing = acts.examples.json.readDigiConfigFromJson(file.name)
    return examples.DigitizationAlgorithm(
        level=LEVEL,
        digitizationConfigs=smearing,
        surfaceByIdentifier=geometry.geoIdSurfaceMap(),
        randomNumbers=random_numbers,
        inputSimHits="simhits",
        outputMeasurements="measurements",
        outputMeasurementSubset="measurement_subset",
        outputMeasurementParticlesMap="measurement_particles_map",
        outputMeasurementSimHitsMap="measurement_simhits_map",
        outputParticleMeasurementsMap="particle_measurements_map",
        outputSimHitMeasurementsMap="simhit_measurements_map",
        doMerge=False,
    )


def _digitisation() -> dict[str, Any]:
    """ACTS' JSON of a digitisation that smears."""

    def gauss(index: int, sigma: float) -> dict[str, Any]:
        return {"index": index, "mean": 0.0, "stddev": sigma, "type": "Gauss"}

    header = {"format-version": 0, "value-identifier": "digitization-configuration"}
    return {
        "acts-geometry-hierarchy-map": header,
        "entries": [
            {"volume": volume, "value": {"smearing": [gauss(*one) for one in enumerate(sigmas)]}}
            for volume, sigmas in SIGMAS.items()
        ],
    }


class SelectMeasurements(examples.IAlgorithm):  # type: ignore[misc]
    """Puts all measurements of an event into a ``MeasurementSubset``, which other steps read."""

    def __init__(self) -> None:
        examples.IAlgorithm.__init__(self, "SelectMeasurements", LEVEL)
        self._input = examples.ReadDataHandle(self, examples.MeasurementContainer, "all")
        self._input.initialize("measurements")
        self._output = examples.WriteDataHandle(self, examples.MeasurementSubset, "subset")
        self._output.initialize("measurement_subset")

    def execute(self, context: Any) -> Any:
        """The Sequencer calls it."""
        measurements = self._input(context.eventStore)
        subset = examples.MeasurementSubset(measurements, list(range(len(measurements))))
        self._output(context, subset)
        return examples.ProcessCode.SUCCESS


def make_space_points(
    geometry: Any, volumes: Iterable[int] = tuple(SIGMAS), name: str = "spacepoints"
) -> Any:
    """Measurements to space points.

    Args:
        geometry: tracking geometry.
        volumes: those with measurements that make space points, ascending. With all of them a space
            point has the number of its measurement.
        name: name of the space points.
    """
    return examples.SpacePointMaker(
        level=LEVEL,
        inputMeasurements="measurement_subset",
        outputSpacePoints=name,
        trackingGeometry=geometry,
        geometrySelection=[acts.GeometryIdentifier(volume=volume) for volume in volumes],
    )


def seed_proto_tracks(geometry: Any, field: Any, proto_tracks: str = "prototracks") -> Any:
    """Proto tracks to seeds of three of their space points, far apart."""
    return examples.ProtoTracksToParameters(
        level=_SILENT,
        geometry=geometry,
        magneticField=field,
        inputProtoTracks=proto_tracks,
        inputSpacePoints="spacepoints",
        outputSeeds="trackseeds",
        outputParameters="tightparameters",
        outputProtoTracks="seededprototracks",
    )


def estimate_parameters(geometry: Any, field: Any) -> Any:
    """Seeds of proto tracks to parameters, with errors so large that they do not bind the fit.

    With the errors that ``ProtoTracksToParameters`` gives alone, the errors of the fitted tracks
    are several times too small.
    """
    return _estimate(
        geometry,
        field,
        inputSeeds="trackseeds",
        outputSeeds="",
        outputTrackParameters="estimatedparameters",
        inputProtoTracks="seededprototracks",
        outputProtoTracks="estimatedprototracks",
        initialVarInflation=[_LOOSE] * 6,
    )


def _estimate(geometry: Any, field: Any, **more: Any) -> Any:
    """Seeds to parameters, with the errors of ACTS' own examples."""
    return examples.TrackParamsEstimationAlgorithm(
        level=_SILENT,
        trackingGeometry=geometry,
        magneticField=field,
        initialSigmas=[1 * u.mm, 1 * u.mm, 1 * u.degree, 1 * u.degree, 0.0, 1 * u.ns],
        initialSigmaQoverPt=0.1 / u.GeV,
        initialSigmaPtRel=0.1,
        **more,
    )


def fit_tracks(geometry: Any, field: Any) -> Any:
    """ACTS' Kalman fit of proto tracks with parameters, and its smoothing, to the z axis."""
    fit = examples.makeKalmanFitterFunction(
        geometry,
        field,
        multipleScattering=True,
        energyLoss=True,
        reverseFilteringMomThreshold=0.0,
        reverseFilteringCovarianceScaling=100.0,
        freeToBoundCorrection=examples.FreeToBoundCorrection(False),
        level=_SILENT,
        chi2Cut=float("inf"),
        useJosephFormulation=False,
    )
    return examples.TrackFittingAlgorithm(
        level=_SILENT,
        inputMeasurements="measurements",
        inputProtoTracks="estimatedprototracks",
        inputInitialTrackParameters="estimatedparameters",
        inputClusters="",
        outputTracks="kf_tracks",
        pickTrack=-1,
        fit=fit,
        calibrator=examples.makePassThroughCalibrator(),
        linkForward=False,
        referenceSurface=_axis(),
    )


def extrapolate_tracks(geometry: Any, field: Any) -> Any:
    """Fitted tracks once more to the z axis, with the material before their first measurement.

    The fit itself leaves a part of it out, and the errors of the angles are a tenth too small.
    """
    return examples.TrackExtrapolationAlgorithm(
        level=_SILENT,
        inputTracks="kf_tracks",
        outputTracks="perigee_tracks",
        strategy=examples.TrackExtrapolationStrategy.first,
        targetSurface=_axis(),
        trackingGeometry=geometry,
        magneticField=field,
    )


def resolve_ambiguities(
    tracks: str = "perigee_tracks", min_measurements: int = MIN_MEASUREMENTS
) -> Any:
    """ACTS' greedy resolution: of tracks that share too many measurements the best stays."""
    return examples.GreedyAmbiguityResolutionAlgorithm(
        level=LEVEL,
        inputTracks=tracks,
        outputTracks="tracks",
        maximumSharedHits=MAX_SHARED,
        nMeasurementsMin=min_measurements,
        maximumIterations=_MANY,
    )


def find_seeds() -> Any:
    """ACTS' triplets of space points in the pixels, ``pixelspacepoints``."""
    return examples.GridTripletSeedingAlgorithm(
        level=LEVEL,
        inputSpacePoints="pixelspacepoints",
        outputSeeds="seeds",
        inputVertices="",
        bFieldInZ=FIELD * u.T,
        minPt=MIN_PT * u.GeV,
        cotThetaMax=10.02,
        impactMax=3 * u.mm,
        maxSeedsPerSpM=2,
        sigmaScattering=5,
        radLengthPerSeed=0.1,
        rMax=200 * u.mm,
        zMin=-2000 * u.mm,
        zMax=2000 * u.mm,
        collisionRegionMin=-250 * u.mm,
        collisionRegionMax=250 * u.mm,
        **{
            f"deltaR{end}{where}": value * u.mm
            for end, value in (("Min", 5), ("Max", 150))
            for where in ("", "Top", "Bottom")
        },
    )


def estimate_seeds(geometry: Any, field: Any) -> Any:
    """Seeds of three space points to parameters."""
    return _estimate(
        geometry,
        field,
        inputSeeds="seeds",
        outputSeeds="estimatedseeds",
        outputTrackParameters="seedparameters",
    )


def follow_tracks(geometry: Any, field: Any, min_measurements: int = MIN_MEASUREMENTS) -> Any:
    """ACTS' combinatorial Kalman filter, in both directions."""
    make = examples.TrackFindingAlgorithm.makeTrackFinderFunction
    selector = acts.MeasurementSelector.Config(
        [(acts.GeometryIdentifier(), ([], [15.0], [25.0], [10]))]
    )
    return examples.TrackFindingAlgorithm(
        level=_SILENT,
        measurementSelectorCfg=selector,
        inputMeasurements="measurement_subset",
        inputInitialTrackParameters="seedparameters",
        inputSeeds="estimatedseeds",
        outputTracks="ckf_tracks",
        findTracks=make(geometry, field, _SILENT),
        trackingGeometry=geometry,
        magneticField=field,
        trackSelectorCfg=acts.TrackSelector.Config(
            minMeasurements=min_measurements, maxHoles=MAX_HOLES
        ),
        twoWay=True,
        seedDeduplication=True,
        stayOnSeed=True,
    )


def _axis() -> Any:
    return acts.Surface.createPerigee(acts.Vector3(0, 0, 0))


_SILENT = acts.logging.Level.FATAL
"""A fit reports each track that it gives up as an error. Such a track is missing, no more."""
_LOOSE = 100.0
"""Times the variance of the parameters that a fit begins with."""
_MANY = 1_000_000
"""Removals after which the ambiguity resolution stops; no event needs so many."""
