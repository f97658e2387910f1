"""Where a surface method estimates its geometric regularisers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.field_components.frame_batch import FrameBatch, RowGroups
from nf_plugins.model_components.temporal_occupancy import CARVED, TemporalOccupancyGrid

FREE_SPACE_REACH = 0.05
"""Spread of the points around samples at which free space is looked at, as a fraction of the box."""


class RegularisationPoints(NamedTuple):
    """Points grouped by frame."""

    points: Tensor
    """``(G, Q, 3)``, scene units."""
    is_free: Tensor
    """Which of them are known to be empty, bool ``(G, Q)``."""
    counts: Tensor
    """Which of them count, bool ``(G, Q)``: all but the samples of padded slots, which repeat a ray."""


def choose_regularisation_points(
    points: Tensor, groups: RowGroups, frames: FrameBatch, fraction: float, occupancy: TemporalOccupancyGrid | None
) -> RegularisationPoints:
    """A random part of the samples and, with an occupancy, as many points around them.

    Half of the points around lie within a few cells of a sample, half anywhere in the box. Those in carved cells serve
    the free-space loss too.

    Args:
        points: Samples grouped by frame ``(G, P, 3)``.
        groups: How rays fill the groups.
        frames: Frames of the G groups.
        fraction: Share of the samples.
        occupancy: What the masks say to be empty.
    """
    count = max(2, round(fraction * points.shape[1]))
    columns = torch.randperm(points.shape[1], device=points.device)[:count]
    chosen = points[:, columns]
    counts = ~groups.is_padding()[:, columns // (points.shape[1] // groups.capacity)]
    if occupancy is None:
        return RegularisationPoints(chosen, torch.zeros_like(counts), counts)
    lower, upper = occupancy.box
    near = chosen[:, : len(columns) // 2]
    near = near + torch.randn_like(near) * FREE_SPACE_REACH * (upper - lower)
    anywhere = lower + torch.rand_like(chosen[:, len(columns) // 2 :]) * (upper - lower)
    around = torch.cat([near, anywhere], dim=1).clamp(lower, upper)
    is_free = occupancy.lookup(around, frames.frame_ids[:, None]) == CARVED
    return RegularisationPoints(
        torch.cat([chosen, around], 1),
        torch.cat([torch.zeros_like(counts), is_free], 1),
        torch.cat([counts, torch.ones_like(counts)], 1),
    )
