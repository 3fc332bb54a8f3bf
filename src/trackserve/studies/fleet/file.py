"""The file of a fleet: a job and a server, as TOML; docs/fleet.md has its form."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.errors import InputError
from trackserve.io.files import readable

from .times import NONE, Times, constant, exponential, lognormal, measured
from .world import Calls, Job, Module, Server

_MS = 1e-3
_LEAST_MS, _MOST_MS = 1e-6, 1e9
_MOST_COUNT = 100_000
_SERVER = {"instances", "host_ms", "device_ms", "lanes", "batch", "delay_ms"}
_JOB = {"threads", "in_flight", "module"}
_MODULE = {"name", "ms", "after", "send_ms", "take_ms"}


class Described(NamedTuple):
    """What a file describes: a job and a server."""

    job: Job
    server: Server


def read_fleet(path: Path) -> dict[str, Any]:
    """The content of the file of a fleet, for :func:`describe_fleet`.

    Raises:
        ConditionsError: the file cannot be read.
        InputError: it is no TOML.
    """
    with readable(path):
        content = path.read_bytes()
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError("no TOML", file=str(path), found=str(error)) from None


def describe_fleet(found: Mapping[str, Any]) -> Described:
    """A job and a server from the content of a file.

    Raises:
        InputError: something is missing, unknown or of another form.
    """
    _check_names(found, {"server", "job"}, "")
    return Described(_job(_table(found, "job")), _server(_table(found, "server")))


def fleet_text(found: Mapping[str, Any]) -> str:
    """The text of a file with this content: numbers, texts and lists in tables."""
    lines: list[str] = []
    _write(lines, "", found)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write(lines: list[str], place: str, table: Mapping[str, Any]) -> None:
    below: list[tuple[str, str, Mapping[str, Any]]] = []
    for name, value in table.items():
        path = f"{place}.{name}".lstrip(".")
        if isinstance(value, Mapping):
            below.append(("[{}]", path, value))
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            below += [("[[{}]]", path, one) for one in value]
        else:
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{name} = {text}")
    for brackets, path, one in below:
        lines += ["", brackets.format(path)]
        _write(lines, path, one)


def _server(table: Mapping[str, Any]) -> Server:
    _check_names(table, _SERVER, "server")
    device = _times(table, "device_ms", "server")
    if device.mean <= 0:
        raise InputError("a device takes time", at="server.device_ms", found=device.mean)
    counts = {name: _count(table, name, "server") for name in ("instances", "lanes", "batch")}
    return Server(
        host=_times(table, "host_ms", "server", NONE),
        device=device,
        delay=_times(table, "delay_ms", "server", NONE).mean,
        **counts,
    )


def _job(table: Mapping[str, Any]) -> Job:
    _check_names(table, _JOB, "job")
    each = table.get("module")
    if not isinstance(each, list) or not each:
        raise InputError("a job has modules", at="job.module", found=each)
    modules: list[Module] = []
    for number, one in enumerate(each):
        modules.append(_module(one, f"job.module {number + 1}", [m.name for m in modules]))
    if not any(module.calls for module in modules):
        raise InputError("no module calls a server: one needs send_ms and take_ms", at="job.module")
    if not any(module.times.mean for module in modules):
        raise InputError("no module takes any time", at="job.module")
    threads = _count(table, "threads", "job")
    return Job(
        threads, _count(table, "in_flight", "job", min(2 * threads, _MOST_COUNT)), tuple(modules)
    )


def _module(table: Any, at: str, before: list[str]) -> Module:
    if not isinstance(table, dict):
        raise InputError("a module is a table", at=at, found=table)
    _check_names(table, _MODULE, at)
    name, after = table.get("name"), table.get("after", [])
    if not isinstance(name, str) or not name or name in before:
        raise InputError("a module has a name of its own", at=f"{at}.name", found=name)
    if not isinstance(after, list) or any(one not in before for one in after):
        text = "a module comes after modules that stand above it"
        raise InputError(text, at=f"{at}.after", found=after, bound=before)
    calls = None
    if "send_ms" in table or "take_ms" in table:
        calls = Calls(_times(table, "send_ms", at), _times(table, "take_ms", at))
    return Module(name, _times(table, "ms", at), tuple(after), calls)


def _times(table: Mapping[str, Any], name: str, at: str, default: Times | None = None) -> Times:
    """A distribution: a number, a list of what was measured, or a table; ms in the file."""
    value = table.get(name)
    where = f"{at}.{name}"
    if value is None:
        if default is None:
            raise InputError("a time is missing", at=where)
        return default
    if isinstance(value, list):
        if not value:
            raise InputError("no times", at=where)
        return measured([_MS * _number(one, where) for one in value])
    if not isinstance(value, dict):
        return constant(_MS * _number(value, where))
    numbers = {key: _MS * _number(one, where) for key, one in value.items()}
    if numbers.keys() == {"mean", "sigma"} and all(numbers.values()):
        return lognormal(**numbers)
    if numbers.keys() == {"exponential"}:
        return exponential(numbers["exponential"])
    forms = "a number, a list, {mean, sigma} above 0 or {exponential}"
    raise InputError("no such distribution of times", at=where, found=value, bound=forms)


def _number(value: Any, at: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value == 0 or _LEAST_MS <= value <= _MOST_MS):
        text = f"a time is a number of ms: 0, or from {_LEAST_MS:g} to {_MOST_MS:g}"
        raise InputError(text, at=at, found=repr(value)[:80])
    return float(value)


def _count(table: Mapping[str, Any], name: str, at: str, default: int = 1) -> int:
    value = table.get(name, default)
    if type(value) is not int or not 1 <= value <= _MOST_COUNT:
        text = f"a number from 1 to {_MOST_COUNT} is needed"
        raise InputError(text, at=f"{at}.{name}", found=repr(value)[:80])
    return value


def _table(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    if not isinstance(value, dict):
        raise InputError("a table is missing", at=name, found=value)
    return value


def _check_names(table: Mapping[str, Any], known: set[str], at: str) -> None:
    if unknown := sorted(table.keys() - known):
        raise InputError("no such name", at=at or "top", found=unknown, bound=sorted(known))
