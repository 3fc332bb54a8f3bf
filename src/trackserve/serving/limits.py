"""How much a served model takes on at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

from trackserve.errors import InputError

WHEN_FULL = ("busy", "wait")


@dataclass(frozen=True)
class Limits:
    """Parameters of a model in Triton, the same for all models.

    Args:
        workers: batches that run at the same time; 0 is one per core.
        batch_events: most events of a batch.
        batch_bytes: most bytes of a batch's inputs; one event may have more.
        queue: most events that the backend holds, those in work included.
        when_full: what happens to more: "busy" refuses them at once, so that memory is
            bounded; "wait" leaves them in Triton's own queue, which has no bound but whose
            statistics then tell the time spent there.

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
        """As Triton keeps parameters: all strings."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Self:
        """The limits among a model's parameters; one that is not there has its default.

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
    """Of a model on ``device``: a GPU has two workers, of which one prepares a batch while the
    other one's is on the device, and batches that fill it."""
    return Limits() if device == "cpu" else Limits(workers=2, batch_events=64)
