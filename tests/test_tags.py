"""Conditions that change by run: an event names the tag of its own, here and on a server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trackserve import PatatrackPipeline
from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.errors import (
    ConditionsError,
    EventError,
    IdentityMismatch,
    InputError,
    MalformedEvent,
    TagError,
)
from trackserve.io import open_pixel, read_conditions, write_conditions, write_events
from trackserve.serving.server import Server
from trackserve.trackers import tagged
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.patatrack.tracker import TRACKER


def write_tag(folder: Path, tag: str, sample: Path, material: float) -> PatatrackPipeline:
    """Conditions with more material than those of the sample; their pipeline."""
    conditions = read_conditions(sample)
    more = np.asarray(conditions.material, np.float32) * np.float32(material)
    write_conditions(folder / tag, replace(conditions, material=more))
    return PatatrackPipeline.from_directory(folder / tag)


def untagged(event: RawEvent) -> RawEvent:
    return replace(event, conditions="")


def test_a_tag_is_never_ignored(sample_events: list[RawEvent], pipeline: PatatrackPipeline) -> None:
    named = replace(sample_events[0], conditions="2024B")
    refused, answered = pipeline.run([named, sample_events[0]])
    assert isinstance(refused, TagError)
    assert refused.fields == {"event": named.event, "found": "2024B"}
    assert isinstance(answered, PatatrackResult)


def test_an_event_gets_the_conditions_that_it_names(
    tmp_path: Path,
    sample_directory: Path,
    sample_events: list[RawEvent],
    pipeline: PatatrackPipeline,
) -> None:
    """A tag that is added later too; results and identities are those of a pipeline of its own."""
    first = write_tag(tmp_path, "2024A", sample_directory, 2)
    mixed = pipeline.with_tags(tmp_path)
    raw = sample_events[0]
    events = [raw, replace(raw, conditions="2024A"), replace(raw, conditions="2024B", event=9)]
    plain, other, unknown = mixed.run(events)
    assert plain == pipeline.reconstruct(raw)
    assert other == first.reconstruct(raw)
    assert other != plain
    assert isinstance(plain, type(other))
    assert not isinstance(other, EventError)
    assert (plain.identity, other.identity) == (str(pipeline.identity), str(first.identity))  # type: ignore[union-attr]
    assert isinstance(unknown, TagError)
    assert unknown.fields == {"event": 9, "found": "2024B", "bound": ["2024A"]}
    second = write_tag(tmp_path, "2024B", sample_directory, 3)
    assert mixed.reconstruct(events[2]) == second.reconstruct(untagged(events[2]))
    assert mixed.tags() == ["2024A", "2024B"]


def test_conditions_that_cannot_be_read_fail_their_events_until_they_can(
    tmp_path: Path,
    sample_directory: Path,
    sample_events: list[RawEvent],
    pipeline: PatatrackPipeline,
) -> None:
    (tmp_path / "half").mkdir()
    mixed = pipeline.with_tags(tmp_path)
    event = replace(sample_events[0], conditions="half")
    with pytest.raises(TagError, match="cannot be read") as raised:
        mixed.reconstruct(event)
    assert raised.value.event == event.event
    for name in ("..", "a/b", "", "x" * 1000, "\n"):
        found = mixed.run([replace(event, conditions=name)])[0]
        assert isinstance(found, TagError) is bool(name)
    whole = write_tag(tmp_path, "half", sample_directory, 2)
    assert mixed.reconstruct(event) == whole.reconstruct(untagged(event))
    shutil.rmtree(tmp_path / "half")
    assert mixed.reconstruct(event) == whole.reconstruct(untagged(event))
    with pytest.raises(MalformedEvent):
        mixed.reconstruct(replace(event, conditions=3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no folder of tags"):
        pipeline.with_tags(tmp_path / "none")


def test_the_tags_that_are_kept_are_bounded(
    tmp_path: Path,
    sample_directory: Path,
    sample_events: list[RawEvent],
    pipeline: PatatrackPipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tagged, "MOST_TAGS", 1)
    mixed = pipeline.with_tags(tmp_path)
    for tag in "ABA":
        direct = write_tag(tmp_path, tag, sample_directory, ord(tag))
        event = replace(sample_events[0], conditions=tag)
        assert mixed.reconstruct(event) == direct.reconstruct(untagged(event))
        assert list(mixed._pipelines) == [tag]


def test_a_directory_of_events_names_their_tags(
    tmp_path: Path, sample_directory: Path, sample_events: list[RawEvent]
) -> None:
    tags = tmp_path / "tags"
    write_conditions(tmp_path, read_conditions(sample_directory))
    write_events(tmp_path, sample_events[:3])
    direct = write_tag(tags, "2024A", sample_directory, 2)
    (tmp_path / "tags.txt").write_text("2024A\n\n2024A\n")
    events = open_pixel(tmp_path)
    assert [event.conditions for event in events] == ["2024A", "", "2024A"]
    assert [event.conditions for event in events[1:]] == ["", "2024A"]
    built = TRACKER.build({"tags": str(tags)}, events=events)
    assert built.run(events)[2] == direct.reconstruct(untagged(events[2]))
    (tmp_path / "tags.txt").write_text("2024A\n")
    with pytest.raises(ConditionsError, match="wrong number of lines"):
        open_pixel(tmp_path)


@pytest.mark.parametrize("transport", ["grpc", "shm"])
def test_a_server_takes_tags_that_are_added_while_it_runs(
    server: Server,
    tags: Path,
    backend: str,
    sample_directory: Path,
    sample_events: list[RawEvent],
    pipeline: PatatrackPipeline,
    transport: str,
) -> None:
    """Events of several tags in one stream; the client holds to the identity of each."""
    one, two = (f"{name}-{backend}-{transport}" for name in ("one", "two"))
    with Client(server.grpc_url, transport=transport) as client:
        named = [replace(event, conditions=one) for event in sample_events[:3]]
        with pytest.raises(TagError) as raised:
            client.reconstruct("patatrack", named[0])
        assert raised.value.found == one
        ways = {
            "": pipeline,
            one: write_tag(tags, one, sample_directory, 2),
            two: write_tag(tags, two, sample_directory, 3),
        }
        mixed = [*named, *sample_events[:2], replace(sample_events[3], conditions=two), *named]
        for per_request in (1, 4):
            found = list(client.stream("patatrack", mixed, per_request=per_request))
            for event, result in zip(mixed, found, strict=True):
                assert result == ways[event.conditions].reconstruct(untagged(event))
                assert result.identity == str(ways[event.conditions].identity)
        expected = str(pipeline.identity)
        assert client.reconstruct("patatrack", named[0], identity=expected) == found[0]
        client._settings.identities[f"patatrack {one}"] = str(ways[two].identity)
        with pytest.raises(IdentityMismatch):
            client.reconstruct("patatrack", named[0])
