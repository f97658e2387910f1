"""Styles for filter banks: what the levels add is modulated by the position and weighed against the other levels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

EPSILON = 1e-8
Style = Literal["demodulated", "layernorm"]
"""Per-level modulation and attention over the levels; or the normalised linear layer of the reference."""


def modulated_linear(inputs: Tensor, scales: Tensor, weight: Tensor) -> Tensor:
    """Linear layers whose input channels are scaled, and whose weights are then brought back to unit length.

    ``y_o = sum_k W_ok s_k x_k / sqrt(sum_k (W_ok s_k)^2 + eps)``: modulation and demodulation of weights as in
    Karras et al., *StyleGAN2*, CVPR 2020, Eq. 1 and 3. Independent inputs of unit variance give outputs of unit
    variance, whatever the scales.

    Args:
        inputs: x, ``(levels, N, inputs)``.
        scales: s, of the same shape.
        weight: W, ``(levels, inputs, outputs)``.

    Returns:
        ``(levels, N, outputs)``.
    """
    # The weights of a point are never formed: scales act on the inputs, lengths are a product of the squares.
    squared_lengths = torch.bmm(scales.square(), weight.square())
    return torch.bmm(inputs * scales, weight) * torch.rsqrt(squared_lengths + EPSILON)


class LevelModulation(nn.Module):
    """Modulation of each level by the position, and attention of each point over the levels.

    Scales are ``1 + C_l h`` and logits ``D h`` of the first sine layer h. The attention is a softmax over the levels;
    it multiplies them times their number, so that equal attention leaves them as they are. Levels that are not active
    yet take part in the softmax: the others do not change when one comes in.

    Args:
        num_levels: Levels.
        width: Width of h and of the levels.
    """

    def __init__(self, num_levels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_levels, width, width) / math.sqrt(width))
        self.scales = nn.Parameter(torch.empty(num_levels, width, width).uniform_(-1, 1) / width)
        self.attention_logits = nn.Linear(width, num_levels)

    def attention(self, hidden: Tensor) -> Tensor:
        """Attention over all levels ``(N, levels)``, which sums to 1, from h ``(N, width)``."""
        return torch.softmax(self.attention_logits(hidden), dim=-1)

    def forward(self, filtered: Tensor, hidden: Tensor) -> Tensor:
        """Styles active levels ``(active, N, width)`` with h ``(N, width)``."""
        num_active = len(filtered)
        scales = 1 + torch.matmul(hidden, self.scales[:num_active])
        styled = modulated_linear(filtered, scales, self.weight[:num_active])
        shares = len(self.weight) * self.attention(hidden)
        return styled * shares.T[:num_active, :, None]


class LayerNormStyle(nn.Module):
    """One linear layer for all levels, and normalisation over the channels without learnt factors.

    What the style block of the HashModNFFBanks reference computes; it does not depend on the position otherwise.

    Args:
        width: Width of the levels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, filtered: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Styles levels ``(*batch, width)``; ``hidden`` plays no part."""
        styled = self.linear(filtered)
        return nn.functional.layer_norm(styled, styled.shape[-1:])
