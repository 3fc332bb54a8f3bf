"""The losses of the networks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

RADIUS = 1.0
"""Place of the soft step in the embedding; the radius of the graph is chosen later."""


def pair_loss(squared: Tensor, together: bool, softness: float, weight: Tensor | None) -> Tensor:
    """Return the mean loss of pairs of points that belong together, or that do not.

    It is the logistic loss of the statement that a pair is nearer than :data:`RADIUS`; the logit
    is the squared distance. The hinge loss of arXiv 2103.06995 also pulls pairs that are well
    within the radius; this loss does not.

    Args:
        squared: float[m], squared distances.
        together: whether these pairs should be near.
        softness: width of the step, in units of the squared radius.
        weight: float[m], weight of each pair; None: all have the same weight.
    """
    if not len(squared):
        return squared.sum()
    sign = 1 if together else -1
    each = functional.softplus(sign * (squared - RADIUS**2) / softness)
    if weight is None:
        return each.mean()
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)


def edge_loss(logit: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of the binary cross entropy.

    Args:
        logit: float[m], logit of each edge.
        true: float[m], 1 for an edge of a track, 0 for another edge.
        weight: float[m], weight of each edge.
    """
    each = functional.binary_cross_entropy_with_logits(logit, true, reduction="none")
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)
