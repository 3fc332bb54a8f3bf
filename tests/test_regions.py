"""Shared memory in the hands of users, and the message that says where tensors lie: no server."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.client import regions as regions_module
from trackserve.client.regions import Region, Regions
from trackserve.client.shared_memory import OutputSizes, _message
from trackserve.client.transport import Request
from trackserve.edm.columns import Array
from trackserve.wire.address import parse_url

SIZE = 1 << 16


@pytest.fixture
def regions() -> Iterator[Regions]:
    found = Regions(parse_url("grpc://localhost:1"))
    yield found
    found.close()


def region_of(regions: Regions) -> Region:
    """A region that no server knows, as if it were lent."""
    found = regions_module._create(SIZE)
    assert found is not None
    regions_module._unlink(found)
    regions._all.add(found)
    return found


def view_of(handed: Array | None) -> Array:
    assert handed is not None
    return np.ndarray((4, 4), np.float32, handed, 64)


def test_a_region_is_free_again_when_the_last_view_of_it_is_dropped(regions: Regions) -> None:
    region = region_of(regions)
    views = [view_of(regions.hand_out(region))]
    views += [views[0][1:], views[0].T]
    del views[:2]
    assert regions.lend(SIZE) is None
    views.clear()
    assert regions.lend(SIZE) is region


def test_views_and_copies_of_the_memory_itself_do_not_free_it(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", wrong.append)
    region = region_of(regions)
    view: Any = view_of(regions.hand_out(region))
    whole: Any = view.base
    whole[:9].copy()
    copy.deepcopy(whole)
    pickle.loads(pickle.dumps(whole))
    gc.collect()
    assert not wrong
    assert regions.lend(SIZE) is None
    whole = view = None
    assert regions.lend(SIZE) is region


def test_users_keep_no_more_than_a_share_of_all_shared_memory(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=8 * SIZE)
    monkeypatch.setattr(regions_module, "disk_usage", lambda path: usage)
    kept = [regions.hand_out(region_of(regions)) for _ in range(3)]
    assert [each is None for each in kept] == [False, False, True]


@given(st.text(min_size=1), st.dictionaries(st.text(), st.text()), st.integers(0, 3))
def test_the_message_is_json_whatever_names_are(
    name: str, parameters: dict[str, str], n_rows: int
) -> None:
    """Models are checked before: their names are printable."""
    array = np.zeros((n_rows, 2), np.float32)
    request = Request("model", {name: array}, [name], parameters)
    sizes = OutputSizes()
    assert sizes.layout(request) is None  # of unknown outputs
    sizes.learn(request, {name: np.zeros(3)})
    layout = sizes.layout(request)
    assert (layout is None) == (n_rows == 0)  # Triton takes no empty tensor from shared memory
    if layout is not None:
        head, _, body = _message(request, "region", layout, None).partition(b"\r\n\r\n")
        found = json.loads(body)
        assert found["parameters"] == parameters
        assert [one["name"] for one in found["inputs"] + found["outputs"]] == [name, name]
        assert found["inputs"][0]["shape"] == [n_rows, 2]
        assert int(head.rpartition(b"Content-Length: ")[2]) == len(body)
