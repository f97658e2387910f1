"""Colours as a learnt basis that depends on the view direction, with features as coordinates (K-Planes, Sec. 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ColourBasis(nn.Module):
    """For every direction a linear map from features to colours before the sigmoid.

    Args:
        feature_dim: F, coordinates of a colour.
        width: Of the one hidden layer that makes the map from the direction.
    """

    def __init__(self, feature_dim: int, width: int = 128) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.network = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 3 * feature_dim))

    def forward(self, features: Tensor, directions: Tensor) -> Tensor:
        """Colours ``(N, 3)`` in [0, 1] of features ``(N, F)`` seen along unit directions ``(N, 3)``."""
        basis = self.network(directions).unflatten(-1, (3, self.feature_dim))
        return torch.sigmoid((basis * features[:, None]).sum(-1))
