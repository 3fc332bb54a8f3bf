"""What the networks are fitted to."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

RADIUS = 1.0
"""Of the soft step in the embedding; the graph's own radius is chosen afterwards."""


def pair_loss(squared: Tensor, together: bool, softness: float, weight: Tensor | None) -> Tensor:
    """Mean loss of pairs of points that belong together, or that do not.

    The logistic loss of the statement that the pair is nearer than :data:`RADIUS`, with the
    squared distance for the logit. What counts in the end is who is within the radius, and
    unlike the hinge loss of arXiv 2103.06995 this does not pull a pair that is safely inside
    any further.

    Args:
        squared: float[m], squared distances.
        together: whether these pairs should be near.
        softness: width of the step, in units of the squared radius.
        weight: float[m], of each pair; None for all the same.
    """
    if not len(squared):
        return squared.sum()
    sign = 1 if together else -1
    each = functional.softplus(sign * (squared - RADIUS**2) / softness)
    if weight is None:
        return each.mean()
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)


def edge_loss(logit: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the binary cross entropy.

    Args:
        logit: float[m].
        true: float[m], 1 for an edge of a track, 0 for another.
        weight: float[m]; edges with 0 do not count.
    """
    each = functional.binary_cross_entropy_with_logits(logit, true, reduction="none")
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)
