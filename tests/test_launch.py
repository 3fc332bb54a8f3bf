"""Launches that go past Numba hand a kernel what Numba would have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.cuda.dispatcher import _Kernel
from numba.cuda.typing.typeof import Purpose, typeof

from benchmarks.fake_arrays import fake_array
from trackserve.device import launch as module
from trackserve.device.launch import Launcher, flatten


class Pair(NamedTuple):
    first: Any
    second: Any


arrays = st.builds(
    fake_array,
    st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]),
    st.integers(1, 2**47),
    st.integers(1, 3),
)
scalars = st.one_of(
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1).map(np.int32),
    st.floats(width=32, allow_nan=False).map(np.float32),
)
values = st.recursive(
    arrays | scalars,
    lambda inner: (
        st.builds(Pair, inner, inner) | st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


class Compiled(_Kernel):
    """Stand-in for a kernel after Numba's first launch, as far as arguments go."""

    def __init__(self) -> None:
        self.extensions: Any = ()
        self._codelibrary: Any = SimpleNamespace(
            get_cufunc=lambda: SimpleNamespace(kernel="compiled")
        )


class Kernel:
    """Takes down what Numba launches."""

    def __init__(self) -> None:
        self.overloads: dict[Any, Any] = {}
        self.launches = 0

    def __getitem__(self, configuration: Any) -> Any:
        def start(*arguments: Any) -> None:
            self.launches += 1
            types = tuple(typeof(value, Purpose.argument) for value in arguments)
            self.overloads[types] = Compiled()

        return start


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The launches that go past Numba."""
    found: list[Any] = []
    stream = SimpleNamespace(from_handle=lambda handle: handle)
    monkeypatch.setattr(module, "Stream", stream)
    monkeypatch.setattr(module, "launch", lambda *arguments: found.append(arguments))
    return found


@given(st.lists(values, min_size=1, max_size=4).map(tuple))
def test_parameters_are_those_of_numba(arguments: tuple[Any, ...]) -> None:
    theirs: list[Any] = []
    for value in arguments:
        Compiled()._prepare_args(typeof(value, Purpose.argument), value, 0, [], theirs)
    for _ in range(2):  # the second time, arrays know theirs
        types, ours = flatten(arguments)
        assert [module._plain(p) for p in ours] == [module._plain(p) for p in theirs]
    hash(tuple(types))


@given(values, values)
def test_types_tell_kernels_apart(one: Any, other: Any) -> None:
    same = typeof(one, Purpose.argument) == typeof(other, Purpose.argument)
    if flatten((one,))[0] == flatten((other,))[0]:
        assert same


def test_numba_launches_once(started: list[Any]) -> None:
    launcher, kernel = Launcher(7, 256), Kernel()
    for n in (3, 4, 5):
        launcher(kernel, n, (Pair(fake_array(9, np.int32), n), 2.5))
    launcher(kernel, 1, (Pair(fake_array(9, np.int64), 0), 2.5))
    assert kernel.launches == 2
    assert [config.grid for _, config, *_ in started] == [(4, 1, 1), (5, 1, 1)]
    stream, config, compiled, *parameters = started[-1]
    assert (stream, config.block, compiled) == (7, (256, 1, 1), "compiled")
    assert [getattr(p, "value", p) for p in parameters] == [0, 0, 9, 4, 1 << 20, 9, 4, 5, 2.5]


@pytest.mark.parametrize("fault", ["other parameters", "no such method", "no overloads"])
def test_numba_goes_on_where_it_differs(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    launcher, kernel = Launcher(7, 256), Kernel()
    if fault == "other parameters":
        monkeypatch.setattr(
            Compiled, "_prepare_args", lambda self, kind, value, stream, retr, out: out.append(1)
        )
    elif fault == "no such method":
        monkeypatch.setattr(_Kernel, "_prepare_args", None)
    else:
        kernel.overloads = None  # type: ignore[assignment]
        monkeypatch.setattr(Kernel, "__getitem__", lambda self, c: lambda *a: self.count())
        monkeypatch.setattr(Kernel, "count", lambda self: None, raising=False)
    for n in range(3):
        launcher(kernel, 1, (fake_array(9, np.int32), n))
    assert not started
