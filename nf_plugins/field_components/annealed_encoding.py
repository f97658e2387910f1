"""Fourier features whose high frequencies fade in during training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def annealing_window(alpha: Tensor | float, num_frequencies: int) -> Tensor:
    """Weight of each frequency band, ``(1 - cos(pi * clip(alpha * K - k, 0, 1))) / 2`` (Park et al. 2021, Eq. 8).

    Args:
        alpha: Progress in [0, 1]; at 1 all bands are on.
        num_frequencies: Number of bands K.

    Returns:
        Weights ``(K,)`` in [0, 1].
    """
    progress = torch.as_tensor(alpha, dtype=torch.get_default_dtype())
    bands = torch.arange(num_frequencies, device=progress.device, dtype=progress.dtype)
    return 0.5 * (1 - torch.cos(math.pi * (progress * num_frequencies - bands).clamp(0, 1)))


class AnnealedPositionalEncoding(nn.Module):
    """``[x, sin(2^0 pi x), cos(2^0 pi x), sin(2^1 pi x), ...]`` with a window on the bands.

    The identity is never damped. All input dimensions of a band stand together.

    Args:
        in_dim: Input dimension.
        num_frequencies: Number of octaves K.
    """

    frequencies: Tensor

    def __init__(self, in_dim: int, num_frequencies: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.num_frequencies = num_frequencies
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(num_frequencies), persistent=False)

    @property
    def out_dim(self) -> int:
        """Width of the encoding."""
        return self.in_dim * (1 + 2 * self.num_frequencies)

    def forward(self, inputs: Tensor, window: Tensor | None = None) -> Tensor:
        """Encodes ``(*batch, in_dim)`` to ``(*batch, out_dim)``; ``window``: band weights ``(K,)``, default 1."""
        if self.num_frequencies == 0:
            return inputs
        angles = inputs[..., None, :] * self.frequencies[:, None].to(inputs.dtype)
        bands = torch.stack([torch.sin(angles), torch.cos(angles)], dim=-2)
        if window is not None:
            bands = bands * window.to(inputs.dtype)[:, None, None]
        return torch.cat([inputs, bands.flatten(-3)], dim=-1)
