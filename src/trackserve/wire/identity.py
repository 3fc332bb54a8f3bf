"""Parameters in the configuration of a served model; they describe the model."""

from __future__ import annotations

TRACKER_PARAMETER = "tracker"
"""Name of the tracker. It tells a client how to speak to the model, whatever its name is."""
DEVICE_PARAMETER = "device"
"""Device of the tracker, as in "cpu"."""
