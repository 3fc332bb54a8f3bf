"""The CMS Phase-1 pixel detector: counts and offsets that never change.

Source: ``Geometry/phase1PixelTopology.h`` and ``CUDADataFormats/gpuClusteringConstants.h``
of the public reference (cms-patatrack/pixeltrack-standalone).
"""

from __future__ import annotations

import numpy as np

N_MODULES = 1856
N_LAYERS = 10
"""Barrel layers 1-4 are 0-3, the disks at z > 0 are 4-6, those at z < 0 are 7-9."""
LAYER_START = np.array([0, 96, 320, 672, 1184, 1296, 1408, 1520, 1632, 1744, 1856], np.int32)
"""First module of each layer, and the number of modules at the end."""
N_BARREL_LAYERS = 4
FIRST_BARREL_2 = 96
FIRST_BARREL_4 = 672
FIRST_ENDCAP = 1184

ROWS = 160
COLS = 416
ROC_ROWS = 80
ROC_COLS = 52
ROCS_PER_MODULE = 16

PT_PER_RADIUS = 0.0114256972711507
"""GeV/cm: pT of a unit charge over its radius, in 3.8112 T (``CAHitNtupletCUDA.cc``)."""

FIRST_FED = 1200
PILOT_BLADE_FED = 40
"""Id of a FED that is not unpacked."""
MAX_FED_ID = 4096
MAX_FEDS = 150
LINKS_PER_FED = 48
ROCS_PER_LINK = 8
CABLING_SIZE = MAX_FEDS * LINKS_PER_FED * ROCS_PER_LINK
