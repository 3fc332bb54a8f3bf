"""Checks of conditions: what they say is possible, whatever file or program they come from."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import ConditionsError

from .layout import (
    COLS,
    FIRST_BARREL_2,
    FIRST_ENDCAP,
    FIRST_FED,
    LAYER_START,
    MAX_FEDS,
    N_MODULES,
    PILOT_BLADE_FED,
    ROCS_PER_MODULE,
    ROWS,
)

if TYPE_CHECKING:
    from .conditions import PixelConditions

_UNIT = 1e-3
"""How far the axes of a module may be from orthogonal unit vectors."""
BEAM_SPOT_LIMITS = np.array([2, 2, 30], np.float32)
"""Largest |x|, |y| and |z| of a beam spot, cm: inside the beam pipe and the pixel barrel."""
_FAR = 1000
"""Largest length of the position estimate, cm."""
_MAX_GAIN = 1000
"""Largest gain, VCAL/ADC, and pedestal, ADC counts."""


def check_conditions(conditions: PixelConditions) -> None:
    """Refuse conditions that no detector has, so that no loop reads outside its tables.

    Raises:
        ConditionsError: a value is not finite, out of range, or contradicts another; ``file`` is
            the name of the file that holds it, ``at`` its place there.
    """
    _check_feds(conditions.fed_ids)
    _check_cabling(conditions.cabling)
    _check_gain(conditions.gain)
    _check_positions(conditions.cpe)
    material = conditions.material
    _require("material.bin", "thickness is not positive", material, _is_positive(material), "> 0")
    check_beam_spot(np.array(astuple(conditions.beam_spot)))


def check_beam_spot(values: Array) -> None:
    """Refuse a beam spot that is not finite, or not inside the beam pipe.

    Raises:
        ConditionsError: as :func:`check_conditions`.
    """
    _require("beamspot.bin", "beam spot is not finite", values, np.isfinite(values), "finite")
    position = values[:3]
    inside = np.abs(position) <= BEAM_SPOT_LIMITS
    bound = f"at most {BEAM_SPOT_LIMITS.tolist()} cm"
    _require("beamspot.bin", "beam spot is not inside the beam pipe", position, inside, bound)


def is_beam_spot(position: Array) -> bool:
    """Whether a position (float32[3], cm) is finite and inside the beam pipe."""
    limits = BEAM_SPOT_LIMITS.tolist()
    return all(abs(x) <= most for x, most in zip(position.tolist(), limits, strict=True))


def _check_feds(fed_ids: Array) -> None:
    last = FIRST_FED + MAX_FEDS - 1
    known = (fed_ids == PILOT_BLADE_FED) | ((fed_ids >= FIRST_FED) & (fed_ids <= last))
    _require("fedIds.bin", "FED id out of range", fed_ids, known, f"{FIRST_FED}..{last}")
    _require("fedIds.bin", "FED id stands there twice", fed_ids, _is_first(fed_ids), "once")


def _check_cabling(cabling: Array) -> None:
    file = "cablingMap.bin"
    module, in_module = cabling["module"].astype(np.int64), cabling["roc_in_module"]
    cabled = (module < N_MODULES) & (in_module < ROCS_PER_MODULE)
    rocs = np.where(cabled, module * ROCS_PER_MODULE + in_module, -1 - np.arange(len(module)))
    bound = "one channel for each ROC"
    _require(file, "ROC is cabled twice", module, _is_first(rocs), bound, "channel")
    in_barrel = (cabling["raw_id"] >> 25) & 7 == 1
    agrees = ~cabled | (in_barrel == (module < FIRST_ENDCAP))
    bound = f"modules below {FIRST_ENDCAP} in the barrel"
    _require(file, "raw id contradicts the module", cabling["raw_id"], agrees, bound, "channel")
    in_first = in_barrel & ((cabling["raw_id"] >> 20) & 0xF == 1)
    agrees = ~cabled | (in_first == (module < FIRST_BARREL_2))
    bound = f"modules below {FIRST_BARREL_2} in barrel layer 1"
    _require(file, "raw id contradicts the module", cabling["raw_id"], agrees, bound, "channel")


def _check_gain(gain: Array) -> None:
    file = "gain.bin"
    for name in ("min_ped", "min_gain", "ped_precision", "gain_precision"):
        value = gain[name].reshape(1)
        bound = f"-{_MAX_GAIN}..{_MAX_GAIN}"
        _require(file, f"{name} is out of range", value, np.abs(value) <= _MAX_GAIN, bound)
    per_block = gain["rows_per_block"].reshape(1)
    bound = f"1..{ROWS}"
    _require(file, "rows of a block", per_block, (per_block > 0) & (per_block <= ROWS), bound)
    n_blocks = -(-ROWS // int(per_block[0]))
    module = gain["module"][:N_MODULES]
    first, last = module["first"].astype(np.int64), module["last"].astype(np.int64)
    size = int(gain["values"].size)
    _require(file, "range of a module", first, (first % 2 == 0) & (first < last), "even, < last")
    _require(file, "end of a module", last, last <= size, f"<= {size}")
    columns = module["n_cols"].astype(np.int64)
    _require(file, "columns of a module", columns, columns >= COLS, f">= {COLS}")
    blocks = (last - first) // 2 // columns
    bound = f">= {n_blocks}"
    _require(file, "blocks of a column", blocks, blocks >= n_blocks, bound)


def _check_positions(cpe: Array) -> None:
    file = "cpefast.bin"
    for name in ("thickness_barrel", "thickness_endcap", "pitch_x", "pitch_y"):
        value = cpe[name].reshape(1)
        good = (value > 0) & (value <= _FAR)
        _require(file, f"{name} is out of range", value, good, f"0..{_FAR} cm")
    module = cpe["module"]
    for name in ("shift_x", "shift_y", "charge_width_x", "charge_width_y", "origin", "position"):
        near = (np.abs(module[name]) <= _FAR).reshape(N_MODULES, -1).all(axis=1)
        _require(file, f"{name} is out of range", module[name], near, f"-{_FAR}..{_FAR} cm")
    for name in ("sigma_x", "sigma_y"):
        good = ((module[name] > 0) & (module[name] <= _FAR)).all(axis=1)
        _require(file, f"{name} is out of range", module[name], good, f"0..{_FAR} cm")
    with np.errstate(invalid="ignore", over="ignore"):
        axes = module["rotation"].astype(np.float64)
        wrong = np.abs(axes @ axes.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    _require(file, "axes are not at right angles", wrong, wrong < _UNIT, f"< {_UNIT}")
    in_barrel = np.arange(N_MODULES) < FIRST_ENDCAP
    agrees = module["is_barrel"] == in_barrel
    bound = f"modules below {FIRST_ENDCAP}"
    _require(file, "module is in the wrong half of barrel and endcap", agrees, agrees, bound)
    start = cpe["layer_start"]
    _require(file, "first module of a layer", start, start == LAYER_START, "those of Phase-1")


def _is_positive(values: Array) -> Array:
    return np.isfinite(values) & (values > 0)


def _is_first(values: Array) -> Array:
    """Whether no earlier value is equal, bool[n]."""
    first = np.zeros(len(values), np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _require(
    file: str, problem: str, values: Array, good: Array, bound: Any, row: str = "row"
) -> None:
    if good.all():
        return
    place = int(np.argmin(good))
    raise ConditionsError(
        problem, file=file, at=f"{row} {place}", found=values[place].tolist(), bound=bound
    )
