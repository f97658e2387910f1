"""Mean errors under masks that are probabilities: divided by the sum of the mask, not by the number of entries."""

from __future__ import annotations

from torch import Tensor

SMALLEST_SUM = 1e-8
"""Added to the divisor: an empty mask gives 0."""


def masked_mean_squared_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean of squared differences, weighted by the mask and divided by its sum.

    A small mask counts as much as a large one. A mask that is learned receives gradients through the weights and
    through the divisor.

    Args:
        predicted: ``(*batch, C)``.
        target: Same shape.
        mask: ``(*batch)``, not negative.

    Returns:
        Scalar, per channel; 0 for a mask of zeros.
    """
    return _masked_mean((predicted - target) ** 2, mask)


def masked_mean_absolute_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """As :func:`masked_mean_squared_error`, of absolute differences."""
    return _masked_mean((predicted - target).abs(), mask)


def _masked_mean(errors: Tensor, mask: Tensor) -> Tensor:
    mask = mask.to(errors.dtype)
    return (mask * errors.sum(-1)).sum() / (errors.shape[-1] * mask.sum() + SMALLEST_SUM)
