"""Random Fourier features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.point_encoding_base import PointEncoding


class FourierFeatures(PointEncoding):
    """``[x, sin(2 pi x B), cos(2 pi x B)]`` with a fixed matrix B of normal numbers (Tancik et al., NeurIPS 2020).

    B is saved with the model: without it the weights behind it mean nothing.

    Args:
        in_dim: Dimensions of the points.
        num_features: Number of frequencies, the columns of B.
        sigma: Standard deviation of the frequencies, cycles per scene unit.

    Raises:
        InputError: No frequencies, or a sigma that is not positive.
    """

    frequencies: Tensor

    def __init__(self, in_dim: int = 3, num_features: int = 128, sigma: float = 1.0) -> None:
        if num_features < 1 or sigma <= 0:
            raise InputError(
                f"Fourier features need at least 1 frequency and a positive sigma, got {num_features} and {sigma:g}."
            )
        super().__init__(in_dim, in_dim + 2 * num_features)
        self.register_buffer("frequencies", torch.randn(in_dim, num_features) * sigma)

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        angles = points @ (2 * math.pi * self.frequencies)
        return torch.cat([points, torch.sin(angles), torch.cos(angles)], dim=-1)
