"""What MkDocs does beside its plugins: pages made of the code and of files outside of ``docs``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from trackserve.cli.main import commands
from trackserve.edm.result import Result
from trackserve.integration.acts.result import FitResult
from trackserve.io.parquet import results_schema
from trackserve.trackers.registry import find_tracker, tracker_names

_ROOT = Path(__file__).parents[2]
_OUTSIDE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages that are files of the repository's root."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add pages of ``docs`` that the navigation does not name to the end of the reference."""
    named = str(config.nav)
    reference = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    for page in sorted(Path(config.docs_dir).glob("*.md")):
        if f"'{page.name}'" not in named:
            reference.append(page.name)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, source in _OUTSIDE.items():
        text = (_ROOT / source).read_text()
        files.append(File.generated(config, name, content=_inside(text)))
    files.append(File.generated(config, "columns.md", content="\n".join(_columns())))
    files.append(File.generated(config, "commands.md", content="\n".join(_commands())))
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Name links to pages by their titles; take away those to files outside of ``docs``."""
    for name, source in _OUTSIDE.items():
        markdown = markdown.replace(f"](../{source}", f"]({name}")
    titles = dict(_titles(config.nav))

    def titled(link: re.Match[str]) -> str:
        return f"[{titles.get(link[1], link[1])}]({link[2]}"

    markdown = re.sub(r"\[(?:docs/)?([\w-]+\.md)\]\(([\w-]+\.md)", titled, markdown)
    return re.sub(r"\[([^]]+)\]\(\.\./(?:benchmarks|examples|tests)[^)]*\)", r"\1", markdown)


def _titles(nav: Any) -> Iterator[tuple[str, str]]:
    """The file of each page that the navigation names, and its title there."""
    for part in nav:
        for title, page in part.items() if isinstance(part, dict) else ():
            if isinstance(page, str):
                yield page, title
            else:
                yield from _titles(page)


def _inside(text: str) -> str:
    """A text of the root with its links as a page of ``docs`` has them."""
    text = text.replace("](docs/", "](")
    text = re.sub(r"\(docs/(\w[\w-]*)\.md\)", r"([\1](\1.md))", text)
    return re.sub(r"\[([^]]+)\]\((?:benchmarks|examples|tests)[^)]*\)", r"\1", text)


def _columns() -> Iterator[str]:
    """The page of all columns of files of results."""
    yield "# Columns of results"
    yield ""
    yield (
        "`trackserve reconstruct ... -o FILE.parquet` writes a row for each event. These are the "
        "columns, with their types and units. The file has the same texts in its metadata. "
        "[Analyse the results](howto/analysis.md) has examples."
    )
    for name in tracker_names():
        yield from _table(f"`reconstruct {name}`", find_tracker(name).codec.result)
    yield from _table("`fit`", FitResult)


def _table(title: str, kind: type[Result]) -> Iterator[str]:
    optional = kind.intermediates()
    yield from ("", f"## {title}", "", "| column | type | meaning |", "|---|---|---|")
    for field in results_schema(kind, optional):
        note = f" (with `--keep {field.name}`)" if field.name in optional else ""
        yield from _rows(field, "", note)


def _rows(field: pa.Field, before: str, note: str = "") -> Iterator[str]:
    """A row for a column, and one for each of its fields."""
    meaning = (field.metadata or {}).get(b"meaning", b"").decode().replace("|", "\\|")
    kind = field.type
    inside: tuple[pa.Field, ...] = ()
    words = str(kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        record = kind.value_type
        words = "list of records" if pa.types.is_struct(record) else f"list of {record}"
        inside = tuple(record) if pa.types.is_struct(record) else ()
    elif pa.types.is_fixed_size_list(kind):
        words = f"{kind.value_type}[{kind.list_size}]"
    elif pa.types.is_struct(kind):
        words, inside = "record", tuple(kind)
    name = f"{before}{field.name}"
    yield f"| `{name}` | {words} | {meaning}{note} |"
    for one in inside:
        yield from _rows(one, f"{name}.")


def _commands() -> Iterator[str]:
    """The page of all commands."""
    yield "# Commands"
    yield ""
    yield "`trackserve COMMAND --help` prints the same."
    root: Any = typer.main.get_command(commands)
    for name, command in sorted(root.commands.items()):
        yield from _command([name], command)


def _command(words: list[str], command: Any) -> Iterator[str]:
    for name, below in getattr(command, "commands", {}).items():
        yield from _command([*words, name], below)
    if hasattr(command, "commands"):
        return
    yield from ("", f"## {' '.join(words)}", "", command.help or "")
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    usage = " ".join(["trackserve", *words, *map(_word, arguments)])
    yield from ("", f"```\n{usage}\n```", "")
    yield from _parameters(arguments, options)


def _parameters(arguments: Iterable[Any], options: Iterable[Any]) -> Iterator[str]:
    rows = [(_word(one), one) for one in arguments]
    rows += [(", ".join([*one.opts, *one.secondary_opts]), one) for one in options]
    if rows:
        yield from ("| | meaning | default |", "|---|---|---|")
    for name, one in rows:
        text = " ".join((getattr(one, "help", "") or "").split()).replace("|", "\\|")
        shown = name.replace("|", "\\|")
        yield f"| `{shown}` | {text} | {_default(one)} |"


def _word(argument: Any) -> str:
    """An argument as the usage names it."""
    return str(argument.metavar or argument.name.upper())


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", True)
    if isinstance(shown, str):
        return shown
    value = parameter.default
    if value in (None, False, "", ()) or callable(value) or shown is False:
        return ""
    return f"`{value}`"
