"""Directions as sines and cosines of their components, in octaves without a factor of pi."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DirectionEncoding(nn.Module):
    """The components themselves, then for each octave k the sines and the cosines of 2^k times them.

    Args:
        num_frequencies: Octaves, from 2^0.
    """

    def __init__(self, num_frequencies: int = 1) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.out_dim = 3 * (1 + 2 * num_frequencies)

    def forward(self, directions: Tensor) -> Tensor:
        """Features ``(*batch, out_dim)`` of directions ``(*batch, 3)``, radians."""
        parts = [directions]
        for octave in range(self.num_frequencies):
            angles = directions * 2.0**octave
            parts += [torch.sin(angles), torch.cos(angles)]
        return torch.cat(parts, dim=-1)
