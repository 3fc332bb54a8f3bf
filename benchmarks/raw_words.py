"""Hand-made FED streams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trackserve.edm import RawEvent

FED = 1260


def pixel_word(link: int, roc: int, pixel: int, double_column: int = 0, adc: int = 100) -> int:
    return link << 26 | roc << 21 | double_column << 16 | pixel << 8 | adc


def payload(words: list[int], fed: int = FED, *, length: int | None = None) -> list[int]:
    """Header, pixel words (padded to an even number) and trailer as 32-bit words."""
    words = words + [0] * (len(words) % 2)
    if length is None:
        length = len(words) // 2 + 2
    return [fed << 8, 0x5 << 28, *words, 0, 0xA << 28 | length]


def stream(feds: list[tuple[int, list[int]]], number: int = 0) -> RawEvent:
    """An event of ``(FED id, payload)``."""
    words = [len(feds)]
    for fed, content in feds:
        words += [fed, 4 * len(content), *content]
    return RawEvent(np.array(words, np.uint32).view(np.uint8), event=number)


def split(event: RawEvent) -> list[tuple[int, list[int]]]:
    """The ``(FED id, payload)`` of an event."""
    words = event.data.view(np.uint32).tolist()
    feds, at = [], 1
    for _ in range(words[0]):
        size = words[at + 1] // 4
        feds.append((words[at], words[at + 2 : at + 2 + size]))
        at += 2 + size
    return feds


def first_feds(event: RawEvent, count: int) -> RawEvent:
    """``event`` with only its first FEDs."""
    words = event.data.view(np.uint32)
    count = min(count, int(words[0]))
    end = 1
    for _ in range(count):
        end += 2 + int(words[end + 1]) // 4
    kept = words[:end].copy()
    kept[0] = count
    return replace(event, data=kept.view(np.uint8))
