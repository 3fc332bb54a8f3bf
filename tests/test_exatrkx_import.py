"""Published files as model folders, and the commands of the learned tracker."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from exatrkx_models import LRT, PUBLISHED_SCALES, published_gnn_weights, random_event, small_model
from torch import Tensor, nn
from typer.testing import CliRunner

from trackserve import ExatrkxPipeline
from trackserve.cli.main import commands
from trackserve.errors import EventError, ModelError
from trackserve.io.parquet import write_parquet
from trackserve.trackers.exatrkx.architecture import Cuts, Features, Filter
from trackserve.trackers.exatrkx.event import FeaturesEvent
from trackserve.trackers.exatrkx.importing import Published, import_model
from trackserve.trackers.exatrkx.model import load_model, save_model
from trackserve.trackers.exatrkx.result import ExatrkxResult

# how published networks are stored
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

FEATURES = Features(PUBLISHED_SCALES)
CUTS = Cuts(1.6, 0.21, 0.75)


def sequence(sizes: list[int], activation: type[nn.Module], norm: bool) -> nn.Sequential:
    """The layers of a published network."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), *([nn.LayerNorm(b)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))


class PublishedEmbedding(nn.Module):
    def __init__(self, activation: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.network = sequence([3, 32, 32, 8], activation, False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class PublishedFilter(nn.Module):
    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.net = sequence([6, 24, 24, 1], activation, True)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.net(torch.cat([x[edges[0]], x[edges[1]]], 1))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    torch.manual_seed(3)
    torch.jit.script(PublishedEmbedding()).save(str(tmp_path / "embed.pt"))
    torch.jit.script(PublishedFilter(nn.SiLU)).save(str(tmp_path / "filter.pt"))
    return {
        "embedding": tmp_path / "embed.pt",
        "filter": tmp_path / "filter.pt",
        "gnn": LRT / "weights_lrt_gnn.npz",
    }


def test_torchscript_and_arrays(files: dict[str, Path], tmp_path: Path) -> None:
    """The activations are found by running the files; the folder gives their answers."""
    published = Published(**files)
    model = import_model(published, name="lrt", detector="itk", features=FEATURES, cuts=CUTS)
    save_model(model, tmp_path / "lrt")
    model = load_model(tmp_path / "lrt")
    assert model.description.embedding.activation == "tanh"
    assert model.description.filter.activation == "silu"
    assert model.description.order == "given"
    for name, array in published_gnn_weights().items():
        assert (model.weights[name] == array).all()
    pipeline = ExatrkxPipeline(model)
    with np.load(LRT / "lrt_in_e1000_reference.npz") as arrays:
        features = arrays["features"]
    (result,) = pipeline.run([FeaturesEvent(features)], ["radius_edges", "filter_edges"])
    assert not isinstance(result, EventError)
    points = torch.tensor(features)
    coordinates = torch.jit.load(str(files["embedding"]))(points)
    near = torch.cdist(coordinates, coordinates) < 1.6
    assert result.counts.radius_edges == int(near.tril(-1).sum())
    assert result.radius_edges is not None
    assert result.filter_edges is not None
    edges = torch.tensor(np.stack([result.radius_edges.source, result.radius_edges.target]))
    scores = torch.sigmoid(torch.jit.load(str(files["filter"]))(points, edges.long())[:, 0])
    kept = scores > 0.21
    assert result.counts.filter_edges == int(kept.sum())
    assert np.abs(result.filter_edges.score - scores[kept].detach().numpy()).max() < 1e-5


def test_state_dicts(files: dict[str, Path], tmp_path: Path) -> None:
    torch.save(PublishedEmbedding(nn.ReLU).state_dict(), tmp_path / "state.pt")
    files["embedding"] = tmp_path / "state.pt"
    published = Published(**files, activations=("relu", "relu"))
    model = import_model(published, name="lrt", detector="itk", features=FEATURES, cuts=CUTS)
    assert model.description.embedding.activation == "relu"
    assert model.description.filter.activation == "silu"


class Batched(nn.Module):
    """A filter of published layers that takes pairs of points as [1, m, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PublishedFilter().net

    def forward(self, pairs: Tensor) -> Tensor:
        return self.net(pairs.reshape(1, pairs.shape[1], 6))


def test_a_plain_sequence_of_layers_is_a_filter(files: dict[str, Path], tmp_path: Path) -> None:
    """It takes pairs of points; its LayerNorms may have no weights."""
    plain = nn.Sequential(
        *(nn.Linear(6, 16), nn.LayerNorm(16, elementwise_affine=False), nn.SiLU()),
        *(nn.Dropout(0.1), nn.Linear(16, 1)),
    ).eval()
    torch.save(plain, tmp_path / "whole.pt")
    torch.jit.script(plain).save(str(tmp_path / "script.pt"))
    torch.jit.trace(plain, torch.zeros(4, 6)).save(str(tmp_path / "trace.pt"))
    for name in ("whole.pt", "script.pt", "trace.pt"):
        published = Published(**{**files, "filter": tmp_path / name})
        model = import_model(published, name="x", detector="itk", features=FEATURES, cuts=CUTS)
        assert model.description.filter == Filter(
            ("r", "phi", "z"), (16,), activation="silu", norm=True
        )
        assert (model.weights["filter.mlp.norms.0.weight"] == 1).all()


class AlmostPublished(PublishedEmbedding):
    """Its weights do not say that it normalises its answer."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.network(x))


def test_what_cannot_be_imported(files: dict[str, Path], tmp_path: Path) -> None:
    def attempt(message: str, **changed: Path) -> None:
        published = Published(**{**files, **changed})
        with pytest.raises(ModelError, match=message):
            import_model(published, name="", detector="", features=FEATURES, cuts=CUTS)

    attempt("file is missing", gnn=tmp_path / "none.pt")
    attempt("not the attention network, nor acorn's", gnn=files["embedding"])
    attempt("not one sequence", filter=files["gnn"])
    torch.jit.script(AlmostPublished()).save(str(tmp_path / "almost.pt"))
    attempt("other answers", embedding=tmp_path / "almost.pt")
    torch.jit.script(Batched()).save(str(tmp_path / "batched.pt"))
    message = r"not called as a published one.*bound forward\(points\[n, 3\], edges.*pairs"
    attempt(message, filter=tmp_path / "batched.pt")
    gap = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.ReLU(), nn.Linear(4, 2)).state_dict()
    torch.save(gap, tmp_path / "gap.pt")
    attempt("modules without weights lie between layers", embedding=tmp_path / "gap.pt")
    attempt("wrong shape", filter=files["embedding"])
    (tmp_path / "text.pt").write_text("no weights")
    attempt("not a file of weights", embedding=tmp_path / "text.pt")
    for content in ({"a": 3}, [torch.zeros(2)], torch.zeros(2)):
        torch.save(content, tmp_path / "other.pt")
        attempt("not a file of weights", embedding=tmp_path / "other.pt")
    for array in (np.array(["a"]), np.array([None])):
        np.savez(tmp_path / "odd.npz", **{"network.0.weight": array})
        attempt("not a file of weights", embedding=tmp_path / "odd.npz")
    pair = {"network.0.weight": np.zeros((2, 3)), "network.0.bias": np.zeros(())}
    np.savez(tmp_path / "odd.npz", **pair)
    attempt("not a linear layer", embedding=tmp_path / "odd.npz")
    np.savez(tmp_path / "odd.npz", **{"network.weight": np.zeros((2, 2))})
    attempt("not a weight of a sequence", embedding=tmp_path / "odd.npz")


def test_commands(files: dict[str, Path], tmp_path: Path) -> None:
    runner = CliRunner()
    arguments = [f"--{name}={path}" for name, path in files.items()]
    cuts = ["--radius=1.6", "--filter-cut=0.21", "--edge-cut=0.75", "--detector=itk"]
    out = str(tmp_path / "lrt")
    made = runner.invoke(
        commands,
        ["model", "import", "-o", out, *arguments, *cuts, "--scales=3000,3.14159265,400"],
    )
    assert made.exit_code == 0, made.output
    shown = runner.invoke(commands, ["model", "show", out])
    assert shown.exit_code == 0, shown.output
    assert "3000.0, 3.14159265, 400.0" in shown.output
    assert "1.6" in shown.output
    wrong = runner.invoke(commands, ["model", "import", "-o", out, *arguments, *cuts, "--scales=1"])
    assert wrong.exit_code == 2


def test_results_as_parquet(tmp_path: Path) -> None:
    pipeline = ExatrkxPipeline(small_model())
    bad = random_event(20, event=3)
    bad.points.position[4, 0] = np.nan
    results = pipeline.run([random_event(200, event=1), random_event(0, event=2), bad])
    write_parquet(tmp_path / "tracks.parquet", results, ExatrkxResult)
    rows = pq.read_table(tmp_path / "tracks.parquet").to_pylist()
    assert [row["event"] for row in rows] == [1, 2, 3]
    assert rows[0]["error"] == ""
    assert "point 4" in rows[2]["error"]
    first = results[0]
    assert not isinstance(first, EventError)
    assert [one["component"] for one in rows[0]["labels"]] == first.labels.component.tolist()
    assert rows[0]["counts"]["candidates"] == len(first.candidates) > 0
    assert [c["points"] for c in rows[0]["candidates"]] == [
        points.tolist() for points in first.candidates.points
    ]
    assert [c["score"] for c in rows[0]["candidates"]] == first.candidates.score.tolist()
    assert rows[1]["candidates"] == rows[2]["candidates"] == []


def test_reconstruct_command(tmp_path: Path) -> None:
    """A directory of TrackML's form, to a file with a label for every point."""
    save_model(small_model(), tmp_path / "model")
    position = random_event(300).points.position
    lines = ["hit_id,x,y,z,volume_id,layer_id,module_id"]
    lines += [f"{i + 1},{x:.4f},{y:.4f},{z:.4f},8,2,1" for i, (x, y, z) in enumerate(position)]
    (tmp_path / "event000000005-hits.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "tracks.parquet"
    arguments = ["reconstruct", "exatrkx", str(tmp_path), "--model", str(tmp_path / "model")]
    done = CliRunner().invoke(commands, [*arguments, "-o", str(out)])
    assert done.exit_code == 0, done.output
    (row,) = pq.read_table(out).to_pylist()
    assert row["event"] == 5
    assert len(row["labels"]) == 300
