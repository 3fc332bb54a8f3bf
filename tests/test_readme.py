"""The readme of the metadata: a package index has no files beside it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    pytest.importorskip("hatchling", reason="the package hatchling is not installed")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets(text: str) -> list[str]:
    """Targets of the links and pictures of Markdown."""
    return re.findall(r"\]\(([^)]+)\)", text)


def test_without_a_repository_links_to_files_are_their_text(hatch_build: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    index = hatch_build.readme_of_index(text, "", "v1")
    assert [target for target in targets(index) if not target.startswith("http")] == []
    assert "![" not in index
    (shown,) = set(re.findall(r"\[(docs/training\.md)\]", text)) or {""}
    assert shown in index


def test_with_a_repository_links_lead_there(hatch_build: ModuleType) -> None:
    text = "![a](docs/a.png) [b](docs/b.md#c) [d](https://d.org) [e](#f)"
    index = hatch_build.readme_of_index(text, "https://g.org/h/", "v1")
    assert targets(index) == [
        "https://g.org/h/raw/v1/docs/a.png",
        "https://g.org/h/blob/v1/docs/b.md#c",
        "https://d.org",
        "#f",
    ]
