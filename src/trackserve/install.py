"""How this package is installed here, and so the command that installs an extra."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname


def install_command(extra: str = "") -> str:
    """The shell command that installs this package with an extra, from where it came from.

    That is a clone, a wheel on disk, a repository, or else a package index.

    Args:
        extra: name of the extra; empty: none.
    """
    python = Path(sys.executable or "python3")
    beside = Path(shutil.which("pip") or "").parent == python.parent
    pip = "pip" if beside else f"{shlex.quote(str(python))} -m pip"
    return f"{pip} install {_requirement(f'[{extra}]' if extra else '')}"


def _requirement(extras: str) -> str:
    """What pip is given to install this package from where it came from (PEP 610)."""
    name = __name__.partition(".")[0]
    try:
        origin = json.loads(metadata.distribution(name).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        origin = {}
    url = origin.get("url", "")
    if vcs := origin.get("vcs_info"):
        commit = f"@{vcs['commit_id']}" if "commit_id" in vcs else ""
        return shlex.quote(f"{name}{extras} @ {vcs['vcs']}+{url}{commit}")
    if url.startswith("file:"):
        place = Path(url2pathname(urlparse(url).path))
        editable = "-e " * bool(origin.get("dir_info", {}).get("editable"))
        if place.exists():
            return f"{editable}{shlex.quote(f'{place}{extras}')}"
    elif url:
        return shlex.quote(f"{name}{extras} @ {url}")
    return shlex.quote(f"{name}{extras}")
