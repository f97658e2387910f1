"""The loss of learned signed distances."""

from __future__ import annotations

from torch import Tensor


def absolute_percentage_loss(predicted: Tensor, truth: Tensor, offset: float = 0.01) -> Tensor:
    """Mean of ``|p - g| / (|g| + offset)``: errors count relative to the distance (ResFields, Sec. 4.2).

    With the published offset an error on the surface weighs a hundred times one at distance 1.

    Args:
        predicted: Any shape.
        truth: Same shape.
        offset: Keeps the surface's weight finite; same unit as the distances.
    """
    return ((predicted - truth).abs() / (truth.abs() + offset)).mean()
