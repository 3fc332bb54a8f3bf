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

from .columns import Array, Columns, column

MAX_HITS = 5
"""Hits per track at most: four barrel layers and one jump, or three layers and two disks."""
VARIANCES = (0, 5, 9, 12, 14)
"""Elements of :attr:`Tracks.covariance` that are variances, in the order of the parameters."""
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
    """

    data: Array
    beam_spot: BeamSpot = BeamSpot()
    event: int = 0


@dataclass(frozen=True, eq=False)
class Digis(Columns):
    """Valid pixels above threshold, in the order of unpacking, modules contiguous."""

    module: Array = column(np.uint16)
    row: Array = column(np.uint16)
    col: Array = column(np.uint16)
    charge: Array = column(np.uint16)
    """Electrons."""
    cluster: Array = column(np.int32)
    """Row in :class:`Clusters`; -1 if the cluster failed the charge cut."""


@dataclass(frozen=True, eq=False)
class Clusters(Columns):
    """Connected pixels of one module, ordered by module, then by first pixel."""

    module: Array = column(np.uint16)
    min_row: Array = column(np.uint16)
    max_row: Array = column(np.uint16)
    min_col: Array = column(np.uint16)
    max_col: Array = column(np.uint16)
    charge: Array = column(np.int32)
    charge_min_row: Array = column(np.int32)
    """Charge in the first row; likewise for the other edges."""
    charge_max_row: Array = column(np.int32)
    charge_min_col: Array = column(np.int32)
    charge_max_col: Array = column(np.int32)


@dataclass(frozen=True, eq=False)
class Hits(Columns):
    """Measured positions, one for each row of :class:`Clusters`."""

    module: Array = column(np.uint16)
    x_local: Array = column(np.float32)
    y_local: Array = column(np.float32)
    var_x: Array = column(np.float32)
    """Variance of ``x_local``, cm^2."""
    var_y: Array = column(np.float32)
    x: Array = column(np.float32)
    y: Array = column(np.float32)
    z: Array = column(np.float32)
    r: Array = column(np.float32)
    phi: Array = column(np.int16)
    """Azimuth in units of pi/32768."""
    charge: Array = column(np.int32)
    size_x: Array = column(np.int16)
    """Cluster length in eighths of a pixel; negative if it touches the module's edge."""
    size_y: Array = column(np.int16)


@dataclass(frozen=True, eq=False)
class Doublets(Columns):
    """Pairs of hits on a layer pair; the cells of the cellular automaton."""

    inner: Array = column(np.int32)
    """Row in :class:`Hits`."""
    outer: Array = column(np.int32)
    layer_pair: Array = column(np.uint8)
    killed: Array = column(np.bool_)
    """Removed by the fishbone cleaning."""


@dataclass(frozen=True, eq=False)
class Tracks(Columns):
    """Fitted helices at the beam spot.

    ``state`` is (phi, tip, q/pT, cot(theta), zip) in (rad, cm, 1/GeV, 1, cm), where
    tip = q (distance of the circle's centre - radius);
    ``covariance`` is the upper triangle in row order; :data:`VAR_PHI` to :data:`VAR_ZIP` are
    the places of the variances.
    """

    state: Array = column(np.float32, 5)
    covariance: Array = column(np.float32, 15)
    chi2: Array = column(np.float32)
    ndof: Array = column(np.int8)
    quality: Array = column(np.uint8)
    n_hits: Array = column(np.int8)
    hits: Array = column(np.int32, MAX_HITS)
    """Rows in :class:`Hits`, inside out; -1 after the last."""
    vertex: Array = column(np.int16)
    """Row in :class:`Vertices`; -1 if in none."""

    BAD: ClassVar[int] = 0
    DUPLICATE: ClassVar[int] = 1
    LOOSE: ClassVar[int] = 2

    @property
    def phi(self) -> Array:
        return self.state[:, 0]

    @property
    def tip(self) -> Array:
        """Transverse impact parameter, cm."""
        return self.state[:, 1]

    @property
    def pt(self) -> Array:
        with np.errstate(divide="ignore"):
            pt: Array = 1 / np.abs(self.state[:, 2])
        return pt

    @property
    def charge(self) -> Array:
        """+1 or -1, int8."""
        return np.where(self.state[:, 2] < 0, -1, 1).astype(np.int8)

    @property
    def cot_theta(self) -> Array:
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


@dataclass(frozen=True, eq=False)
class Vertices(Columns):
    """Collision points along the beam, by falling sum of pT^2."""

    z: Array = column(np.float32)
    z_error: Array = column(np.float32)
    chi2: Array = column(np.float32)
    ndof: Array = column(np.int32)
    sum_pt2: Array = column(np.float32)
    """GeV^2."""


@dataclass(frozen=True, eq=False)
class ReadoutErrors(Columns):
    """Errors in the raw words; as in CMS, unpacking goes on after them."""

    fed: Array = column(np.int32)
    word: Array = column(np.int32)
    """32-bit word in the event's stream."""
    code: Array = column(np.uint8)
    """See :data:`trackserve.trackers.patatrack.unpack.READOUT_ERRORS`."""
    value: Array = column(np.uint32)
    """The word itself."""
