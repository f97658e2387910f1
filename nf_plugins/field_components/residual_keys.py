"""Which groups of a batch share a weight, worked out once for all layers and passes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch, RowGroups, group_rows
from nf_plugins.field_components.residual_factors import ResidualFactors


class DistinctKeys(NamedTuple):
    """Keys of groups without repetition."""

    keys: Tensor
    """``(U,)``."""
    inverse: Tensor | None
    """Position of each group's key in ``keys``, ``(G,)``; None where every group has its own, in order."""


def check_frame_ids(frames: FrameBatch, num_frames: int) -> None:
    """Raises InputError when a frame id lies beyond the training frames of a layer."""
    first, last = frames.shared("frame range", lambda: tuple(map(int, frames.frame_ids.aminmax())))
    if first < 0 or last >= num_frames:
        raise InputError(
            f"Frame {first if first < 0 else last} was asked of a residual layer made for num_frames={num_frames} "
            f"(0 to {num_frames - 1}); take frames from the training times, or build the layer for more frames."
        )


def distinct_keys(frames: FrameBatch, factors: ResidualFactors) -> DistinctKeys:
    """The keys of a batch, each once."""

    def find() -> DistinctKeys:
        keys = factors.keys(frames)
        if len(keys) == 1:
            return DistinctKeys(keys, None)
        distinct, inverse = torch.unique(keys, return_inverse=True)
        return DistinctKeys(keys, None) if len(distinct) == len(keys) else DistinctKeys(distinct, inverse)

    return frames.shared(("distinct", factors.key_kind), find)


def group_points(frames: FrameBatch, factors: ResidualFactors) -> tuple[RowGroups, FrameBatch]:
    """Groups of flat points that have one frame each, and the frames of those groups."""

    def group() -> tuple[RowGroups, FrameBatch]:
        groups = group_rows(factors.keys(frames))
        first_rows = groups.split(torch.arange(len(frames), device=frames.frame_ids.device))[:, 0]
        return groups, FrameBatch(frames.frame_ids[first_rows], frames.coordinates[first_rows])

    return frames.shared(("groups", factors.key_kind), group)
