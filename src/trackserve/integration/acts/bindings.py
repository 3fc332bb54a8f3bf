"""ACTS' Python bindings, or the error that says how to get them."""

from __future__ import annotations

from trackserve.errors import MissingExtraError
from trackserve.install import install_command

try:
    import acts as acts  # so that it can be imported from here, with this error
    import acts.examples
    import acts.examples.json
except ImportError:
    raise MissingExtraError(f"running in ACTS needs pyacts: {install_command('acts')}") from None

examples = acts.examples
"""Algorithms, containers and the Sequencer."""
LEVEL = acts.logging.Level.WARNING
"""What algorithms report unless told otherwise."""
