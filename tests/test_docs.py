"""The documentation names modules, functions, commands and options that exist."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from trackserve.cli.main import commands

ROOT = Path(__file__).parents[1]
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
UNKNOWN = ("legacy", "...", "TRACKER")
"""Trackers of the documentation that are not installed."""
SOURCES = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")]


def exists(name: str) -> bool:
    """Whether a module, or something in one, has this dotted name."""
    module, inside = name, []
    while not _is_module(module):
        module, _, last = module.rpartition(".")
        inside = [last, *inside]
    if not inside:
        return True
    found: Any = importlib.import_module(module)
    for part in inside:
        if not hasattr(found, part):
            return part in getattr(found, "__annotations__", {})
        found = getattr(found, part)
    return True


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("path", [*TEXTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_modules_exist(path: Path) -> None:
    text = path.read_text()
    names = set(re.findall(r"`{1,2}~?((?:trackserve|benchmarks)(?:\.\w+)+)(?:\(\))?`", text))
    names |= set(re.findall(r"python -m ((?:trackserve|benchmarks)\.[a-z][\w.]+)", text))
    imports = re.findall(r"^from (trackserve[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)
    for module, found in imports if path in TEXTS else ():
        names |= {f"{module}.{name.strip()}" for name in found.split(",")}
    names.discard("benchmarks.NAME")
    assert [name for name in sorted(names) if not exists(name)] == []


def command_lines(path: Path) -> Iterator[list[str]]:
    """The words of each command in a block of code or in quotes, without "trackserve"."""
    parts = path.read_text().replace("\\\n", " ").split("```")
    lines = re.findall(r"^ *trackserve (.*)$", "\n".join(parts[1::2]), re.MULTILINE)
    lines += re.findall(r"`trackserve ([^`]+)`", "\n".join(parts[::2]))
    for line in lines:
        yield re.split(r" #|\|| -- ", line)[0].split()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_commands_and_their_options_exist(path: Path) -> None:
    wrong = []
    for words in command_lines(path):
        command: Any = typer.main.get_command(commands)
        rest = [*words]
        while rest and rest[0] in getattr(command, "commands", ()):
            command = command.commands[rest.pop(0)]
        known = {"--help"}.union(*(p.opts + p.secondary_opts for p in command.params))
        if rest and hasattr(command, "commands") and rest[0] not in (*UNKNOWN, *known):
            wrong.append(words)
        if rest and rest[0] not in UNKNOWN:
            wrong += [[*words, word] for word in rest if word[:2] == "--" and word not in known]
    assert wrong == []
