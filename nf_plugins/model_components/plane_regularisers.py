"""What feature planes are asked to be: smooth, and steady in time.

Each term is a sum over scales of means over planes, features and cells, so that neither the number of features nor the
resolution, nor the unit of length changes what a weight of 1 means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.field_components.plane_stack import PlaneStackEncoding


def total_variation(encoding: PlaneStackEncoding, *, space_axis_only: bool = False) -> Tensor:
    """Mean squared difference of neighbours along rows, plus the same along columns; spatial and temporal planes.

    Args:
        encoding: The planes.
        space_axis_only: Leave out neighbours in time on temporal planes, and average over the six planes, as in
            K-Planes.
    """
    total = encoding.spatial[0].new_zeros(())
    for spatial, temporal in zip(encoding.spatial, encoding.temporal, strict=True):
        in_space = squared_steps(spatial, -1) + squared_steps(spatial, -2)
        if space_axis_only:
            total = total + (in_space + squared_steps(temporal, -1)) / 2
        else:
            total = total + in_space + squared_steps(temporal, -1) + squared_steps(temporal, -2)
    return total


def time_smoothness(encoding: PlaneStackEncoding) -> Tensor:
    """Mean squared second difference along time of the temporal planes; 0 with fewer than three cells."""
    total = encoding.temporal[0].new_zeros(())
    if encoding.temporal_resolution < 3:
        return total
    for planes in encoding.temporal:
        total = total + torch.diff(planes, n=2, dim=-2).square().mean()
    return total


def time_plane_deviation(encoding: PlaneStackEncoding, *, squared: bool = False) -> Tensor:
    """How far temporal planes are from 1, which in a product means that nothing changes: mean of |1 - p|.

    Args:
        encoding: The planes.
        squared: (1 - p)^2 instead.
    """
    total = encoding.temporal[0].new_zeros(())
    for planes in encoding.temporal:
        total = total + ((1 - planes).square() if squared else (1 - planes).abs()).mean()
    return total


def squared_steps(planes: Tensor, axis: int) -> Tensor:
    """Mean squared difference of neighbours along an axis; 0 where there is one cell alone."""
    if planes.shape[axis] < 2:
        return planes.new_zeros(())
    return torch.diff(planes, dim=axis).square().mean()
