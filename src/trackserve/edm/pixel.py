"""The nouns of pixel tracking, from raw words to vertices.

Lengths are in cm, momenta in GeV, charges in electrons, angles in rad. Hit
positions, ``tip``, ``zip`` and vertex ``z`` are relative to the beam spot, as in
the public reference. "Row" counts along local x (0..159), "column" along local
y (0..415).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .columns import OFFSET, Array, Columns, Ragged, column

MAX_HITS = 5
"""Hits per track at most: four barrel layers and one jump, or three layers and two disks."""
VARIANCES = (0, 5, 9, 12, 14)
"""Elements of the upper triangle of a covariance of five parameters, as :attr:`Tracks.covariance`,
that are variances, in the order of the parameters."""
VAR_PHI, VAR_TIP, VAR_Q_OVER_PT, VAR_COT_THETA, VAR_ZIP = VARIANCES


@dataclass(frozen=True)
class BeamSpot:
    """Place where the beams meet, cm; fields in the order of ``BeamSpotPOD``."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    sigma_z: float = 0.0
    width_x: float = 0.0
    width_y: float = 0.0
    dxdz: float = 0.0
    dydz: float = 0.0
    emittance_x: float = 0.0
    emittance_y: float = 0.0
    beta_star: float = 0.0

    def position(self) -> Array:
        """Return x, y and z as float32[3], cm."""
        return np.array([self.x, self.y, self.z], np.float32)


@dataclass(frozen=True, eq=False)
class RawEvent:
    """One event as it comes off the detector.

    Attributes:
        data: uint8[n], the FED stream: uint32 number of FEDs, then for each FED
            uint32 id, uint32 size in bytes and that many bytes of payload.
        beam_spot: the beam spot of the event.
        event: its number, used in results and errors.
        conditions: tag of its conditions; empty: those of the pipeline.
    """

    data: Array
    beam_spot: BeamSpot = BeamSpot()
    event: int = 0
    conditions: str = ""


@dataclass(frozen=True, eq=False)
class Digis(Columns):
    """Valid pixels above threshold, in the order of unpacking, modules contiguous."""

    module: Array = column(np.uint16)
    """Module, 0..1855."""
    row: Array = column(np.uint16)
    """Row in the module, 0..159."""
    col: Array = column(np.uint16)
    """Column in the module, 0..415."""
    charge: Array = column(np.uint16)
    """Electrons."""
    cluster: Array = column(np.int32)
    """Row in :class:`Clusters`; -1 if the cluster failed the charge cut."""


@dataclass(frozen=True, eq=False)
class Clusters(Columns):
    """Connected pixels of one module, ordered by module, then by first pixel."""

    module: Array = column(np.uint16)
    """Module, 0..1855."""
    min_row: Array = column(np.uint16)
    """First row."""
    max_row: Array = column(np.uint16)
    """Last row."""
    min_col: Array = column(np.uint16)
    """First column."""
    max_col: Array = column(np.uint16)
    """Last column."""
    charge: Array = column(np.int32)
    """Charge, electrons."""
    charge_min_row: Array = column(np.int32)
    """Charge in the first row, electrons."""
    charge_max_row: Array = column(np.int32)
    """Charge in the last row, electrons."""
    charge_min_col: Array = column(np.int32)
    """Charge in the first column, electrons."""
    charge_max_col: Array = column(np.int32)
    """Charge in the last column, electrons."""


@dataclass(frozen=True, eq=False)
class Hits(Columns):
    """Measured positions, one for each row of :class:`Clusters`."""

    module: Array = column(np.uint16)
    """Module, 0..1855."""
    x_local: Array = column(np.float32)
    """Position across the rows, in the module, cm."""
    y_local: Array = column(np.float32)
    """Position along the columns, in the module, cm."""
    var_x: Array = column(np.float32)
    """Variance of ``x_local``, cm^2."""
    var_y: Array = column(np.float32)
    """Variance of ``y_local``, cm^2."""
    x: Array = column(np.float32)
    """x, relative to the beam spot, cm."""
    y: Array = column(np.float32)
    """y, relative to the beam spot, cm."""
    z: Array = column(np.float32)
    """z, relative to the beam spot, cm."""
    r: Array = column(np.float32)
    """Distance from the beam line, cm."""
    phi: Array = column(np.int16)
    """Azimuth in units of pi/32768 rad."""
    charge: Array = column(np.int32)
    """Charge of the cluster, electrons."""
    size_x: Array = column(np.int16)
    """Length along x in eighths of a pixel; negative if the cluster touches the edge."""
    size_y: Array = column(np.int16)
    """Length along y in eighths of a pixel; negative if the cluster touches the edge."""


@dataclass(frozen=True, eq=False)
class Doublets(Columns):
    """Pairs of hits on a layer pair; the cells of the cellular automaton."""

    inner: Array = column(np.int32)
    """Inner hit, row in :class:`Hits`."""
    outer: Array = column(np.int32)
    """Outer hit, row in :class:`Hits`."""
    layer_pair: Array = column(np.uint8)
    """Row of the layer pairs that the tracker connects."""
    killed: Array = column(np.bool_)
    """Whether the fishbone cleaning removed it."""


@dataclass(frozen=True, eq=False)
class Tracks(Columns):
    """Fitted helices at the beam spot.

    ``state`` is (phi, tip, q/pT, cot(theta), zip) in (rad, cm, 1/GeV, 1, cm), where
    tip = q (distance of the circle's centre - radius);
    ``covariance`` is the upper triangle in row order; :data:`VAR_PHI` to :data:`VAR_ZIP` are
    the places of the variances.
    """

    state: Array = column(np.float32, 5)
    """phi, tip, q/pT, cot(theta), zip; rad, cm, 1/GeV, 1, cm."""
    covariance: Array = column(np.float32, 15)
    """Upper triangle of the covariance of the state, in row order."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int8)
    """Degrees of freedom of the fit."""
    quality: Array = column(np.uint8)
    """0 bad, 1 duplicate, 2 loose."""
    n_hits: Array = column(np.int8)
    """Number of hits."""
    hits: Array = column(np.int32, MAX_HITS)
    """Rows in :class:`Hits`, from the inside out; -1 after the last."""
    vertex: Array = column(np.int16)
    """Row in :class:`Vertices`; -1 if in none."""

    BAD: ClassVar[int] = 0
    DUPLICATE: ClassVar[int] = 1
    LOOSE: ClassVar[int] = 2

    @property
    def phi(self) -> Array:
        """Azimuth of the direction at the beam spot, rad."""
        return self.state[:, 0]

    @property
    def tip(self) -> Array:
        """Transverse impact parameter, cm."""
        return self.state[:, 1]

    @property
    def pt(self) -> Array:
        """Transverse momentum, GeV."""
        with np.errstate(divide="ignore"):
            pt: Array = 1 / np.abs(self.state[:, 2])
        return pt

    @property
    def charge(self) -> Array:
        """Charge, +1 or -1."""
        return np.where(self.state[:, 2] < 0, -1, 1).astype(np.int8)

    @property
    def q_over_pt(self) -> Array:
        """Charge over transverse momentum, 1/GeV."""
        return self.state[:, 2]

    @property
    def cot_theta(self) -> Array:
        """Cotangent of the polar angle."""
        return self.state[:, 3]

    @property
    def eta(self) -> Array:
        """Pseudorapidity of the direction."""
        # of a column numpy takes another formula if the result happens to lie right behind it
        eta: Array = np.arcsinh(self.cot_theta.copy())
        return eta

    @property
    def zip(self) -> Array:
        """Longitudinal impact parameter, cm."""
        return self.state[:, 4]

    @property
    def hit_rows(self) -> Ragged:
        """The rows in ``hits`` as a list for each track, without those that are not there."""
        offsets = np.zeros(len(self) + 1, OFFSET)
        offsets[1:] = np.cumsum(self.n_hits.astype(OFFSET))
        return Ragged(offsets, self.hits[self.hits >= 0])

    @property
    def covariance_matrix(self) -> Array:
        """Covariance of the state, float32[n, 5, 5], symmetric."""
        matrix = np.empty((len(self), 5, 5), np.float32)
        row, col = np.triu_indices(5)
        matrix[:, row, col] = matrix[:, col, row] = self.covariance
        return matrix


@dataclass(frozen=True, eq=False)
class Vertices(Columns):
    """Collision points along the beam, by falling sum of pT^2."""

    z: Array = column(np.float32)
    """z, relative to the beam spot, cm."""
    z_error: Array = column(np.float32)
    """Error of ``z``, cm."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int32)
    """Degrees of freedom of the fit."""
    sum_pt2: Array = column(np.float32)
    """Sum of pT^2 of the tracks, GeV^2."""


@dataclass(frozen=True, eq=False)
class ReadoutErrors(Columns):
    """Errors in the raw words; as in CMS, unpacking goes on after them."""

    fed: Array = column(np.int32)
    """Id of the FED."""
    word: Array = column(np.int32)
    """32-bit word in the event's stream."""
    code: Array = column(np.uint8)
    """Kind of error: see :data:`trackserve.trackers.patatrack.unpack.READOUT_ERRORS`."""
    value: Array = column(np.uint32)
    """The word itself."""
