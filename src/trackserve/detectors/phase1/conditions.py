"""Conditions of the pixel detector, as the public reference dumps them.

The dtypes mirror the C++ structs byte for byte, padding included, so that what
was read is written back unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trackserve.edm.columns import Array
from trackserve.edm.pixel import BeamSpot

from .checks import check_conditions
from .layout import (
    CABLING_SIZE,
    COLS,
    N_LAYERS,
    N_MODULES,
)

CABLING = np.dtype(
    [
        ("fed", "<u4", CABLING_SIZE),
        ("link", "<u4", CABLING_SIZE),
        ("roc", "<u4", CABLING_SIZE),
        ("raw_id", "<u4", CABLING_SIZE),
        ("roc_in_module", "<u4", CABLING_SIZE),
        ("module", "<u4", CABLING_SIZE),
        ("bad_roc", "u1", CABLING_SIZE),
        ("size", "<u4"),
        ("padding", "V124"),
        ("n_bytes", "<u4"),
        ("skip_module", "u1", CABLING_SIZE),
    ]
)
"""``cablingMap.bin`` (CondFormats/SiPixelFedCablingMapGPU.h); index =
(FED - 1200) * 384 + (link - 1) * 8 + ROC, with links and ROCs from 1."""

GAIN = np.dtype(
    [
        ("pointer", "V8"),
        ("module", [("first", "<u4"), ("last", "<u4"), ("n_cols", "<i4")], 2000),
        ("min_ped", "<f4"),
        ("max_ped", "<f4"),
        ("min_gain", "<f4"),
        ("max_gain", "<f4"),
        ("ped_precision", "<f4"),
        ("gain_precision", "<f4"),
        ("rows_per_block", "<u4"),
        ("n_bins", "<u4"),
        ("dead", "<u4"),
        ("noisy", "<u4"),
        ("n_bytes", "<u4"),
        ("values", "u1", (N_MODULES * COLS * 2, 2)),
    ]
)
"""``gain.bin`` (CondFormats/SiPixelGainForHLTonGPU.h); ``values`` are (gain, pedestal)."""

CPE_MODULE = np.dtype(
    {
        "names": [
            *("is_barrel", "is_pos_z", "layer", "index", "raw_id"),
            *("shift_x", "shift_y", "charge_width_x", "charge_width_y"),
            *("origin", "sigma_x", "sigma_y", "position", "rotation"),
        ],
        "formats": [
            *("?", "?", "<u2", "<u2", "<u4"),
            *("<f4", "<f4", "<f4", "<f4"),
            *(("<f4", 3), ("<f4", 3), ("<f4", 3), ("<f4", 3), ("<f4", (3, 3))),
        ],
        "offsets": [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 40, 52, 64, 76],
        "itemsize": 112,
    }
)
"""``DetParams``: ``origin`` is the global origin in the local frame; the rows of
``rotation`` are the local axes in global coordinates."""

CPE = np.dtype(
    [
        ("thickness_barrel", "<f4"),
        ("thickness_endcap", "<f4"),
        ("pitch_x", "<f4"),
        ("pitch_y", "<f4"),
        ("n_modules", "<u4"),
        ("module", CPE_MODULE, N_MODULES),
        ("ladder", "<f4", (6, 148)),
        ("endcap_z", "<f4", 2),
        ("layer_start", "<u4", N_LAYERS + 1),
        ("layer", "u1", N_MODULES // 16),
    ]
)
"""``cpefast.bin`` (CondFormats/PixelCPEFast.cc): parameters of the position estimate."""


TYPICAL_MATERIAL = 0.02
"""Radiation lengths of a module where nothing better is known."""


@dataclass(frozen=True, eq=False)
class PixelConditions:
    """Conditions of the detector, as far as reconstruction needs them.

    Raises:
        ConditionsError: what they say is impossible; see :func:`.checks.check_conditions`.

    Attributes:
        fed_ids: uint32[n], FED ids in the order of unpacking.
        cabling: one record of :data:`CABLING`.
        gain: one record of :data:`GAIN`.
        cpe: one record of :data:`CPE`.
        beam_spot: the default beam spot.
        material: float32[1856], radiation lengths of each module, crossed at right angles,
            with all the dead material that belongs to it.
    """

    fed_ids: Array
    cabling: Array
    gain: Array
    cpe: Array
    beam_spot: BeamSpot
    material: Array = field(default_factory=lambda: np.full(N_MODULES, TYPICAL_MATERIAL, "<f4"))

    def __post_init__(self) -> None:
        check_conditions(self)
