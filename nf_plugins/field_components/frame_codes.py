"""A learned vector for every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_linear import interpolate_coefficients


class FrameCodes(nn.Module):
    """One code per frame, drawn from a unit Gaussian (ResFields' table; Li et al., DyNeRF, Sec. 3.2).

    Between two frames the codes are blended linearly.

    Args:
        num_frames: Number of training frames T.
        code_dim: Length of a code.
    """

    def __init__(self, num_frames: int, code_dim: int = 64) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.weight = nn.Parameter(torch.randn(num_frames, code_dim))

    def forward(self, frames: FrameBatch) -> Tensor:
        """Codes ``(G, code_dim)`` of the groups."""
        return interpolate_coefficients(self.weight, frames.coordinates)
