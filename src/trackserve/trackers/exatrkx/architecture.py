"""Plain descriptions of the networks of a model, as ``model.json`` holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

Activation = Literal["relu", "tanh", "silu"]
Order = Literal["given", "outward"]
Segmentation = Literal["components", "paths"]

NODE_INPUTS = ("r", "phi", "z", "x", "y", "cos_phi", "sin_phi", "eta")
"""Names of the inputs of a point. ``r``, ``phi`` and ``z`` are the scaled features. ``x`` and
``y`` are in units of the scale of r. ``eta`` is the pseudorapidity. ``phi`` has a seam at +-pi;
the others have none."""

EDGE_INPUTS = ("dr", "dphi", "dz", "deta", "phi_slope", "z0", "distance")
"""Names of the inputs of an edge; differences are source minus target. ``dr`` and ``dz`` are in
units of the scales. ``dphi`` is in (-1, 1] in units of pi, also across the seam. ``deta`` is the
difference of the pseudorapidities. ``phi_slope`` is dphi in rad divided by ``dr``, limited to
+-4. ``z0`` is where the line through both points meets the beam axis, in units of 100 mm, limited
to +-8. ``distance`` is that of the points in space, in units of the scale of r."""


@dataclass(frozen=True)
class Features:
    """The features of a point: (r, phi, z) in mm and rad, divided by ``scales``."""

    scales: tuple[float, float, float]
    low: tuple[float, float, float] | None = None
    """Least scaled features in the training; None if they are unknown: then no point is refused."""
    high: tuple[float, float, float] | None = None
    """Largest scaled features in the training; None as for ``low``."""


@dataclass(frozen=True)
class Embedding:
    """A perceptron from ``inputs`` of a point to ``dimensions`` coordinates."""

    inputs: tuple[str, ...]
    """Names of :data:`NODE_INPUTS`."""
    widths: tuple[int, ...]
    """Widths of the hidden layers."""
    dimensions: int
    activation: Activation = "tanh"
    norm: bool = False
    """Whether each hidden layer has a LayerNorm before its activation."""


@dataclass(frozen=True)
class Filter:
    """A perceptron from ``inputs`` of both points of an edge and ``edge_inputs`` to a logit."""

    inputs: tuple[str, ...]
    widths: tuple[int, ...]
    edge_inputs: tuple[str, ...] = ()
    """Names of :data:`EDGE_INPUTS`."""
    activation: Activation = "relu"
    norm: bool = True


@dataclass(frozen=True)
class AttentionGnn:
    """The published graph network: nodes pass on their state, times the score of the edge."""

    kind: Literal["attention"]
    inputs: tuple[str, ...]
    hidden: int = 64
    depth: int = 3
    """Layers with norm and activation in the encoder and in the edge network."""
    steps: int = 8
    edge_inputs: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class InteractionGnn:
    """Our graph network: nodes and edges have a state, and every step adds to both."""

    kind: Literal["interaction"]
    inputs: tuple[str, ...]
    edge_inputs: tuple[str, ...] = ()
    hidden: int = 32
    depth: int = 1
    """Hidden layers of each perceptron."""
    steps: int = 6
    shared: bool = False
    """Whether all steps have the same weights."""
    activation: Activation = "relu"


@dataclass(frozen=True)
class AcornGnn:
    """The interaction network of acorn (GNN4ITk): each step takes the first states as inputs too.

    It is acorn's ``InteractionGNN2`` with the settings ``concat`` and ``in_out_diff_agg``. The last
    step makes states of edges only: nothing follows that takes those of nodes.
    """

    kind: Literal["acorn"]
    inputs: tuple[str, ...]
    hidden: int
    node_depth: int
    """Layers of the perceptrons of nodes."""
    edge_depth: int
    """Layers of the perceptrons of edges."""
    decoder_depth: int
    """Layers of the perceptron that ends the last step."""
    steps: int
    shared: bool
    """Whether all steps have the same weights."""
    activation: Activation
    last_activation: Activation | None
    """Of the last layer of each perceptron; None: that layer is only linear."""
    norm: bool
    """Whether each layer with an activation has a LayerNorm before it."""
    edge_inputs: ClassVar[tuple[str, ...]] = ()

    @property
    def depth(self) -> int:
        """Layers of the shortest perceptron."""
        return min(self.node_depth, self.edge_depth, self.decoder_depth)


Gnn = AttentionGnn | InteractionGnn | AcornGnn


@dataclass(frozen=True)
class Finish:
    """How pieces of tracks become whole tracks; see :mod:`.finish`."""

    field: float
    """Tesla, along z."""
    piece_points: int = 3
    """Least points of a piece."""
    sure_edge: float | None = None
    """First, only edges with a score (0..1) larger than this make pieces; then, in a second pass,
    triplets of points that no track has are pieces, if edges join them. None: there is one pass,
    with all edges."""


@dataclass(frozen=True)
class Doublets:
    """Bounds that a pair of points must keep to have an edge, by the cell in which it is.

    Cells are those of a table of three dimensions, in mm: ``r`` is the distance from the z axis of
    the point that is nearer to it; ``dr`` and ``dz`` are the distances of the points from each
    other. Edges of cells ascend; there is a cell below the first edge, and one from the last on.
    Bounds are in the order of r, dr, dz; dz is the fastest. A pair at a bound keeps it.
    """

    r: tuple[float, ...]
    dr: tuple[float, ...]
    dz: tuple[float, ...]
    z0: tuple[float, ...]
    """mm; largest distance, from the origin, of where the line through both points meets the z
    axis."""
    phi_slope: tuple[float, ...]
    """rad/mm; largest change of the azimuth per distance in r."""
    dphi: tuple[float, ...]
    """rad; largest difference of the azimuths."""

    @property
    def n_cells(self) -> int:
        return (len(self.r) + 1) * (len(self.dr) + 1) * (len(self.dz) + 1)


@dataclass(frozen=True)
class Cuts:
    """A working point."""

    radius: float
    """Two points nearer than this in the embedding have an edge."""
    filter: float
    """An edge is kept if its score from the filter (0..1) is larger."""
    edge: float
    """An edge is kept if its score from the graph network (0..1) is larger."""
    min_points: int = 3
    """Least points of a track candidate."""
    segmentation: Segmentation = "components"
    """How edges become candidates. ``components``: all points that edges join. ``paths``: the
    same, but first every point keeps only its best edge inwards and its best edge outwards."""
    finish: Finish | None = None
    """How they are finished; None: they are not."""

    @property
    def least_component(self) -> int:
        """Least points of a component that is a candidate or, if these are finished, a piece."""
        return self.min_points if self.finish is None else self.finish.piece_points

    @property
    def sure(self) -> float:
        """Edges with a score above this make the first candidates or pieces; negative: all do."""
        sure = None if self.finish is None else self.finish.sure_edge
        return -1.0 if sure is None else sure


class Perceptron(NamedTuple):
    """The layers of a perceptron.

    For each of ``widths`` there is a linear layer, a LayerNorm if ``norm`` is true, and the
    activation; the last of them may have an activation of its own, ``last_activation``. Then
    follows a linear layer to ``output`` values; with None there is none.
    """

    inputs: int
    widths: tuple[int, ...]
    output: int | None
    activation: Activation
    norm: bool
    last_activation: Activation | None = None

    def activation_of(self, layer: int) -> Activation:
        """Return the activation of the layer to ``widths[layer]``."""
        is_last = layer == len(self.widths) - 1
        return (is_last and self.last_activation) or self.activation

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        inputs = self.inputs
        for i, width in enumerate(self.widths):
            shapes |= {f"layers.{i}.weight": (width, inputs), f"layers.{i}.bias": (width,)}
            if self.norm:
                shapes |= {f"norms.{i}.weight": (width,), f"norms.{i}.bias": (width,)}
            inputs = width
        if self.output is not None:
            shapes |= {"last.weight": (self.output, inputs), "last.bias": (self.output,)}
        return shapes


def perceptrons_of(spec: Embedding | Filter | Gnn) -> dict[str, Perceptron]:
    """Return the perceptrons that a network is made of, by name."""
    inputs = len(spec.inputs)
    if isinstance(spec, Embedding):
        return {"mlp": Perceptron(inputs, spec.widths, spec.dimensions, spec.activation, spec.norm)}
    if isinstance(spec, Filter):
        pair = 2 * inputs + len(spec.edge_inputs)
        return {"mlp": Perceptron(pair, spec.widths, 1, spec.activation, spec.norm)}
    hidden, depth = spec.hidden, spec.depth
    if isinstance(spec, AcornGnn):
        return _acorn(spec)
    if isinstance(spec, AttentionGnn):
        width = hidden + inputs
        return {
            "encoder": Perceptron(inputs, (hidden,) * depth, None, "relu", True),
            "edge": Perceptron(2 * width, (width,) * depth, 1, "relu", True),
            "node": Perceptron(2 * width, (hidden,) * (depth - 1), hidden, "relu", True),
        }
    step = Perceptron(3 * hidden, (hidden,) * depth, hidden, spec.activation, True)
    n_weights = 1 if spec.shared else spec.steps
    return {
        "node_encoder": step._replace(inputs=inputs),
        "edge_encoder": step._replace(inputs=2 * inputs + len(spec.edge_inputs)),
        **{f"edge.{i}": step for i in range(n_weights)},
        **{f"node.{i}": step for i in range(n_weights)},
        "head": step._replace(output=1),
    }


def _acorn(spec: AcornGnn) -> dict[str, Perceptron]:
    hidden = spec.hidden

    def perceptron(inputs: int, depth: int) -> Perceptron:
        last = spec.last_activation
        n, output = (depth - 1, hidden) if last is None else (depth, None)
        return Perceptron(inputs, (hidden,) * n, output, spec.activation, spec.norm, last)

    n_edge, n_node = (1, 1) if spec.shared else (spec.steps, spec.steps - 1)
    return {
        "node_encoder": perceptron(len(spec.inputs), spec.node_depth),
        "edge_encoder": perceptron(2 * hidden, spec.edge_depth),
        **{f"edge.{i}": perceptron(6 * hidden, spec.edge_depth) for i in range(n_edge)},
        **{f"node.{i}": perceptron(4 * hidden, spec.node_depth) for i in range(n_node)},
        "decoder": perceptron(hidden, spec.decoder_depth),
        "head": Perceptron(hidden, (hidden,), 1, spec.activation, spec.norm),
    }
