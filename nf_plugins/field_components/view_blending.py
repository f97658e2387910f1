"""Colours of points as blends of what source images show there.

Lin et al. (*Efficient Neural Radiance Fields for Interactive Free-viewpoint Video*, SIGGRAPH Asia 2022), Peng et al.
(*Im4D*, SIGGRAPH Asia 2023, Sec. 3.2): a small network weighs the views; the colour is a convex combination.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Visibility = Literal["ignore", "mask"]
COLOR_DIM, DIRECTION_DIM = 3, 4
GROUP_DIM, POOLED_DIM, HIDDEN_DIM = 32, 16, 64
POSITIVE_START = 1.0
"""Biases of heads behind which a ReLU comes, at the start. A softmax does not see what is added to all scores."""


class ViewBlending(nn.Module):
    """Weighs source views at points.

    Order of a view's inputs: colour 3, features, direction code 4 (see
    :func:`~nf_plugins.model_components.source_projection.direction_code`). Time, position and density are none of them.

    Args:
        feature_dim: Channels of the image features.
        signed_scores: Scores of views may be negative. As published a ReLU comes before the softmax: no score can push
            a view's weight below that of a view with score 0.
        density_head: Adds a linear head from the pooled features, for methods whose density comes from the views.
        volume_dim: Channels of features of the point itself that join the pooled ones.
        direction_pooling: Adds a layer of the direction code to a view's colour and features before pooling.
        positive_start: Let the heads' biases start at 1. From 0, as published, one network in ten starts with scores,
            and one in three with densities, that are negative everywhere: the ReLU behind them cuts off value and
            gradient alike.
    """

    def __init__(
        self,
        feature_dim: int = 8,
        *,
        signed_scores: bool = False,
        density_head: bool = False,
        volume_dim: int = 0,
        direction_pooling: bool = False,
        positive_start: bool = True,
    ) -> None:
        super().__init__()
        self.signed_scores = signed_scores
        self.view_dim = COLOR_DIM + feature_dim
        point_dim = POOLED_DIM + volume_dim
        self.group = nn.Linear(3 * self.view_dim, GROUP_DIM)
        self.group_score = nn.Linear(GROUP_DIM, 1)
        self.pool = nn.Linear(GROUP_DIM, POOLED_DIM)
        self.hidden = nn.Linear(point_dim, HIDDEN_DIM)
        self.blend = nn.Linear(HIDDEN_DIM + point_dim + self.view_dim + DIRECTION_DIM, HIDDEN_DIM)
        self.blend_score = nn.Linear(HIDDEN_DIM, 1)
        self.density = nn.Linear(HIDDEN_DIM, 1) if density_head else None
        self.direction = nn.Linear(DIRECTION_DIM, self.view_dim) if direction_pooling else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        if positive_start:
            for head in (self.group_score, self.blend_score, self.density):
                if head is not None:
                    nn.init.constant_(head.bias, POSITIVE_START)

    def forward(
        self, inputs: Tensor, visible: Tensor | None = None, volume_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Blends.

        Args:
            inputs: Of every view and point ``(S, N, 3 + feature_dim + 4)``; one view is enough.
            visible: Views that count ``(S, N)``, bool; where none does, all do. None: all do.
            volume_features: ``(N, volume_dim)``, where there are any.

        Returns:
            Colours ``(N, 3)``, the hidden layer that :meth:`raw_density` takes ``(N, 64)``, and the weights of the
            views ``(S, N)``, which add up to 1.
        """
        if visible is not None:
            visible = visible | ~visible.any(dim=0)
        views, directions = inputs[..., : self.view_dim], inputs[..., self.view_dim :]
        pooled = self._pooled(views, directions, visible)
        if volume_features is not None:
            pooled = torch.cat([pooled, volume_features], dim=-1)
        hidden = F.relu(self.hidden(pooled))
        shared = torch.cat([hidden, pooled], dim=-1).expand(len(inputs), -1, -1)
        blended = F.relu(self.blend(torch.cat([shared, views, directions], dim=-1)))
        weights = self._softmax(self.blend_score(blended), visible)
        return (weights * inputs[..., :COLOR_DIM]).sum(dim=0), hidden, weights[..., 0]

    def raw_density(self, hidden: Tensor) -> Tensor:
        """What the density head says, before any activation: ``(N, 64)`` -> ``(N, 1)``."""
        assert self.density is not None, "built without density_head"
        return self.density(hidden)

    def _pooled(self, views: Tensor, directions: Tensor, visible: Tensor | None) -> Tensor:
        if self.direction is not None:
            views = views + F.relu(self.direction(directions))
        mean, variance = _statistics(views, visible)
        statistics = torch.cat([variance, mean], dim=-1).expand(len(views), -1, -1)
        group = F.relu(self.group(torch.cat([views, statistics], dim=-1)))
        weights = self._softmax(self.group_score(group), visible)
        return F.relu(self.pool((weights * group).sum(dim=0)))

    def _softmax(self, scores: Tensor, visible: Tensor | None) -> Tensor:
        scores = scores if self.signed_scores else F.relu(scores)
        if visible is not None:
            scores = scores.masked_fill(~visible[..., None], float("-inf"))
        return scores.softmax(dim=0)


def _statistics(views: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over the views; the variance of a single one is 0."""
    shares = torch.ones_like(views[..., :1]) if visible is None else visible[..., None].to(views)
    count = shares.sum(dim=0)
    mean = (shares * views).sum(dim=0) / count
    variance = (shares * (views - mean).square()).sum(dim=0) / (count - 1).clamp(min=1)
    return mean, variance


def weight_entropy(weights: Tensor) -> Tensor:
    """How evenly views are weighed: 1 for equal weights, 0 for a single view; a mean over points.

    Args:
        weights: ``(S, N)``; with a single view the entropy is 0.
    """
    if len(weights) == 1:
        return weights.new_zeros(())
    entropy = -(weights * weights.clamp(min=1e-10).log()).sum(dim=0)
    return (entropy / torch.log(weights.new_tensor(float(len(weights))))).mean()
