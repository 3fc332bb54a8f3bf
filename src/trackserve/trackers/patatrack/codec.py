"""The tensors of Patatrack: raw events there, tracks and vertices back."""

from __future__ import annotations

from trackserve.wire.codec import Codec
from trackserve.wire.events import RawEventCodec

from .limits import PatatrackLimits
from .result import PatatrackResult

CODEC = Codec(RawEventCodec(), PatatrackResult, limits=PatatrackLimits)
