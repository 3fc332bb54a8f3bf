"""Elementary functions without a branch or a call: loops of them become vector instructions.

Their bits are the same on every processor, other than those of a mathematical library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compile import shared

_i64: Any = np.int64
_f64: Any = np.float64
_MANTISSA_BITS = 52
_MANTISSA = (1 << _MANTISSA_BITS) - 1
_BIAS = 1023
_ONE = _BIAS << _MANTISSA_BITS
_WHOLE = (_BIAS + _MANTISSA_BITS) << _MANTISSA_BITS
"""Bits of 2^52: an integer that is its mantissa is added to it."""
_TO_EXPONENT = 2.0**_MANTISSA_BITS + _BIAS
_LN_2 = math.log(2.0)
_SQRT_2 = math.sqrt(2.0)
_TAN_PI_8 = math.sqrt(2.0) - 1.0
_ATAN_3, _ATAN_5, _ATAN_7 = -0.33333333315039704, 0.19999998683178288, -0.14285672334414967
_ATAN_9, _ATAN_11, _ATAN_13 = 0.11110333336355918, -0.09081633859943258, 0.07618150244182756
_ATAN_15, _ATAN_17, _ATAN_19 = -0.06265264225389991, 0.04432841610094333, -0.01901749908746039
"""Coefficients of atan(t) up to pi/8 beyond t."""
_PER_QUARTER = 2.0 / math.pi
_QUARTER, _QUARTER_REST = math.pi / 2.0, 6.123233995736766e-17
"""pi/2, as a number and what that lacks."""
_NEAREST = 1.5 * 2.0**_MANTISSA_BITS
"""A number that is added to it and taken off again is rounded to the nearest integer."""
_PER_FACTORIAL = [1.0 / math.factorial(n) for n in range(17)]
_SIN_3, _SIN_7, _SIN_11, _SIN_15 = (-value for value in _PER_FACTORIAL[3:16:4])
_SIN_5, _SIN_9, _SIN_13 = _PER_FACTORIAL[5:14:4]
_COS_4, _COS_8, _COS_12, _COS_16 = _PER_FACTORIAL[4:17:4]
_COS_6, _COS_10, _COS_14 = (-value for value in _PER_FACTORIAL[6:15:4])


@shared
def logarithm(x: float) -> float:
    """Return the natural logarithm of a positive, normal number, to 2e-14 of it or of 1.

    The mantissa, between sqrt(1/2) and sqrt(2), is (1 + t) / (1 - t), and the series that of atanh.
    """
    bits = _f64(x).view(_i64)
    exponent = _i64((bits >> _MANTISSA_BITS) | _WHOLE).view(_f64) - _TO_EXPONENT
    mantissa = _i64((bits & _MANTISSA) | _ONE).view(_f64)
    large = mantissa > _SQRT_2
    mantissa = 0.5 * mantissa if large else mantissa
    exponent = exponent + 1.0 if large else exponent
    t = (mantissa - 1.0) / (mantissa + 1.0)
    u = t * t
    high = 1 / 9 + u * (1 / 11 + u * (1 / 13 + u * (1 / 15)))
    series = 1.0 + u * (1 / 3 + u * (1 / 5 + u * (1 / 7 + u * high)))
    return exponent * _LN_2 + 2.0 * t * series


@shared
def angle_of(y: float, x: float) -> float:
    """Return atan2(y, x), to 1e-12 of it; NaN at the origin.

    The smaller coordinate over the larger one is the tangent of an angle up to pi/4. One above pi/8
    is taken from pi/4. What is left goes by an odd polynomial, a Chebyshev fit of our own.
    """
    ax, ay = abs(x), abs(y)
    steep = ay > ax
    small, large = (ax, ay) if steep else (ay, ax)
    wide = small > _TAN_PI_8 * large
    above, below = (small - large, small + large) if wide else (small, large)
    t = above / below
    u = t * t
    high = _ATAN_13 + u * (_ATAN_15 + u * (_ATAN_17 + u * _ATAN_19))
    low = _ATAN_3 + u * (_ATAN_5 + u * (_ATAN_7 + u * (_ATAN_9 + u * (_ATAN_11 + u * high))))
    angle = t + t * u * low
    angle = angle + math.pi / 4 if wide else angle
    angle = math.pi / 2 - angle if steep else angle
    angle = math.pi - angle if x < 0.0 else angle
    return -angle if y < 0.0 else angle


@shared
def cosine_and_sine(angle: float) -> tuple[float, float]:
    """Return cosine and sine of an angle between -pi and pi, to 3e-16; NaN for NaN.

    What is beyond the nearest multiple of pi/2, up to pi/4, goes by Taylor's series.
    """
    turns = (angle * _PER_QUARTER + _NEAREST) - _NEAREST
    t = (angle - turns * _QUARTER) - turns * _QUARTER_REST
    u = t * t
    high_s = _SIN_9 + u * (_SIN_11 + u * (_SIN_13 + u * _SIN_15))
    sine = t + t * u * (_SIN_3 + u * (_SIN_5 + u * (_SIN_7 + u * high_s)))
    high_c = _COS_8 + u * (_COS_10 + u * (_COS_12 + u * (_COS_14 + u * _COS_16)))
    cosine = 1.0 + u * (-0.5 + u * (_COS_4 + u * (_COS_6 + u * high_c)))
    odd = abs(turns) == 1.0
    along, across = (sine, cosine) if odd else (cosine, sine)
    return (
        -along if (turns == 1.0) | (abs(turns) == 2.0) else along,
        -across if (turns == -1.0) | (abs(turns) == 2.0) else across,
    )
