"""What a served model says of itself, in the parameters of its configuration."""

from __future__ import annotations

TRACKER = "tracker"
"""Name of the tracker. It tells a client how to speak to the model, whatever its name is."""
DEVICE = "device"
"""Where the tracker runs, as in "cpu"."""
