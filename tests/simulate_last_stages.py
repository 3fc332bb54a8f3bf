"""Selection and vertices of random events with several threads, on Numba's simulator: its own
process, as the simulator replaces the real thing when numba is imported.

    NUMBA_ENABLE_CUDASIM=1 python simulate_last_stages.py EVENTS RESULTS
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from last_stages import on_device
from simulator import prepare

from trackserve.device.cuda import Device


def main(events: str, results: str) -> None:
    prepare()
    found = on_device(Device(), pickle.loads(Path(events).read_bytes()))
    Path(results).write_bytes(pickle.dumps(found))


main(*sys.argv[1:])
