"""The network on top of feature planes, which sees its input again just before its last hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LateSkipMLP(nn.Module):
    """Hidden layers with ReLU, the last of which also sees the input, and a linear head.

    Six hidden layers of 64 are those of Im4D (Lin et al., SIGGRAPH Asia 2023). A single hidden layer sees the input
    once.

    Attributes:
        width: Of the hidden layers.

    Args:
        in_dim: Inputs.
        width: Of the hidden layers.
        num_hidden: How many, at least 1.
        out_dim: Outputs.
    """

    def __init__(self, in_dim: int, width: int = 64, num_hidden: int = 6, out_dim: int = 1) -> None:
        super().__init__()
        self.width = width
        inputs = [in_dim, *[width] * (num_hidden - 2), width + in_dim] if num_hidden > 1 else [in_dim]
        self.hidden = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.head = nn.Linear(width, out_dim)

    def trunk(self, features: Tensor) -> Tensor:
        """What the head sees ``(*batch, width)`` of inputs ``(*batch, in_dim)``."""
        hidden = features
        for layer in list(self.hidden)[:-1]:
            hidden = torch.relu(layer(hidden))
        if len(self.hidden) > 1:
            hidden = torch.cat([hidden, features], dim=-1)
        return torch.relu(self.hidden[-1](hidden))

    def forward(self, features: Tensor) -> Tensor:
        """Outputs ``(*batch, out_dim)``."""
        return self.head(self.trunk(features))
