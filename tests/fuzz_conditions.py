"""Write random bytes into the files of conditions, and reconstruct an event with each.

    python tests/fuzz_conditions.py DIRECTORY CONFIGURATION ROUNDS [SEED]

A process of its own, so that a fault of memory shows. With ``NUMBA_BOUNDSCHECK=1`` and a
``NUMBA_CACHE_DIR`` of its own, a read outside a table shows even where memory is not at fault.
"""

from __future__ import annotations

import faulthandler
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from trackserve import PatatrackPipeline
from trackserve.edm.result import Result
from trackserve.errors import ConditionsError
from trackserve.io import open_pixel, read_conditions

FILES = ("fedIds", "cablingMap", "gain", "cpefast", "beamspot")
VALUES = np.array([np.nan, np.inf, 1e30, -1e30, 1e-40, -1, 0], np.float32)
HEAD = 26_000
"""Bytes at the start of a file, where gain.bin has all but its gains."""


def damaged(whole: bytes, random: np.random.Generator) -> bytes:
    """Replace 1 to 256 bytes in a row, up to 20 times, by random ones, set bits or bad numbers."""
    data = bytearray(whole)
    n = min(int(random.choice([1, 4, 8, 64, 256])), len(data))
    room = min(len(data), int(random.choice([300, HEAD, len(data)]))) - n
    for _ in range(random.choice([1, 3, 20])):
        at = int(random.integers(room + 1)) // min(n, 4) * min(n, 4)
        kinds = (random.bytes(n), b"\xff" * n, random.choice(VALUES).tobytes() * 64)
        data[at : at + n] = kinds[random.integers(len(kinds))][:n]
    return bytes(data)


def main(directory: Path, config: str, rounds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    event = open_pixel(directory)[0]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(directory, Path(temporary) / "copy"))
        for number in range(rounds):
            file = copy / f"{FILES[random.integers(len(FILES))]}.bin"
            whole = file.read_bytes()
            file.write_bytes(damaged(whole, random))
            print(seed, number, file.name, flush=True)
            try:
                pipeline = PatatrackPipeline(read_conditions(copy), config)
                (result,) = pipeline.run([event], ("digis", "clusters", "hits", "doublets"))
                assert isinstance(result, Result), result
            except ConditionsError as error:
                if not error.file.endswith(file.name):
                    raise
            file.write_bytes(whole)


if __name__ == "__main__":
    faulthandler.enable()
    folder, name, n, *rest = sys.argv[1:]
    main(Path(folder), name, int(n), int(*rest or [0]))
