"""What a client learns of a model on a server."""

from __future__ import annotations

from typing import Any, NamedTuple

from trackserve.errors import InputError, TrackserveError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker, tracker_names, tracker_of
from trackserve.wire.bundle import BUNDLE
from trackserve.wire.codec import IDENTITY, TIMING
from trackserve.wire.identity import TRACKER_PARAMETER
from trackserve.wire.version import WIRE_PARAMETER, check_wire

from .transport import ModelConfig


class ServedModel(NamedTuple):
    """A model on a server.

    Attributes:
        name: its name.
        tracker: its tracker.
        has_identity: whether it says its identity.
        has_timing: whether it says its times.
        has_bundles: whether a request to it may have several events.
    """

    name: str
    tracker: Tracker[Any, Any]
    has_identity: bool
    has_timing: bool = True
    has_bundles: bool = True


def served_model(config: ModelConfig, name: str, url: str) -> ServedModel:
    """The model that a server describes.

    A model that trackserve wrote names its tracker. Another one is that of the tracker whose
    tensors it has.

    Args:
        config: what the server says of the model.
        name: name of the model.
        url: url of the server, for errors.

    Raises:
        InputError: no tracker that is installed here fits.
        WireMismatch: the server is of a version that this one does not go together with.
        TrackserveError: the package of the tracker cannot be imported.
    """
    if TRACKER_PARAMETER in config.parameters:
        check_wire(config.parameters.get(WIRE_PARAMETER), model=name, url=url)
    fitting = [] if TRACKER_PARAMETER in config.parameters else _fitting(config)
    tracker = (
        fitting[0] if len(fitting) == 1 else tracker_of(config.parameters, model=name, url=url)
    )
    return ServedModel(
        name,
        tracker,
        IDENTITY.name in config.outputs,
        TIMING.name in config.outputs,
        BUNDLE.name in config.inputs,
    )


def _fitting(config: ModelConfig) -> list[Tracker[Any, Any]]:
    """The installed trackers whose events a model takes and whose results it returns."""
    found = []
    for name in tracker_names():
        try:
            tracker = find_tracker(name)
            takes = {spec.name for spec in tracker.codec.inputs if not spec.optional}
            returns = set(tracker.codec.output_names(tracker.result.intermediates()))
        except (InputError, TrackserveError):
            continue
        if takes <= set(config.inputs) and returns <= set(config.outputs):
            found.append(tracker)
    return found
