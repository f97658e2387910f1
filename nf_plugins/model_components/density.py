"""Laws that turn a signed distance into a volume density."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MINIMUM_BETA = 1e-4


def laplace_density(signed_distance: Tensor, beta: Tensor | float) -> Tensor:
    """``1/beta`` times the Laplace distribution function of the negated distance (Yariv et al. 2021, Eq. 2-3).

    Args:
        signed_distance: Scene units, negative inside, any shape.
        beta: Width, scene units.

    Returns:
        Density per scene unit, same shape: 1/beta deep inside, 1/(2 beta) on the surface, 0 far outside.
    """
    decay = torch.expm1(-signed_distance.abs() / beta)
    return (0.5 - 0.5 * signed_distance.sign() * (-decay)) / beta


class LaplaceDensity(nn.Module):
    """Laplace density with a trained width ``|beta| + 1e-4``.

    Args:
        initial_beta: Starting width, scene units.
    """

    def __init__(self, initial_beta: float = 0.1) -> None:
        super().__init__()
        self.raw_beta = nn.Parameter(torch.tensor(initial_beta))

    @property
    def beta(self) -> Tensor:
        """Current width, a scalar tensor in scene units."""
        return self.raw_beta.abs() + MINIMUM_BETA

    def forward(self, signed_distance: Tensor) -> Tensor:
        """Density of a signed distance of any shape."""
        return laplace_density(signed_distance, self.beta)
