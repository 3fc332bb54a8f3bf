"""A reader of the text of a Prometheus metrics page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class MetricSample(NamedTuple):
    """One line of a page: the value of a metric for some labels."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse(text: str) -> list[MetricSample]:
    """The samples of a page; ValueError if a value is no number."""
    return [
        MetricSample(name, dict(_LABEL.findall(labels)), float(value))
        for name, labels, value in _LINE.findall(text)
    ]


def total(samples: list[MetricSample], name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
