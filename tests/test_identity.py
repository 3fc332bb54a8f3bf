"""The identity depends on what decides results, on nothing else; server and client hold to it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from exatrkx_models import published_model, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackserve.cli.main import commands
from trackserve.client import AsyncClient, Client
from trackserve.client.served import ServedModel
from trackserve.edm import RawEvent
from trackserve.errors import IdentityMismatch, InputError, decode, encode
from trackserve.io import open_pixel, read_conditions, write_conditions
from trackserve.serving.http import Http
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.serving.status import read_status
from trackserve.trackers.base import Option
from trackserve.trackers.exatrkx import identity as exatrkx_identity
from trackserve.trackers.exatrkx.model import Model, load_model, save_model
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline
from trackserve.trackers.exatrkx.tracker import Exatrkx
from trackserve.trackers.patatrack import identity as patatrack_identity
from trackserve.trackers.patatrack.config import CONFIGS, DEFAULT, REFERENCE
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.trackers.patatrack.tracker import Patatrack
from trackserve.trackers.registry import find_tracker
from trackserve.wire.address import parse_url
from trackserve.wire.codec import IDENTITY
from trackserve.wire.identity import Identity, digest, hash_of, part

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
TRANSPORTS = ("shm", "grpc", "http")
WORDS = st.text(st.characters(codec="ascii"), max_size=8)
IDENTITIES = st.builds(
    Identity,
    st.sampled_from(["patatrack", "exatrkx", "my.tracker"]),
    st.integers(0, 1000),
    st.lists(st.builds(part, st.just("part"), WORDS, WORDS), max_size=4).map(tuple),
    st.sampled_from(["cpu", "cuda", "cuda:1"]),
)


# its text


@given(IDENTITIES)
def test_text_is_read_back(identity: Identity) -> None:
    found = Identity.parse(str(identity))
    assert (found, found.device) == (identity, identity.device)
    assert hash_of(str(identity)) == hash_of(identity.hash) == identity.hash
    assert "\n" not in str(identity)


@given(IDENTITIES, st.data())
def test_damaged_text_is_refused(identity: Identity, data: st.DataObject) -> None:
    text = str(identity)
    end = text.index("]")
    at = data.draw(st.integers(0, end))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != text[at]))
    with pytest.raises(InputError, match="malformed identity"):
        Identity.parse(text[:at] + letter + text[at + 1 :])


@given(IDENTITIES, IDENTITIES)
def test_hash_depends_on_all_but_the_device(one: Identity, other: Identity) -> None:
    assert (one == other) == (one.hash == other.hash)
    assert dataclasses.replace(one, device="gpu").hash == one.hash
    assert dataclasses.replace(one, algorithm=one.algorithm + 1).hash != one.hash
    assert dataclasses.replace(one, tracker="x").hash != one.hash
    assert dataclasses.replace(one, parts=(*one.parts, "more")).hash != one.hash


# its content


def leaves(dtype: np.dtype[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Path of each field of a record that is no record."""
    for name in dtype.names or ():
        if dtype[name].base.names is None:
            yield (*path, name)
        else:
            yield from leaves(dtype[name].base, (*path, name))


@pytest.fixture(scope="module")
def conditions(sample_directory: Path) -> Any:
    return read_conditions(sample_directory)


def changed(conditions: Any, where: tuple[str, ...], data: st.DataObject) -> Any:
    """The conditions with another bit in one value at ``where``; content need not make sense."""
    found = SimpleNamespace(**vars(conditions))
    array = np.array([getattr(conditions, where[0])])
    setattr(found, where[0], array[0])
    for name in where[1:]:
        array = array[name]
    index = tuple(data.draw(st.integers(0, n - 1)) for n in array.shape)
    value = np.array(array[index])
    flipped = np.frombuffer(value.tobytes(), np.uint8).copy()
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1
    array[index] = flipped.view(value.dtype)[0]
    return found


PIECES = ("fed_ids", "cabling", "gain", "cpe", "material")


@settings(max_examples=60)
@given(st.data())
def test_hash_depends_on_every_value_of_the_conditions(
    conditions: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(PIECES))
    paths = list(leaves(getattr(conditions, name).dtype)) or [()]
    where = data.draw(st.sampled_from(paths))
    other = changed(conditions, (name, *where), data)
    before, after = (
        patatrack_identity.identity_of(each, DEFAULT, "cpu") for each in (conditions, other)
    )
    padding = where in (("pointer",), ("padding",))
    assert (before == after) == padding
    assert before.parts[0] == after.parts[0]


def test_the_beam_spot_is_no_part_of_the_conditions(conditions: Any) -> None:
    other = dataclasses.replace(conditions.beam_spot, x=0.7)
    moved = dataclasses.replace(conditions, beam_spot=other)
    before, after = (
        patatrack_identity.identity_of(each, DEFAULT, "cpu") for each in (conditions, moved)
    )
    assert before == after


def constants(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Path of each constant of a configuration."""
    if hasattr(value, "_asdict"):
        for name in value._fields:
            yield from constants(getattr(value, name), (*path, name))
    else:
        yield path


def with_other(value: Any, path: tuple[str, ...], data: st.DataObject) -> Any:
    if path:
        inner = with_other(getattr(value, path[0]), path[1:], data)
        if hasattr(value, "_replace"):
            return value._replace(**{path[0]: inner})
        return dataclasses.replace(value, **{path[0]: inner})
    if isinstance(value, np.ndarray):
        array = value.copy()
        row = data.draw(st.integers(0, len(array) - 1))
        name = data.draw(st.sampled_from(array.dtype.names))
        before = array[name][row]
        array[name][row] = not before if name == "starts" else before + (-1) ** (name == "outer")
        return array
    if isinstance(value, bool):
        return not value
    return type(value)(value + 1) if np.isfinite(value) else type(value)(1)


@given(st.data(), st.sampled_from(sorted(CONFIGS)))
def test_hash_depends_on_every_constant_of_the_configuration(
    conditions: Any, data: st.DataObject, name: str
) -> None:
    config = CONFIGS[name]
    fields = [f.name for f in dataclasses.fields(config) if f.name != "name"]
    field = data.draw(st.sampled_from(fields))
    path = data.draw(st.sampled_from(list(constants(getattr(config, field), (field,)))))
    small = SimpleNamespace(**dict.fromkeys(PIECES, 0))
    before, after = (
        patatrack_identity.identity_of(small, each, "cpu")  # type: ignore[arg-type]
        for each in (config, with_other(config, path, data))
    )
    assert before != after
    assert before.parts[1] == after.parts[1]


def test_strategies_and_names_are_told_apart() -> None:
    small: Any = SimpleNamespace(**dict.fromkeys(PIECES, 0))
    other = dataclasses.replace(DEFAULT, vertices=REFERENCE.vertices)
    named = dataclasses.replace(DEFAULT, name="mine, [or] not")
    found = [
        patatrack_identity.identity_of(small, config, "cpu")
        for config in (DEFAULT, REFERENCE, other, named)
    ]
    assert len({identity.hash for identity in found}) == 4
    assert found[3].parts[0].startswith("config mine___or__not ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    ),
)
def test_other_content_has_another_digest(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (repr_of(one) == repr_of(other))


def repr_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("make", [small_model, published_model])
def test_identity_of_a_model(make: Callable[[], Model], tmp_path: Path) -> None:
    """Weights and facts that decide count; a file and memory are the same."""
    model = make()
    description = model.description

    def identity(**changes: Any) -> Identity:
        other = dataclasses.replace(model, **changes)
        return exatrkx_identity.identity_of(other, "fp32", "cpu")

    def described(**changes: Any) -> Identity:
        return identity(description=dataclasses.replace(description, **changes))

    same = identity()
    save_model(model, tmp_path / "elsewhere")
    assert Exatrkx().identity({"model": str(tmp_path / "elsewhere")}) == same
    assert described(record={"made": "today"}) == same
    assert described(working_points={"loose": description.cuts}) == same
    integer = dataclasses.replace(description.cuts, radius=1)
    assert described(cuts=integer) == described(
        cuts=dataclasses.replace(description.cuts, radius=1.0)
    )
    others = [
        described(name="other"),
        described(cuts=dataclasses.replace(description.cuts, edge=0.123)),
        described(order="given" if description.order == "outward" else "outward"),
        exatrkx_identity.identity_of(model, "fp16", "cpu"),
    ]
    for name, weight in model.weights.items():
        weight = weight.copy()
        weight.reshape(-1)[-1] += 1
        others.append(identity(weights={**model.weights, name: weight}))
    assert len({same.hash, *(other.hash for other in others)}) == 1 + len(others)
    pipeline = ExatrkxPipeline(model)
    assert pipeline.identity == same
    assert pipeline.reconstruct(Exatrkx().example()).identity == str(same)


def test_working_points_have_identities_of_their_own(tmp_path: Path) -> None:
    model = load_model("default")
    points = sorted(model.description.working_points)
    names = ["default", *(f"default@{point}" for point in points)]
    assert len({str(Exatrkx().identity({"model": name})) for name in names}) == len(names)
    for name in names:
        stored = Exatrkx().store(tmp_path / name, {"model": name})
        again = Exatrkx().identity(stored | {"model": str(tmp_path / name / "model")})
        assert again == Exatrkx().identity({"model": name})


def test_pipelines_have_the_identity_that_the_tracker_computes(
    sample_directory: Path, conditions: Any, tmp_path: Path
) -> None:
    tracker = Patatrack()
    for name, config in CONFIGS.items():
        events = open_pixel(sample_directory)
        found = tracker.identity({"config": name}, events=events)
        assert found == PatatrackPipeline(conditions, config).identity
        assert found == tracker.build({"config": name}, events=events).identity
        tracker.store(tmp_path, {"conditions": str(sample_directory)})
        copy = str(tmp_path / "conditions")
        cuda = tracker.identity({"config": name, "conditions": copy}, device="cuda")
        assert cuda == found
        assert cuda is not None
        assert cuda.device == "cuda"
        assert str(cuda).endswith(" on cuda")
    with pytest.raises(InputError, match="no such configuration"):
        tracker.identity({"config": "x", "conditions": copy})


def test_every_result_has_the_identity_which_equality_leaves_out(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    (result,) = pipeline.run(sample_events[:1])
    assert result.identity == str(pipeline.identity)  # type: ignore[union-attr]
    assert dataclasses.replace(result, identity="") == result  # type: ignore[type-var]
    assert "identity" not in result.parts()  # type: ignore[union-attr]


def test_events_alone_have_no_identity(sample_directory: Path, tmp_path: Path) -> None:
    for name in ("raw.bin", "beamspot.bin"):
        shutil.copy(sample_directory / name, tmp_path)
    assert Patatrack().identity({}, events=open_pixel(tmp_path)) is None
    assert Patatrack().identity({}) is None


def test_a_tracker_with_data_must_say_its_identity() -> None:
    class Careless(Patatrack):
        identity = Patatrack.__mro__[1].identity  # type: ignore[assignment, attr-defined]

    with pytest.raises(InputError, match="must override identity") as caught:
        Careless().identity({})
    assert caught.value.found == ["conditions"]
    options = (Option("least", "Help.", "6", kind=int), Option("mode", "Help.", "a b, c"))
    Careless.options = options
    found = Careless().identity({"least": "07"})
    assert found == Identity("patatrack", Patatrack.algorithm, ("least 7", "mode a_b__c"))


CODE = """
import sys
for name in ("numba", "llvmlite", "torch"):
    sys.modules[name] = None
from pathlib import Path
from trackserve.trackers.registry import find_tracker
patatrack, exatrkx = map(find_tracker, ("patatrack", "exatrkx"))
events = patatrack.open_events(Path(sys.argv[1]))
print(patatrack.identity({"config": "reference"}, events=events))
print(exatrkx.identity({"model": "large"}))
"""


def test_another_process_without_a_compiler_finds_the_same(sample_directory: Path) -> None:
    events = open_pixel(sample_directory)
    here = [
        Patatrack().identity({"config": "reference"}, events=events),
        Exatrkx().identity({"model": "large"}),
    ]
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", CODE, str(sample_directory)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.splitlines() == list(map(str, here))


def test_the_error_crosses_the_wire() -> None:
    error = IdentityMismatch("the model has another identity", expected="a", found="b", model="m")
    again = decode(encode(error))
    assert isinstance(again, IdentityMismatch)
    assert (again.expected, again.found, str(again)) == ("a", "b", str(error))


# a server


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, sample_directory: Path) -> Path:
    """The sample with other gains."""
    directory = tmp_path_factory.mktemp("elsewhere")
    conditions = read_conditions(sample_directory)
    gain = conditions.gain.copy()
    gain["values"][:, 0] ^= 1
    write_conditions(directory, dataclasses.replace(conditions, gain=gain))
    shutil.copy(sample_directory / "raw.bin", directory)
    return directory


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sample_directory: Path) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("repository")
    given = {"conditions": sample_directory}
    write_model(repository, "patatrack", given)
    write_model(repository, "patatrack", given | {"config": "reference"}, name="second")
    write_model(repository, "exatrkx")
    write_model(repository, "exatrkx", {"model": "large"}, name="large")
    with Server(repository, **FREE) as running:
        yield running


def url_of(server: Server, transport: str) -> str:
    return server.http_url if transport == "http" else server.grpc_url


@pytest.fixture
def own(sample_directory: Path) -> Identity:
    found = Patatrack().identity({}, events=open_pixel(sample_directory))
    assert found is not None
    return found


@pytest.fixture
def other(elsewhere: Path) -> Identity:
    found = Patatrack().identity({}, events=open_pixel(elsewhere))
    assert found is not None
    return found


class Spy:
    """The requests that go out through a transport."""

    def __init__(self, transport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Any] = []
        for name in ("call", "submit"):
            monkeypatch.setattr(transport, name, self._watched(getattr(transport, name)))

    def _watched(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def watched(request: Any, timeout: float) -> Any:
            self.seen.append(request)
            return send(request, timeout)

        return watched

    def take(self) -> list[tuple[bool, str]]:
        """Whether each request asks for the identity, and the one it expects."""
        found = [
            (IDENTITY.name in request.outputs, request.parameters.get("identity", ""))
            for request in self.seen
        ]
        self.seen.clear()
        return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_expected_identity_is_held_to(
    server: Server,
    sample_events: list[RawEvent],
    sample_results: list[Any],
    own: Identity,
    other: Identity,
    transport: str,
) -> None:
    with Client(url_of(server, transport), transport=transport) as client:
        event = sample_events[0]
        for identity in (None, own, str(own), own.hash, str(own).replace("cpu", "cuda")):
            assert client.reconstruct("patatrack", event, identity=identity).identity == str(own)
            for per_request in (1, 4):
                results = list(
                    client.stream(
                        "patatrack", sample_events, identity=identity, per_request=per_request
                    )
                )
                assert [result.counts for result in results] == [r.counts for r in sample_results]
                assert {result.identity for result in results} == {str(own)}
        for identity in (other, str(other), other.hash, "x"):
            with pytest.raises(IdentityMismatch) as caught:
                client.reconstruct("patatrack", event, identity=identity)
            fields = caught.value.fields
            assert fields["expected"] == str(identity)
            assert fields["found"] == str(own)
            assert fields["model"] == "patatrack"
            for how in ({}, {"per_request": 4}, {"in_flight": 2, "ordered": False}):
                with pytest.raises(IdentityMismatch):
                    list(client.stream("patatrack", sample_events, identity=identity, **how))
        found = client.reconstruct("patatrack", event, identity="unchecked")
        assert found == client.reconstruct("patatrack", event)
        assert found.identity == ""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_asynchronous_client_holds_to_it_too(
    server: Server, sample_events: list[RawEvent], own: Identity, other: Identity, transport: str
) -> None:
    async def run() -> None:
        async with AsyncClient(url_of(server, transport), transport=transport) as client:
            assert await client.identify("patatrack") == str(own)
            assert (await client.models())["patatrack"] == str(own)
            result = await client.reconstruct("patatrack", sample_events[0], identity=own)
            assert result.identity == str(own)
            with pytest.raises(IdentityMismatch):
                await client.reconstruct("patatrack", sample_events[0], identity=other)
            with pytest.raises(IdentityMismatch):
                [r async for r in client.stream("patatrack", sample_events, identity=other)]
            found = [r async for r in client.stream("patatrack", sample_events)]
            assert {result.identity for result in found} == {str(own)}

    asyncio.run(run())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_asks_until_it_knows(
    server: Server,
    sample_events: list[RawEvent],
    own: Identity,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Client(url_of(server, transport), transport=transport) as client:
        spy = Spy(client._transport, monkeypatch)
        for _ in range(2):
            client.reconstruct("patatrack", sample_events[0], identity="unchecked")
            assert spy.take() == [(False, "")]
        client.reconstruct("patatrack", sample_events[0])
        assert spy.take() == [(True, "")]
        for _ in range(2):
            client.reconstruct("patatrack", sample_events[0])
            assert spy.take() == [(False, str(own))]
        client.reconstruct("patatrack", sample_events[0], identity=own.hash)
        assert spy.take() == [(False, own.hash)]
        client.reconstruct("second", sample_events[0], identity=None)
        assert spy.take() == [(True, "")]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_first_answer_is_held_to(
    server: Server, sample_events: list[RawEvent], other: Identity, transport: str
) -> None:
    """The server now has another model than when the client asked first."""
    with Client(url_of(server, transport), transport=transport) as client:
        client._settings.identities["patatrack"] = str(other)
        with pytest.raises(IdentityMismatch) as caught:
            client.reconstruct("patatrack", sample_events[0])
        assert caught.value.expected == str(other)
        with pytest.raises(IdentityMismatch):
            list(client.stream("patatrack", sample_events))
        assert hash_of(client.identify("patatrack")) != other.hash


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", ["reconstruct", "stream", "async", "async stream"])
def test_a_server_with_another_tracker_now(server: Server, transport: str, way: str) -> None:
    """The client found a model of another tracker under this name, before the server's restart."""
    event = find_tracker("exatrkx").example()

    stale = ServedModel("patatrack", find_tracker("exatrkx"), has_identity=True)

    async def awaited(url: str) -> None:
        async with AsyncClient(url, transport=transport) as client:
            client._settings.served["patatrack"] = stale
            if way == "async":
                await client.reconstruct("patatrack", event)
            async for _ in client.stream("patatrack", [event]):
                pass

    def answers(url: str) -> None:
        if way.startswith("async"):
            asyncio.run(awaited(url))
        with Client(url, transport=transport) as client:
            client._settings.served["patatrack"] = stale
            if way == "reconstruct":
                client.reconstruct("patatrack", event)
            list(client.stream("patatrack", [event]))

    with pytest.raises(IdentityMismatch, match="another tracker now") as caught:
        answers(url_of(server, transport))
    assert (caught.value.expected, caught.value.found) == ("exatrkx", "patatrack")


def test_an_answer_of_another_server_is_refused(
    server: Server, sample_events: list[RawEvent], other: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first requests are out before the first answer: each has its identity checked."""
    with Client(server.grpc_url) as client:
        stream = client.stream("patatrack", sample_events, in_flight=4)
        next(stream)
        client._settings.identities["patatrack"] = str(other)
        with pytest.raises(IdentityMismatch):
            list(stream)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_does_not_say_its_identity(
    server: Server,
    sample_events: list[RawEvent],
    sample_results: list[Any],
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Client(url_of(server, transport), transport=transport) as client:
        config = client._transport.config

        def without(model: str, timeout: float) -> Any:
            found = config(model, timeout)
            return found._replace(outputs=[n for n in found.outputs if n != IDENTITY.name])

        monkeypatch.setattr(client._transport, "config", without)
        with pytest.raises(InputError, match="only with 'unchecked'"):
            client.reconstruct("patatrack", sample_events[0])
        with pytest.raises(InputError, match="only with 'unchecked'"):
            list(client.stream("patatrack", sample_events))
        found = list(client.stream("patatrack", sample_events, identity="unchecked"))
        assert [result.counts for result in found] == [r.counts for r in sample_results]


@pytest.mark.parametrize("wrong", [3, "", b"x", ["unchecked"], "a\n", "\udc80"])
def test_what_is_no_identity_is_refused(
    server: Server, sample_events: list[RawEvent], wrong: Any
) -> None:
    with Client(server.grpc_url) as client, pytest.raises(InputError, match="this is no identity"):
        client.reconstruct("patatrack", sample_events[0], identity=wrong)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_name_that_the_server_does_not_have(
    server: Server, sample_events: list[RawEvent], own: Identity, transport: str
) -> None:
    with Client(url_of(server, transport), transport=transport) as client:
        with pytest.raises(InputError, match="no such model") as caught:
            client.reconstruct("third", sample_events[0])
        assert caught.value.found == "third"
        assert caught.value.bound == ["exatrkx", "exatrkxcpu", "large", "patatrack", "second"]
        found = client.models()
        assert list(found) == caught.value.bound
        assert found["exatrkxcpu"] == found["exatrkx"] == str(Exatrkx().identity({}))
        assert found["patatrack"] == str(own)
        assert found["large"] == str(Exatrkx().identity({"model": "large"}))


def test_status_shows_what_is_loaded(server: Server, own: Identity) -> None:
    metrics = Http(server.host, server.ports.metrics)
    for url in (server.grpc_url, server.http_url):
        deadline = time.monotonic() + 5
        while True:
            found = {m.name: m.identity for m in read_status(parse_url(url), metrics).models}
            if all(found[name] for name in ("patatrack", "exatrkx")) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert found["patatrack"] == str(own)
        assert found["exatrkx"] == str(Exatrkx().identity({}))
        assert found["exatrkxcpu"] is None


# the command line


def rows(path: Path) -> Any:
    """The table in a file, without where its answers came from."""
    return pq.read_table(path).drop_columns(["origin"])


def say(*arguments: Any, code: int = 0) -> str:
    """What a command prints; an error of ours is raised and printed in the program's own way."""
    result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(
        commands, [str(argument) for argument in arguments]
    )
    said = result.output
    if isinstance(result.exception, Exception):
        said += f"{type(result.exception).__name__}: {result.exception}"
    assert result.exit_code == code, said
    return said


def test_commands_hold_to_the_conditions_of_the_path(
    server: Server, sample_directory: Path, elsewhere: Path, own: Identity, tmp_path: Path
) -> None:
    out, url = tmp_path / "x.parquet", server.grpc_url
    here = ("--url", url, "-o", out)
    for arguments in (
        ("reconstruct", "patatrack", elsewhere, *here),
        ("reconstruct", "patatrack", sample_directory, *here, "--config", "reference"),
        ("reconstruct", "patatrack", sample_directory, *here, "--served", "second"),
        ("validate", "patatrack", sample_directory, "--url", url, "--served", "second"),
    ):
        said = say(*arguments, code=1)
        assert "IdentityMismatch" in said
        assert said.count(str(own)) >= 2 or "second" in arguments
        assert f"second: patatrack {Patatrack.algorithm}, config reference" in said
        assert not out.exists()
    assert "no such model" in say(
        "reconstruct", "patatrack", sample_directory, *here, "--served", "x", code=1
    )
    said = say("reconstruct", "patatrack", sample_directory, *here)
    assert str(own) in said
    metadata = pq.read_schema(out).metadata
    assert metadata[b"identity"].decode() == str(own)
    assert metadata[b"version"]
    direct = tmp_path / "direct.parquet"
    say("reconstruct", "patatrack", sample_directory, "-o", direct)
    assert rows(out).equals(rows(direct))


def test_configurations_are_served_side_by_side(
    server: Server, sample_directory: Path, elsewhere: Path, tmp_path: Path
) -> None:
    served, direct = tmp_path / "served.parquet", tmp_path / "direct.parquet"
    second = ("--url", server.http_url, "--served", "second")
    reference = ("--config", "reference")
    say("reconstruct", "patatrack", sample_directory, *second, *reference, "-o", served)
    say("reconstruct", "patatrack", sample_directory, *reference, "-o", direct)
    assert rows(served).equals(rows(direct))
    text = pq.read_schema(served).metadata[b"identity"].decode()
    for identity in (text, hash_of(text), "unchecked"):
        say(
            *("reconstruct", "patatrack", sample_directory, *second, "-o", served),
            *("--identity", identity),
        )
        assert rows(served).equals(rows(direct))
    assert pq.read_schema(served).metadata[b"identity"] == b"unchecked"
    say(
        *("reconstruct", "patatrack", elsewhere, *second, "-o", served),
        *("--conditions", sample_directory, *reference),
    )


def test_options_without_effect_are_refused(
    server: Server, sample_directory: Path, tmp_path: Path, own: Identity
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("raw.bin", "beamspot.bin"):
        shutil.copy(sample_directory / name, alone)
    here = ("--url", server.grpc_url, "-o", tmp_path / "x.parquet")
    reference = ("--config", "reference")
    assert str(own) in say("reconstruct", "patatrack", alone, *here)
    assert "not here" in say("reconstruct", "patatrack", alone, *here, *reference, code=2)
    unchecked = ("--identity", "unchecked")
    arguments = ("reconstruct", "patatrack", sample_directory)
    assert "--identity is given" in say(*arguments, *here, *reference, *unchecked, code=2)
    assert "give --url" in say(*arguments, *unchecked, code=2)


def test_bench_measures_what_it_compares_with(
    server: Server, sample_directory: Path, elsewhere: Path
) -> None:
    quick = ("--url", server.grpc_url, "--rounds", 1, "--threads", 1, "--in-flight", "2")
    assert "IdentityMismatch" in say("bench", "patatrack", elsewhere, *quick, code=1)
    assert "served" in say("bench", "patatrack", sample_directory, *quick)
