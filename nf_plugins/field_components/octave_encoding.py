"""Sines and cosines of the coordinates in octaves, without pi: the positional encoding of IDR and NeRF's code."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.point_encoding_base import PointEncoding


def octave_frequencies(num_frequencies: int, max_octave: float | None = None) -> Tensor:
    """Angular frequencies ``(K,)``, evenly spaced in octaves from 2^0 to 2^max_octave.

    Args:
        num_frequencies: Number of bands K.
        max_octave: The last octave; None for ``K - 1``, whole octaves.
    """
    last = num_frequencies - 1 if max_octave is None else max_octave
    return 2.0 ** torch.linspace(0.0, last, num_frequencies)


def sines_and_cosines(inputs: Tensor, frequencies: Tensor) -> Tensor:
    """``[sin(f_0 x), cos(f_0 x), sin(f_1 x), ...]``, all dimensions of a band together.

    Args:
        inputs: ``(*batch, D)``.
        frequencies: Angular frequencies ``(K,)``.

    Returns:
        ``(*batch, 2 K D)``.
    """
    angles = inputs[..., None, :] * frequencies[:, None].to(inputs.dtype)
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=-2).flatten(-3)


class OctaveEncoding(PointEncoding):
    """``[x, sin(2^0 x), cos(2^0 x), sin(2^1 x), ...]`` (Mildenhall et al. 2020; Yariv et al., *IDR*, NeurIPS 2020).

    The published code of both leaves out the factor pi of NeRF's Eq. 4.

    Args:
        in_dim: Dimensions of the points.
        num_frequencies: Number of bands.
        max_octave: The last octave; None for whole octaves.

    Raises:
        InputError: A negative number of bands.
    """

    frequencies: Tensor

    def __init__(self, in_dim: int = 3, num_frequencies: int = 6, max_octave: float | None = None) -> None:
        if num_frequencies < 0:
            raise InputError(f"num-frequencies is {num_frequencies}, expected 0 or more.")
        super().__init__(in_dim, in_dim * (1 + 2 * num_frequencies))
        self.register_buffer("frequencies", octave_frequencies(num_frequencies, max_octave), persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        return torch.cat([points, sines_and_cosines(points, self.frequencies)], dim=-1)
