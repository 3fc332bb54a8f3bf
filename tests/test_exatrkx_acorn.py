"""The interaction network of acorn: its files, and the network on a CPU."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exatrkx_models import POLAR, random_model, small_model
from torch import Tensor, nn

from trackserve.errors import MissingExtraError, ModelError
from trackserve.trackers.exatrkx.architecture import AcornGnn, Cuts, Features
from trackserve.trackers.exatrkx.importing import Published, import_model
from trackserve.trackers.exatrkx.model import Model, load_model, save_model
from trackserve.trackers.exatrkx.modules import modules_of
from trackserve.trackers.exatrkx.networks import CpuNetworks
from trackserve.trackers.exatrkx.perceptrons import NetworkGraph

# how published networks are stored
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

SCALES = (1000.0, 3.14159265359, 1000.0)
FEATURES = Features(SCALES)
CUTS = Cuts(0.3, 0.1, 0.5)
HIDDEN, STEPS = 6, 3


def perceptron(
    sizes: list[int], hidden: type[nn.Module], last: type[nn.Module] | None, affine: bool
) -> nn.Sequential:
    """Layers as acorn has them: a LayerNorm before each activation."""
    layers: list[nn.Module] = []
    for n, (a, b) in enumerate(itertools.pairwise(sizes), 2):
        activation = last if n == len(sizes) else hidden
        norm = [nn.LayerNorm(b, elementwise_affine=affine)] if activation else []
        layers += [nn.Linear(a, b), *norm, *([activation()] if activation else [])]
    return nn.Sequential(*layers)


class Acorn(nn.Module):
    """The published network: edges go from ``edges[0]`` to ``edges[1]``."""

    def __init__(
        self, last: type[nn.Module] | None = nn.Tanh, affine: bool = False, shared: bool = False
    ) -> None:
        super().__init__()
        h, self.steps, self.shared = HIDDEN, STEPS, shared

        def make(*sizes: int) -> nn.Sequential:
            return perceptron([*sizes], nn.SiLU, last, affine)

        self.node_encoder = make(3, h, h)
        self.edge_encoder = make(2 * h, h, h, h)
        n = 1 if shared else STEPS
        edges = [make(6 * h, h, h, h) for _ in range(n)]
        nodes = [make(4 * h, h, h) for _ in range(n)]
        self.edge_network = edges[0] if shared else nn.ModuleList(edges)
        self.node_network = nodes[0] if shared else nn.ModuleList(nodes)
        self.edge_decoder = make(h, h, h)
        self.edge_output_transform = perceptron([h, h, 1], nn.SiLU, None, affine)

    def forward(self, points: Tensor, edges: Tensor) -> Tensor:
        inner, outer = edges[0], edges[1]
        first_x = x = self.node_encoder(points)
        first_e = e = self.edge_encoder(torch.cat([x[inner], x[outer]], 1))
        for step in range(self.steps):
            edge: Any = self.edge_network if self.shared else self.edge_network[step]
            node: Any = self.node_network if self.shared else self.node_network[step]
            x, e = torch.cat([x, first_x], 1), torch.cat([e, first_e], 1)
            e = edge(torch.cat([e, x[inner], x[outer]], 1))
            zeros = torch.zeros_like(first_x)
            at_outer = zeros.scatter_add(0, outer[:, None].expand_as(e), e)
            at_inner = zeros.scatter_add(0, inner[:, None].expand_as(e), e)
            x = node(torch.cat([at_outer, at_inner, x], 1))
        return self.edge_output_transform(self.edge_decoder(e)).squeeze(-1)


class AcornFilter(nn.Module):
    """A filter on the inner and the outer point of an edge."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron([6, 8, 1], nn.ReLU, None, True)

    def forward(self, points: Tensor, edges: Tensor) -> Tensor:
        return self.net(torch.cat([points[edges[0]], points[edges[1]]], 1)).squeeze(-1)


SETTINGS = {
    "hidden_activation": "SiLU",
    "output_activation": "Tanh",
    "layernorm": True,
    "batchnorm": False,
    "concat": True,
    "in_out_diff_agg": True,
    "n_graph_iters": STEPS,
    "node_features": ["hit_r", "hit_phi", "hit_z"],
    "node_scales": [*SCALES],
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(5)


@pytest.fixture
def others(tmp_path: Path) -> dict[str, Path]:
    """An embedding, and a filter beside acorn's network."""
    embedding = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
    torch.save(embedding.state_dict(), tmp_path / "embedding.pt")
    trace(AcornFilter(), tmp_path / "filter.pt")
    return {"embedding": tmp_path / "embedding.pt", "filter": tmp_path / "filter.pt"}


def trace(network: nn.Module, path: Path) -> None:
    """Write a network that takes points and edges, as TorchScript."""
    edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
    torch.jit.trace(network, (torch.rand(4, 3), edges)).save(str(path))


def imported(others: dict[str, Path], gnn: Path) -> Model:
    published = Published(**others, gnn=gnn)
    return import_model(published, name="a", detector="itk", features=FEATURES, cuts=CUTS)


def a_graph() -> NetworkGraph:
    """A graph with a lone node; the source of an edge is the outer point."""
    rng = np.random.default_rng(2)
    nodes = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
    source, target = rng.integers(0, 39, (2, 300)).astype(np.int32)
    return NetworkGraph(nodes, source, target, np.empty((300, 0), np.float32))


def published_logits(network: nn.Module, graph: NetworkGraph) -> np.ndarray[Any, Any]:
    """What the published network says of our edges: it takes the inner point first."""
    edges = torch.tensor(np.stack([graph.target, graph.source])).long()
    with torch.no_grad():
        answer: Tensor = network(torch.tensor(graph.nodes), edges)
    return answer.numpy()


@pytest.mark.parametrize(
    ("shared", "last", "affine"),
    [
        pytest.param(False, nn.Tanh, False, id="chained"),
        pytest.param(True, None, True, id="recurrent"),
        pytest.param(False, None, False, id="a last layer without a norm", marks=pytest.mark.slow),
        pytest.param(True, nn.Tanh, True, id="all norms have weights", marks=pytest.mark.slow),
    ],
)
def test_torchscript_gives_the_answers_of_acorn(
    others: dict[str, Path],
    tmp_path: Path,
    shared: bool,
    last: type[nn.Module] | None,
    affine: bool,
) -> None:
    network = Acorn(last, affine, shared).eval()
    trace(network, tmp_path / "gnn.pt")
    published = Published(**others, gnn=tmp_path / "gnn.pt", steps=STEPS)
    model = import_model(published, name="a", detector="itk", features=FEATURES, cuts=CUTS)
    save_model(model, tmp_path / "model")
    model = load_model(tmp_path / "model")
    gnn = model.description.gnn
    assert isinstance(gnn, AcornGnn)
    assert (gnn.activation, gnn.last_activation, gnn.steps) == (
        "silu",
        "tanh" if last else None,
        STEPS,
    )
    assert model.description.order == "outward"
    graph = a_graph()
    for ours, theirs in (
        (CpuNetworks(model).gnn(graph), network),
        (CpuNetworks(model).filter(graph), torch.jit.load(str(others["filter"]))),
    ):
        assert np.abs(ours - published_logits(theirs, graph)).max() < 1e-4


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # the exporter that needs no more packages
def test_onnx_gives_the_answers_of_acorn(others: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    network = Acorn().eval()
    edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
    plain = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    for one, given, name in (
        (network, (torch.rand(4, 3), edges), "gnn"),
        (AcornFilter(), (torch.rand(4, 3), edges), "filter"),
        (plain, (torch.rand(4, 3),), "embedding"),
    ):
        names = ["points", "edges"][: len(given)]
        axes = {"points": {0: "n"}, "edges": {1: "m"}}
        torch.onnx.export(
            one,
            given,
            str(tmp_path / f"{name}.onnx"),
            input_names=names,
            dynamic_axes={k: axes[k] for k in names},
            dynamo=False,
        )
    files = {name: tmp_path / f"{name}.onnx" for name in ("embedding", "filter")}
    model = imported(files, tmp_path / "gnn.onnx")
    assert model.description.embedding.activation == "relu"
    graph = a_graph()
    ours = CpuNetworks(model).gnn(graph)
    assert np.abs(ours - published_logits(network, graph)).max() < 1e-4


def test_an_onnx_file_without_the_package_names_the_extra(
    others: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "gnn.onnx").touch()
    with pytest.raises(MissingExtraError, match=r"\[onnx\]"):
        imported(others, tmp_path / "gnn.onnx")


def test_a_checkpoint_tells_its_settings(others: dict[str, Path], tmp_path: Path) -> None:
    network = Acorn()
    checkpoint = {"state_dict": network.state_dict(), "hyper_parameters": SETTINGS}
    torch.save(checkpoint, tmp_path / "gnn.ckpt")
    model = imported(others, tmp_path / "gnn.ckpt")
    graph = a_graph()
    ours = CpuNetworks(model).gnn(graph)
    assert np.abs(ours - published_logits(network, graph)).max() < 1e-4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"concat": False}, "setting is not supported.*at concat"),
        ({"batchnorm": True}, "setting is not supported.*at batchnorm"),
        ({"edge_features": ["dr"]}, "setting is not supported.*at edge_features"),
        ({"hidden_activation": "GELU"}, "no such activation.*GELU"),
        ({"node_features": ["hit_r", "hit_phi", "hit_z", "hit_eta"]}, "other inputs.*eta"),
        ({"node_scales": [1.0, 1.0, 1.0]}, "other scales than those given"),
    ],
)
def test_settings_of_another_network_are_refused(
    others: dict[str, Path], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    checkpoint = {
        "state_dict": Acorn().state_dict(),
        "hyper_parameters": {**SETTINGS, **changed},
    }
    torch.save(checkpoint, tmp_path / "gnn.ckpt")
    with pytest.raises(ModelError, match=message):
        imported(others, tmp_path / "gnn.ckpt")


def test_a_state_dict_alone_does_not_tell_enough(others: dict[str, Path], tmp_path: Path) -> None:
    torch.save(Acorn(affine=True).state_dict(), tmp_path / "gnn.pt")
    with pytest.raises(ModelError, match="activations are not known"):
        imported(others, tmp_path / "gnn.pt")
    state = Acorn(affine=True).state_dict()
    torch.save({k: v for k, v in state.items() if "decoder" not in k}, tmp_path / "gnn.pt")
    with pytest.raises(ModelError, match="not acorn's interaction network"):
        imported(others, tmp_path / "gnn.pt")


def test_a_cpu_and_pytorch_give_the_same() -> None:
    gnn = AcornGnn("acorn", POLAR, 10, 2, 3, 2, 4, False, "relu", "tanh", True)
    model = random_model(small_model(gnn=gnn).description)
    graph = a_graph()
    for some in (graph, graph._replace(source=graph.source[:0], target=graph.target[:0])):
        some = some._replace(edges=np.empty((len(some.source), 0), np.float32))
        tensors = [torch.tensor(array) for array in some]
        with torch.no_grad():
            expected = modules_of(model).gnn(*tensors).numpy()
        assert np.abs(CpuNetworks(model).gnn(some) - expected).max(initial=0) < 1e-4
