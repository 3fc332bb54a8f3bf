"""Constants of the algorithm, stage by stage.

:data:`REFERENCE` holds those of the public stand-alone program
(cms-patatrack/pixeltrack-standalone); each class names the source file. Where the
reference does something that looks like a mistake but changes the answer, it is
kept and marked "oddity".
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.charge import ChargeCalibration
from trackserve.detectors.phase1.layout import N_LAYERS, PT_PER_RADIUS
from trackserve.detectors.scattering import KICK
from trackserve.device.scalars import f32
from trackserve.edm import MAX_HITS
from trackserve.edm.columns import Array
from trackserve.errors import InputError


class ClusterCuts(NamedTuple):
    """Charge that a cluster must exceed, electrons (gpuClusterChargeCut.h)."""

    min_charge_1: int = 2000
    """Barrel layer 1."""
    min_charge: int = 4000


class PositionErrors(NamedTuple):
    """Errors of hits (pixelCPEforGPU.h, errorFromDB).

    Clusters at the edge of a module have fixed errors, cm. The errors of other clusters come from
    the conditions, or from the shape of the cluster.
    """

    edge_x: float = f32(0.0050)
    edge_y: float = f32(0.0085)
    from_shape: bool = False
    lone_share: float = f32(0.4)
    """Smallest share of a lone pixel in which the particle may have passed."""
    barrel_width: float = f32(0.25)
    """Extent of the charge along y in the barrel, where it is not known; per pitch."""
    floor: float = f32(0.0004)
    """Smallest error of a longer cluster, cm."""
    share_two: float = f32(0.08)
    """Error per width over which the end pixels share charge, for a cluster of two in the barrel
    whose extent of charge is known."""
    share_two_disk: float = f32(0.061)
    """The same on a disk."""
    share: float = f32(0.108)
    """The same for other clusters."""
    straggling: float = f32(0.035)
    """Error per pitch for each pixel beyond two, in quadrature."""
    excess: float = f32(0.75)
    """Error per length that the expected extent of the charge does not explain."""
    excess_margin: float = f32(0.35)
    """Smallest excess of a cluster of three and more over its expected extent, in pitches."""


LAYER_PAIR = np.dtype(
    [
        ("inner", np.int32),
        ("outer", np.int32),
        ("phi", np.int32),
        ("min_z", np.float32),
        ("max_z", np.float32),
        ("max_dr", np.float32),
        ("starts", np.bool_),
    ]
)
"""Layers, widest difference in phi (pi/32768), z of the inner hit (cm), widest step
in r (cm), and whether an ntuplet may start with such a doublet."""

_PHI_05, _PHI_06, _PHI_07 = 522, 626, 730

REFERENCE_PAIRS = np.array(
    [
        (0, 1, _PHI_05, -20, 20, 20, True),
        (0, 4, _PHI_07, 0, 30, 9, True),
        (0, 7, _PHI_07, -30, 0, 9, True),
        (1, 2, _PHI_05, -22, 22, 20, True),
        (1, 4, _PHI_06, 10, 30, 7, True),
        (1, 7, _PHI_06, -30, -10, 7, True),
        (4, 5, _PHI_05, -70, 70, 5, True),
        (7, 8, _PHI_05, -70, 70, 5, True),
        (2, 3, _PHI_06, -22, 22, 20, False),
        (2, 4, _PHI_06, 15, 30, 6, False),
        (2, 7, _PHI_06, -30, -15, 6, False),
        (5, 6, _PHI_05, -70, 70, 5, False),
        (8, 9, _PHI_05, -70, 70, 5, False),
        (0, 2, _PHI_05, -20, 20, 20, True),
        (1, 3, _PHI_05, -22, 22, 20, True),
        (0, 5, _PHI_05, 0, 30, 9, True),
        (0, 8, _PHI_05, -30, 0, 9, True),
        (4, 6, _PHI_05, -70, 70, 9, True),
        (7, 9, _PHI_05, -70, 70, 9, True),
    ],
    LAYER_PAIR,
)
"""The 19 layer pairs of the reference (gpuPixelDoublets.h)."""


class DoubletCuts(NamedTuple):
    """Compatibility of two hits (gpuPixelDoubletsAlgos.h)."""

    max_z0: float = f32(12)
    """|z| at which the pair points to the beam line, cm."""
    min_radius: float = f32(0.5 * 87.78)
    """Radius of the softest track, cm: 0.5 GeV, 87.78 cm/GeV."""
    min_size_1: int = 36
    """Cluster length in the barrel's layer 1 towards a disk, 1/8 pixel."""
    min_size_2: int = 28
    max_size_difference_1: int = 28
    """Difference of cluster lengths between two barrel layers, the inner one layer 1."""
    max_size_difference: int = 20
    size_per_slope: float = f32(8 * 0.0285 / 0.015)
    """Cluster length per dz/dr: thickness over pitch, in 1/8 pixel."""
    max_size_residual: int = 20
    """Between cluster length and the one predicted from dz/dr, barrel to disk."""
    max_shortness: float = f32(1e6)
    """By which a cluster in the barrel may be shorter than predicted from dz/dr, 1/8 pixel; the
    reference allows any."""
    max_excess: float = f32(1e6)
    """By which it may be longer."""
    max_shortness_skipping: float = f32(1e6)
    max_excess_skipping: float = f32(1e6)
    """The same two where a barrel layer is between the hits."""


class ConnectionCuts(NamedTuple):
    """Compatibility of two doublets that share a hit (CAHitNtupletGeneratorKernelsImpl.h)."""

    min_pt: float = f32(0.9)
    theta_barrel: float = f32(0.002)
    """Alignment in r-z where the shared hit is in the barrel."""
    theta_forward: float = f32(0.003)
    max_curvature: float = f32(1 / (0.35 * 87.0))
    """1/cm."""
    both_charges: bool = False
    """Oddity of the reference: its curvature is signed, so that it cuts positive charges only."""
    max_dca_inner: float = f32(0.15)
    """Distance of closest approach to the beam spot, cm, innermost hit in barrel layer 1."""
    max_dca_outer: float = f32(0.25)
    max_dca_skipping: float = f32(1e6)
    """The same from barrel layer 1 to layer 4 with one hit between: a layer is missing, and no
    hit can follow."""
    min_cos2: float = f32(0.99999)
    """Fishbone: doublets to one hit that are closer in angle count as the same."""


class NtupletRules(NamedTuple):
    """Choice of the paths that are fitted (GPUCACell.h, kernel_earlyDuplicateRemover)."""

    only_longest: bool = True
    """Whether only the longest of the paths that share a cell are fitted."""


class FitConstants(NamedTuple):
    """Broken-line fit (BrokenLine.h, CAHitNtupletCUDA.cc)."""

    field: float = PT_PER_RADIUS
    """pT = field x radius, GeV/cm (3.811 T)."""
    scattering: float = 0.7 * KICK**2
    """GeV^2; 0.7 lies between 1/3 (uniform material) and 1 (thin scatterer)."""
    max_pt: float = 20.0
    """Largest pT in the scattering formula, GeV."""
    max_hits: int = 4
    """Oddity: of five hits, the first four are fitted."""
    thin_layers: bool = False
    """Whether tracks scatter in the modules they hit; if not, all along their path."""
    x0_per_cm: float = 0.06 / 16
    """Radiation lengths per cm, if tracks scatter all along their path."""
    min_cos: float = 0.1
    """Smallest cosine of the angle of incidence."""
    mass: float = 0.13957
    """Mass of the pion, GeV."""
    triplet_chi2: float = math.inf
    """Largest chi2 of the fit in r-z; the fit of a triplet fails beyond it."""
    long_chi2: float = math.inf
    """The same for four hits and more."""


class QualityCuts(NamedTuple):
    """Bounds of a loose ntuplet (CAHitNtupletGeneratorOnGPU.cc)."""

    chi2_scale: float = 30.0
    chi2_0: float = 0.68177776
    chi2_1: float = 0.74609577
    chi2_2: float = -0.08035491
    chi2_3: float = 0.00315399
    chi2_max_pt: float = 10.0
    triplet_tip: float = 0.3
    triplet_pt: float = 0.5
    quadruplet_tip: float = 0.5
    quadruplet_pt: float = 0.3
    zip: float = 12.0


class ScoreCuts(NamedTuple):
    """Bounds of a loose ntuplet, which use its errors, and the score of ntuplets that share hits.

    They are tuned on truth: see docs/patatrack.md.
    """

    triplet_cost: float = 20.5
    """Largest cost of a triplet: chi2 of the fit, (tip / error)^2, lengths of clusters, missed
    layers."""
    long_cost: float = 50.0
    """Largest cost for four hits and more: the same without tip."""
    tip_spread: float = 0.01
    """cm, added to the error of a triplet's tip for decays near the beam."""
    tip: float = 0.5
    zip: float = 12.5
    min_pt: float = 0.4
    per_hit: float = 20.0
    """Value of a hit, in chi2."""
    max_shared: int = 1
    """Number of hits that a track of four and more may have in common with better ones."""
    shared_cost: float = 18.0
    """Largest cost of a track that has one in common."""
    length_offset: float = 0.55
    """Mean length of clusters beyond the extent of the track's charge, in pitches."""
    short: float = 0.5
    """Error of that length, in pitches, for a cluster shorter than expected."""
    long: float = 0.75
    """The same for a longer one."""
    most_short: float = 10.0
    """Most that a short cluster counts, in chi2; pixels may be dead or below threshold."""
    most_long: float = 4.0
    """The same for a long one, which may be of two particles."""
    per_missed: float = 7.5
    """What a layer that is crossed without a hit counts, in chi2."""


class VertexCuts(NamedTuple):
    """Vertices along z by density (plugin-PixelVertexFinding)."""

    min_hits: int = 4
    min_pt: float = 0.5
    min_neighbours: int = 2
    """Tracks nearby that make a track a seed."""
    eps: float = 0.07
    """Tracks further apart are not neighbours, cm."""
    max_error: float = 0.01
    """Only tracks with a smaller error count their neighbours, cm."""
    chi2_max: float = 9.0
    """Neighbours are compatible within this chi2."""
    outlier_chi2: float = 50.0
    outlier_chi2_final: float = 5000.0
    split_min_ndof: int = 4
    split_chi2: float = 9.0
    """chi2/ndof above which a vertex may be two."""
    split_max_iterations: int = 20
    split_significance: float = 4.0


class MixtureCuts(NamedTuple):
    """Vertices along z as a mixture of normal distributions (see :mod:`.mixture`)."""

    min_hits: int = 4
    max_error: float = 0.1
    """Tracks with a larger error of zip make no vertex, cm."""
    max_chi2: float = 20.0
    """Tracks with a larger chi2 make no vertex."""
    max_tip_pull: float = 1.8
    """Tracks make no vertex that miss the beam spot by more errors of tip."""
    max_zip: float = 12.5
    """Tracks make no vertex that are as far from the beam spot along z, cm."""
    inflation: float = 1.1
    """Factor on the errors of zip, for their tails."""
    noise: float = 1.0
    """Tracks per cm that belong to no vertex."""
    penalty: float = 1.2
    """Number of tracks that a vertex must explain beyond chance."""
    reach: float = 5.0
    """Largest distance of a track from its vertex, in errors."""
    min_tracks: int = 2
    step: float = 0.005
    """Distance of the points at which vertices are looked for, cm."""
    seed_reach: float = 2.5
    min_seed_error: float = 0.004
    """cm: tracks with smaller errors do not make more seeds."""
    max_iterations: int = 60
    tolerance: float = 0.03
    """Tolerance of the positions, in errors, and of the numbers of tracks."""


def _of_its_kind(section: str, name: str, value: Any, default: Any) -> Any:
    """A constant as the kind of number that its default is; compiled code knows no other.

    Raises:
        InputError: it is none.
    """
    kind = type(default)
    if isinstance(value, (Real, np.bool_)):
        with suppress(OverflowError, ValueError):  # no whole number
            given = kind(value)
            if kind not in (bool, int) or given == value:
                return given
    wanted = {bool: "bool", int: "int"}.get(kind, "float")
    fields = {"section": section, "constant": name, "found": repr(value)[:80], "bound": wanted}
    raise InputError("a constant is of the wrong kind", **fields)


_BOUNDS = {
    "max_hits": (3, math.inf),
    "step": (1e-4, math.inf),
    "max_error": (0, 100),
    "max_zip": (0, 1000),
    "inflation": (0, 100),
    "seed_reach": (0, 100),
    "split_min_ndof": (1, math.inf),
    "outlier_chi2": (1e-6, math.inf),
    "outlier_chi2_final": (1e-6, math.inf),
}
"""Least and largest values of constants on which memory, or an end, depends."""
_PAIR_BOUNDS = {
    "inner": (0, N_LAYERS - 1),
    "outer": (0, N_LAYERS - 1),
    "phi": (0, 32640),  # with its bins, less than a turn
}
MAX_PAIRS = 255
"""Layer pairs; their numbers have eight bits."""


def _check_bounds(section: str, constants: Any) -> None:
    """Refuse constants out of bounds, and NaN.

    Raises:
        InputError: there is one.
    """
    for name, value in zip(constants._fields, constants, strict=True):
        low, high = _BOUNDS.get(name, (-math.inf, math.inf))
        if not low <= value <= high:
            fields = {"section": section, "constant": name, "found": value, "bound": [low, high]}
            raise InputError("a constant is out of bounds", **fields)


def _check_pairs(pairs: Array) -> None:
    """Refuse layer pairs out of bounds, and too many.

    Raises:
        InputError: they are.
    """
    if len(pairs) > MAX_PAIRS:
        raise InputError("too many layer pairs", found=len(pairs), bound=MAX_PAIRS)
    for name, (low, high) in _PAIR_BOUNDS.items():
        wrong = np.flatnonzero((pairs[name] < low) | (pairs[name] > high))
        if len(wrong):
            row, found = int(wrong[0]), int(pairs[name][wrong[0]])
            fields = {"constant": name, "row": row, "found": found, "bound": [low, high]}
            raise InputError("a layer pair is out of bounds", **fields)


@dataclass(frozen=True, eq=False)
class PatatrackConfig:
    """All constants of one configuration.

    Raises:
        InputError: a constant is no number, of the wrong kind, or out of bounds.
    """

    name: str
    charge: ChargeCalibration = ChargeCalibration()
    clusters: ClusterCuts = ClusterCuts()
    positions: PositionErrors = PositionErrors()
    layer_pairs: Array = field(default_factory=lambda: REFERENCE_PAIRS)
    doublets: DoubletCuts = DoubletCuts()
    connections: ConnectionCuts = ConnectionCuts()
    ntuplets: NtupletRules = NtupletRules()
    fit: FitConstants = FitConstants()
    quality: QualityCuts | ScoreCuts = QualityCuts()
    vertices: VertexCuts | MixtureCuts = VertexCuts()

    def __post_init__(self) -> None:
        for section, given in vars(self).copy().items():
            if hasattr(given, "_field_defaults"):
                each = zip(given._fields, given, given._field_defaults.values(), strict=True)
                kept = type(given)(*(_of_its_kind(section, *one) for one in each))
                _check_bounds(section, kept)
                object.__setattr__(self, section, kept)
        pairs = np.array(self.layer_pairs)
        if pairs.ndim != 1 or pairs.dtype.names != LAYER_PAIR.names:
            found, bound = f"{pairs.dtype}{list(pairs.shape)}", f"{LAYER_PAIR}[-1]"
            raise InputError("no such layer pairs", found=found, bound=bound)
        _check_pairs(pairs)
        object.__setattr__(self, "layer_pairs", pairs.astype(LAYER_PAIR))


_MIN_PT = 0.45
"""GeV: of the doublets of the default configuration."""
_STEPS = {(0, 1): 4.3, (1, 2): 4.5, (2, 3): 5.6, (0, 2): 8.5, (1, 3): 9.8}
"""Widest step in r between barrel layers, cm."""
_TO_DISK = {(0, 4): 12, (0, 7): 12, (1, 4): 10, (1, 7): 10, (0, 5): 12, (0, 8): 12}


def _wide_pairs() -> Array:
    """The reference's layer pairs with windows in phi for both charges of ``_MIN_PT``."""
    pairs = REFERENCE_PAIRS.copy()
    for pair in pairs:
        layers = int(pair["inner"]), int(pair["outer"])
        pair["max_dr"] = _TO_DISK.get(layers, pair["max_dr"])
        step = _STEPS.get(layers, float(pair["max_dr"]))
        bend = step / (2 * _MIN_PT / PT_PER_RADIUS)
        pair["phi"] = int(1.08 * bend * 32768 / np.pi)  # 8 % for scattering
    return pairs


_SCORE = ScoreCuts()

REFERENCE = PatatrackConfig("reference")
DEFAULT = PatatrackConfig(
    "default",
    positions=PositionErrors(from_shape=True),
    layer_pairs=_wide_pairs(),
    doublets=DoubletCuts(
        max_z0=f32(12.5),
        min_radius=f32(_MIN_PT / PT_PER_RADIUS),
        max_shortness=f32(6),
        max_shortness_skipping=f32(3),
        max_excess=f32(28),
        max_excess_skipping=f32(18),
    ),
    connections=ConnectionCuts(
        theta_barrel=f32(0.0026),
        theta_forward=f32(0.0039),
        both_charges=True,
        max_dca_skipping=f32(0.04),
    ),
    ntuplets=NtupletRules(only_longest=False),
    fit=FitConstants(
        scattering=0.93 * KICK**2,  # of the core of the angles, which have a tail
        max_hits=MAX_HITS,
        thin_layers=True,
        triplet_chi2=11.0,
        long_chi2=_SCORE.long_cost,
    ),
    quality=_SCORE,
    vertices=MixtureCuts(max_zip=_SCORE.zip),
)
CONFIGS = {config.name: config for config in (DEFAULT, REFERENCE)}


def find_config(name: str) -> PatatrackConfig:
    """The configuration of this name.

    Raises:
        InputError: there is none.
    """
    if name not in CONFIGS:
        raise InputError("no such configuration", found=name, bound=sorted(CONFIGS))
    return CONFIGS[name]
