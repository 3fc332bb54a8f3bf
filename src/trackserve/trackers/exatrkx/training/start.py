"""The start of a training: a model that is trained further."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from trackserve.errors import InputError

from ..architecture import InteractionGnn
from ..model import Model
from ..modules import TorchModules, modules_of
from .config import NETWORKS, TrainingConfig
from .data import SCALES
from .sizes import unfold_sizes
from .stages import embedding_spec, filter_spec, gnn_spec


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        model: its weights are the first ones. Its cuts are those of the networks that stay.
        networks: those of :data:`.config.NETWORKS` that are trained; the others stay.

    Raises:
        InputError: a network is unknown, or none is to be trained.
    """

    model: Model
    networks: Collection[str] = NETWORKS

    def __post_init__(self) -> None:
        if not self.networks or not set(self.networks) <= set(NETWORKS):
            raise InputError(
                "no such networks to train", found=sorted(self.networks), bound=list(NETWORKS)
            )

    def modules(self) -> TorchModules:
        """Return the networks with the weights of the model, as training takes them."""
        modules = modules_of(self.model)
        unfold_sizes(modules)
        return modules

    def kept(self, modules: TorchModules) -> TorchModules:
        """Return trained networks, and the model's own ones where these stay, bit for bit."""
        own = modules_of(self.model)._asdict()
        return modules._replace(**{k: own[k] for k in NETWORKS if k not in self.networks})


def continued(config: TrainingConfig, model: Model) -> TrainingConfig:
    """Return ``config`` with networks of the sizes of ``model``.

    Raises:
        InputError: the model has other inputs or scales, or another kind of network, than training
            makes.
    """
    found = model.description
    gnn = found.gnn
    if isinstance(gnn, InteractionGnn):
        embedding = dataclasses.replace(
            config.embedding,
            widths=found.embedding.widths,
            dimensions=found.embedding.dimensions,
            activation=found.embedding.activation,
        )
        filter_ = dataclasses.replace(config.filter, widths=found.filter.widths)
        of_gnn = dataclasses.replace(
            config.gnn, hidden=gnn.hidden, depth=gnn.depth, steps=gnn.steps
        )
        own = dataclasses.replace(config, embedding=embedding, filter=filter_, gnn=of_gnn)
        specs = embedding_spec(own), filter_spec(own), gnn_spec(own)
        same = specs == (found.embedding, found.filter, gnn)
        if same and found.features.scales == SCALES and found.order == "outward":
            return own
    raise InputError("training did not make this model: it cannot go on from it", model=model.where)
