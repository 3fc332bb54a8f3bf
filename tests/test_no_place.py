"""Compiled code where nothing, or only a temporary folder, can be written to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trackserve

TESTS = Path(__file__).parent
LOOP = """
from trackserve.device.compile import kernel

@kernel
def loop(x):
    return x + 1
"""
CALL = "from trackserve.toy.loop import loop as f; print(f(1), sum(f.stats.cache_hits.values()))"
"""Prints the answer, 2, and how much compiled code was read from disk."""

_TEMPORARY = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['{}']; "


class Place:
    """A copy of the package, a home and a temporary folder, that become read-only on demand.

    Attributes:
        package, home, temporary: the three folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "site" / "trackserve"
        self.home, self.temporary = folder / "home", folder / "tmp"
        ignored = shutil.ignore_patterns("__pycache__", "models")
        shutil.copytree(Path(trackserve.__file__).parent, self.package, ignore=ignored)
        toy = self.package / "toy"
        for made in (toy, self.home, self.temporary):
            made.mkdir()
        (toy / "__init__.py").touch()
        (toy / "loop.py").write_text(LOOP)

    def protect(self, *folders: Path) -> None:
        for folder in folders:
            _allow(folder, 0o555)

    def run(
        self, script: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """The end of a script in an empty, read-only folder; /tmp is out of its reach."""
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        empty.chmod(0o555)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_", "TMP"))}
        env = kept | {
            "PYTHONPATH": str(self.package.parent),
            "HOME": str(self.home),
        }
        return subprocess.run(
            [
                *_WITHOUT_PRIVILEGE,
                sys.executable,
                "-c",
                _TEMPORARY.format(self.temporary) + script,
                *arguments,
            ],
            env=env | variables,
            cwd=empty,
            capture_output=True,
            text=True,
        )

    def call(self, **variables: str) -> tuple[list[str], list[str]]:
        """What the loop answers, and the lines on standard error."""
        done = self.run(CALL, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr.splitlines()


_WITHOUT_PRIVILEGE = (
    ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    if os.geteuid() == 0
    else []
)
"""Prefix of a command that root may not write everywhere."""


def _allow(folder: Path, mode: int) -> None:
    for path in (folder, *folder.rglob("*/")):
        path.chmod(mode)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if _WITHOUT_PRIVILEGE and shutil.which("setpriv") is None:
        pytest.skip("root writes to read-only folders here")
    yield Place(tmp_path)
    _allow(tmp_path, 0o755)


def test_code_goes_to_a_temporary_folder_where_nothing_else_can_be_written(place: Place) -> None:
    place.protect(place.package, place.home)
    answer, said = place.call()
    assert answer == ["2", "0"]
    assert len(said) == 1
    assert str(place.temporary) in said[0]
    assert place.call() == (["2", "1"], [])
    # a folder that others can write to is not read
    (folder,) = place.temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert place.call()[0] == ["2", "0"]


def test_without_any_folder_code_is_compiled_in_memory(place: Place) -> None:
    place.protect(place.package, place.home, place.temporary)
    answer, said = place.call()
    assert answer == ["2", "0"]
    assert len(said) == 1
    assert "compiled code cannot be kept" in said[0]


@pytest.mark.parametrize(
    "others",
    ["none", *(pytest.param(name, marks=pytest.mark.slow) for name in ("home", "temporary"))],
)
def test_code_beside_read_only_sources_is_used(place: Place, others: str) -> None:
    assert place.call()[0] == ["2", "0"]
    place.protect(place.package)
    if others != "home":
        place.protect(place.home)
    if others == "none":
        place.protect(place.temporary)
    assert place.call() == (["2", "1"], [])


def test_code_in_a_read_only_folder_that_the_user_names_is_used(
    place: Place, tmp_path: Path
) -> None:
    named = str(tmp_path / "named")
    assert place.call(NUMBA_CACHE_DIR=named)[0] == ["2", "0"]
    place.protect(Path(named))
    assert place.call(NUMBA_CACHE_DIR=named) == (["2", "1"], [])


@pytest.mark.slow
def test_a_damaged_entry_is_compiled_again(place: Place) -> None:
    place.call()
    for damaged in ("*.nbi", "*.nbc"):
        for file in (place.package / "toy" / "__pycache__").glob(damaged):
            file.write_bytes(b"")
        assert place.call() == (["2", "0"], [])
        assert place.call() == (["2", "1"], [])


def test_a_user_whose_home_is_not_known_gets_no_folder_of_that_name(place: Place) -> None:
    place.protect(place.package)
    script = f"import os; os.chdir({str(place.temporary)!r}); del os.environ['HOME']; "
    script += "import pwd; pwd.getpwuid = lambda number: (_ for _ in ()).throw(KeyError); "
    done = place.run(script + CALL)
    assert done.stdout.split() == ["2", "0"], done.stderr
    assert not (place.temporary / "~").exists()


@pytest.mark.slow
def test_doctor_runs_without_a_place(place: Place) -> None:
    place.protect(place.package, place.home, place.temporary)
    done = place.run("from trackserve.cli import app; app()", "doctor", COLUMNS="300")
    assert done.returncode == 0, done.stderr
    assert "yes  patatrack on this CPU" in done.stdout


def test_without_the_compiler_the_error_says_so() -> None:
    """Commands that need no loops run."""
    script = (
        "import json, sys; from command_line import command; "
        "said = [command('doctor'), command('--help'), "
        "command('bench', 'exatrkx', sys.argv[1], status=1)]; print(json.dumps(said))"
    )
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"NUMBA_DISABLE_JIT": "1", "COLUMNS": "300", "PYTHONPATH": path}
    run = [sys.executable, "-c", script, str(TESTS / "data" / "trackml-mini")]
    done = subprocess.run(run, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (doctor, _), _, (_, refused) = json.loads(done.stdout)
    assert "unset NUMBA_DISABLE_JIT" in doctor
    assert refused.startswith("error: ")
    assert "unset NUMBA_DISABLE_JIT" in refused
    assert len(refused.splitlines()) == 1
