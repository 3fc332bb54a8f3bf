"""The command that installs an extra works from where the package came from."""

from __future__ import annotations

import json
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from trackserve.install import install_command


@pytest.fixture
def came_from(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No pip is beside this Python, so that the command begins alike everywhere."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    return monkeypatch


def command(patch: pytest.MonkeyPatch, origin: object, extra: str) -> str:
    class Installed:
        def read_text(self, name: str) -> str | None:
            return None if origin is None else json.dumps(origin)

    patch.setattr(metadata, "distribution", lambda name: Installed())
    python, *words = shlex.split(install_command(extra))
    assert python == sys.executable
    assert words[:3] == ["-m", "pip", "install"]
    return " ".join(words[3:])


def test_from_a_clone(came_from: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    origin = {"url": clone.as_uri(), "dir_info": {"editable": True}}
    assert command(came_from, origin, "gpu") == f"-e {clone}[gpu]"
    assert command(came_from, {"url": clone.as_uri(), "dir_info": {}}, "") == str(clone)


def test_from_a_wheel(came_from: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "trackserve-1-py3-none-any.whl"
    wheel.touch()
    origin = {"url": wheel.as_uri(), "archive_info": {}}
    assert command(came_from, origin, "sim") == f"{wheel}[sim]"
    wheel.unlink()
    assert command(came_from, origin, "sim") == "trackserve[sim]"


def test_from_elsewhere(came_from: pytest.MonkeyPatch) -> None:
    assert command(came_from, None, "hlt") == "trackserve[hlt]"
    vcs = {"url": "https://a.org/b", "vcs_info": {"vcs": "git", "commit_id": "c1"}}
    assert command(came_from, vcs, "hlt") == "trackserve[hlt] @ git+https://a.org/b@c1"
    url = {"url": "https://a.org/b.whl", "archive_info": {}}
    assert command(came_from, url, "hlt") == "trackserve[hlt] @ https://a.org/b.whl"


def test_a_package_that_is_not_installed_has_a_command_too(came_from: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    came_from.setattr(metadata, "distribution", missing)
    assert install_command("cpu").endswith("-m pip install 'trackserve[cpu]'")
