"""The limits on the work of a served model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

from trackserve.errors import InputError

WHEN_FULL = ("busy", "wait")


@dataclass(frozen=True)
class Limits:
    """The limits on the work of a model. They are parameters of its configuration.

    Args:
        workers: batches that run at the same time; 0 is one per core.
        batch_events: most events of a batch.
        batch_bytes: most bytes of a batch's inputs; one event may have more.
        queue: most events that the backend holds, those in work included.
        when_full: "busy" refuses further events at once, so that memory is bounded. "wait" leaves
            them in Triton's own queue. That queue has no bound, but its statistics have the time
            that requests wait there.

    Raises:
        InputError: a value is out of range.
    """

    workers: int = 0
    batch_events: int = 8
    batch_bytes: int = 64 << 20
    queue: int = 256
    when_full: str = "busy"

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("batch_events", 1), ("batch_bytes", 1), ("queue", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is too small", found=getattr(self, name), bound=least)
        if self.when_full not in WHEN_FULL:
            raise InputError("no such when_full", found=self.when_full, bound=WHEN_FULL)

    def as_parameters(self) -> dict[str, str]:
        """The limits as strings by name, because parameters in Triton are strings."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Self:
        """The limits in the parameters of a model; a limit that is missing has its default.

        Raises:
            InputError: a value is not a number or out of range.
        """
        values: dict[str, int | str] = {}
        for field in fields(cls):
            text = parameters.get(field.name, str(field.default))
            try:
                values[field.name] = int(text) if isinstance(field.default, int) else text
            except ValueError:
                raise InputError(f"{field.name} is not a number", found=text) from None
        return cls(**values)  # type: ignore[arg-type]


def default_limits(device: str) -> Limits:
    """Good limits for a model on ``device``.

    A CPU works event by event. A worker that takes one at a time leaves the others to workers that
    are free: none waits behind a large event while one of them is idle.

    A GPU has two workers: one prepares a batch while the batch of the other is on the device. Its
    batches are large enough to fill it.
    """
    return Limits(batch_events=1) if device == "cpu" else Limits(workers=2, batch_events=64)
