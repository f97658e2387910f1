"""Octaves of the HashModNFFBanks reference, which hold their inputs twice."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.field_components.octave_encoding import OctaveEncoding, sines_and_cosines


def faithful_octaves(inputs: Tensor, frequencies: Tensor) -> Tensor:
    """``[x, x, sin(f_0 x), cos(f_0 x), ...]``.

    Args:
        inputs: ``(*batch, D)``.
        frequencies: Angular frequencies ``(K,)``.

    Returns:
        ``(*batch, D (2 + 2 K))``.
    """
    return torch.cat([inputs, inputs, sines_and_cosines(inputs, frequencies)], dim=-1)


class FaithfulOctaveEncoding(OctaveEncoding):
    """The reference's positional encoding; the raw points come first, twice. Arguments as those of its base."""

    def __init__(self, in_dim: int = 3, num_frequencies: int = 6, max_octave: float | None = None) -> None:
        super().__init__(in_dim, num_frequencies, max_octave)
        self.out_dim += in_dim

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        return faithful_octaves(points, self.frequencies)
