"""The interaction network of acorn (GNN4ITk) as it is published.

acorn's edges go from the inner to the outer point, ours from the outer to the inner one. So the
inputs of the two nodes of an edge change places, and so do the sums over the edges that arrive at
a node and that leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackserve.edm.columns import Array
from trackserve.errors import ModelError

from .architecture import AcornGnn, Activation, Features
from .network_files import Layer, NetworkFile
from .published import ACTIVATIONS, INPUTS, Candidate, renamed, reordered, swapped

_SETTINGS: dict[str, tuple[Any, ...]] = {
    "concat": (True,),
    "in_out_diff_agg": (True,),
    "batchnorm": (False, None),
    "undirected": (False, None),
    "edge_features": ([], (), None),
    "edge_output_transform_final_activation": (None,),
}
"""Settings of acorn of which only some values are supported."""


def is_acorn(file: NetworkFile) -> bool:
    """Whether the names of the weights are those of acorn's network."""
    return "edge_output_transform." in file.perceptrons


def read_acorn(file: NetworkFile, steps: int, features: Features) -> list[Candidate]:
    """Return the networks that a file of acorn may stand for: one if it has the settings.

    Args:
        file: the file.
        steps: number of steps, of a network that repeats one and does not tell how often.
        features: the features that the network is to get.

    Raises:
        ModelError: the network is another one, or has settings that are not supported, or neither
            has settings nor can be run.
    """
    _check_settings(file, features)
    found = file.perceptrons
    shared = "edge_network." in found
    n = 1 if shared else sum(name.startswith("edge_network.") for name in found)
    names = {
        **{"node_encoder.": "node_encoder", "edge_encoder.": "edge_encoder"},
        **{f"edge_network.{_number(i, shared)}": f"edge.{i}" for i in range(n)},
        **{f"node_network.{_number(i, shared)}": f"node.{i}" for i in range(n - (not shared))},
        **{"edge_decoder.": "decoder", "edge_output_transform.": "head"},
    }
    unused = f"node_network.{n - 1}."  # of the last step; some files do not have it
    if set(found) - {unused} != set(names):
        raise ModelError(
            "not acorn's interaction network",
            file=file.path,
            found=sorted(found),
            bound=sorted(names),
        )
    first, last = found["node_encoder."][0], found["node_encoder."][-1]
    hidden = len(last.linear[1])
    layers = {ours: _our_inputs(found[theirs], ours, hidden) for theirs, ours in names.items()}
    depths = [len(layers[name]) for name in ("node_encoder", "edge_encoder", "decoder")]
    if min(depths) < 2:
        raise ModelError("a perceptron has one layer", file=file.path, found=depths, bound="2")
    given = int(file.settings.get("n_graph_iters", steps))
    candidates = []
    for activation in _activations(file, "hidden_activation"):
        for ending in _endings(file, first, last):
            spec = AcornGnn(
                kind="acorn",
                inputs=INPUTS,
                hidden=hidden,
                node_depth=depths[0],
                edge_depth=depths[1],
                decoder_depth=depths[2],
                steps=given if shared else n,
                shared=shared,
                activation=activation,
                last_activation=ending,
                norm=first.norm is not None,
            )
            candidates.append(Candidate(spec, _weights(layers, ending, file.path)))
    return candidates


def _number(step: int, shared: bool) -> str:
    return "" if shared else f"{step}."


def _our_inputs(layers: list[Layer], name: str, hidden: int) -> list[Layer]:
    """The layers of a perceptron, with the inputs of the first one in our order."""
    one, two, four = hidden, 2 * hidden, 4 * hidden
    if name == "edge_encoder":
        return swapped(layers)
    if name.startswith("edge."):  # theirs: edge, inner node, outer node
        return reordered(layers, [slice(four, None), slice(two, four), slice(two)])
    if name.startswith("node."):  # theirs: sum at the outer end, sum at the inner end, node
        return reordered(layers, [slice(two, None), slice(one, two), slice(one)])
    return layers


def _weights(
    layers: Mapping[str, list[Layer]], ending: Activation | None, path: str
) -> dict[str, Array]:
    weights: dict[str, Array] = {}
    for name, some in layers.items():
        weights |= renamed(some, f"gnn.{name}.", name == "head" or ending is None, path)
    return weights


def _activations(file: NetworkFile, setting: str) -> tuple[Activation, ...]:
    """The activations that a setting of acorn leaves possible.

    Raises:
        ModelError: the file does not tell.
    """
    if setting in file.settings:
        name = str(file.settings[setting]).lower()
        chosen = tuple(one for one in ACTIVATIONS if one == name)
        if not chosen:
            raise ModelError(
                "no such activation",
                file=file.path,
                at=setting,
                found=file.settings[setting],
                bound=[*ACTIVATIONS],
            )
        return chosen
    if file.run is None:
        raise ModelError(
            "the activations are not known: acorn's checkpoint has them, and TorchScript and ONNX "
            "files can be run",
            file=file.path,
            at=setting,
        )
    return ACTIVATIONS


def _endings(file: NetworkFile, first: Layer, last: Layer) -> tuple[Activation | None, ...]:
    """The activations that the last layer of a perceptron may have; None: none."""
    if last.norm is None and first.norm is not None:
        return (None,)
    if file.settings.get("output_activation", "") is None:
        return (None,)
    possible = _activations(file, "output_activation")
    return possible if last.norm is not None or file.settings else (None, *possible)


def _check_settings(file: NetworkFile, features: Features) -> None:
    """Refuse settings under which acorn's network is another one."""
    for name, good in _SETTINGS.items():
        if name in file.settings and file.settings[name] not in good:
            raise ModelError(
                "this setting is not supported",
                file=file.path,
                at=name,
                found=file.settings[name],
                bound=good[0],
            )
    inputs = [str(name).removeprefix("hit_") for name in file.settings.get("node_features", INPUTS)]
    if inputs != [*INPUTS]:
        raise ModelError(
            "other inputs than those of a point",
            file=file.path,
            at="node_features",
            found=inputs,
            bound=[*INPUTS],
        )
    scales = tuple(map(float, file.settings.get("node_scales", features.scales)))
    if scales != features.scales:
        raise ModelError(
            "other scales than those given",
            file=file.path,
            at="node_scales",
            found=scales,
            bound=features.scales,
        )
