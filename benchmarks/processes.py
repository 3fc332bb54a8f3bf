"""The processes of a server: memory and shared memory."""

from __future__ import annotations

import os
import re
from pathlib import Path


def of_group(group: int) -> dict[int, str]:
    """Names of the living processes of a process group, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
            except OSError:
                pass
    return found


def backend_of(group: int) -> int:
    """Process id of the backend in Triton's group; the native one is Triton itself."""
    found = (pid for pid, name in of_group(group).items() if name.startswith("triton_python"))
    return next(found, group)


def resident(group: int) -> int:
    """Resident memory of the processes of a group, bytes."""
    return sum(resident_of(pid) for pid in of_group(group))


def resident_of(pid: int) -> int:
    """Resident memory of a process, bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    return 1024 * int(found[1]) if found else 0


def shared_memory_of(pid: int) -> list[Path]:
    """Files of the shared memory of the Python backends of the server ``pid``."""
    command = Path(f"/proc/{pid}/cmdline").read_text()
    prefix = re.search(r"shm-region-prefix-name=([\w-]+)", command)
    assert prefix
    return list(Path("/dev/shm").glob(f"{prefix[1]}*"))
