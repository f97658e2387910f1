"""Which frame each group of points belongs to: what a residual layer needs to know about time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from nf_plugins.field_components.frame_times import frame_coordinates, frame_ids_from_times

Shared = TypeVar("Shared")
WEIGHT_COPY_IN_POINTS = 48
"""Points whose arithmetic takes about as long as copying one weight matrix, measured on a CPU at width 128."""


@dataclass(frozen=True)
class FrameBatch:
    """The frames of G groups of points; all points of a group share one time.

    Layers that vary with time take points as ``(G, P, features)`` together with this.
    """

    frame_ids: Tensor
    """Nearest training frame of each group, int64 ``(G,)``."""
    coordinates: Tensor
    """Fractional frame index of each group in [0, T - 1], float ``(G,)``; equals the id at a frame's own time."""
    composed: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What layers worked out for these frames, composed weights above all, so that several passes of one step share
    it."""

    def shared(self, key: Any, compute: Callable[[], Shared]) -> Shared:
        """What ``compute`` returns, computed once for this batch and key."""
        if key not in self.composed:
            self.composed[key] = compute()
        return self.composed[key]

    @staticmethod
    def from_times(times: Tensor, frame_times: Tensor) -> FrameBatch:
        """Frames of groups at the times ``(G,)`` in [0, 1], given the sorted training times ``(T,)``."""
        return FrameBatch(frame_ids_from_times(times, frame_times), frame_coordinates(times, frame_times))

    @staticmethod
    def from_ids(frame_ids: Tensor) -> FrameBatch:
        """Frames of groups given as integer ids ``(G,)``."""
        return FrameBatch(frame_ids, frame_ids.to(torch.get_default_dtype()))

    def __len__(self) -> int:
        return len(self.frame_ids)


@dataclass(frozen=True)
class RowGroups:
    """Rows (rays, points) with equal keys gathered into groups of one size, padded where they do not fill it.

    Padding repeats a row of the same group; what is computed for it is dropped by :meth:`merge`, so it receives no
    gradient. With equal counts in key order nothing is moved: splitting is a reshape.
    """

    keys: Tensor
    """Key of each group ``(G,)``; a key with many rows may own several groups."""
    gather: Tensor | None
    """Row of each slot, int64 ``(G, capacity)``; None where splitting is a reshape."""
    slots: Tensor | None
    """Slot of each row in the flattened ``(G * capacity)`` layout, int64 ``(rows,)``; None likewise."""
    capacity: int
    """Slots of a group."""

    def split(self, rows: Tensor) -> Tensor:
        """``(rows, *features)`` to ``(G, capacity, *features)``."""
        if self.gather is None:
            return rows.reshape(len(self.keys), self.capacity, *rows.shape[1:])
        return rows[self.gather]

    def merge(self, grouped: Tensor) -> Tensor:
        """``(G, capacity, *features)`` back to ``(rows, *features)`` in the original order."""
        flat = grouped.flatten(0, 1)
        return flat if self.slots is None else flat[self.slots]

    def is_padding(self) -> Tensor:
        """True for slots that repeat a row, bool ``(G, capacity)``."""
        if self.slots is None:
            return torch.zeros(len(self.keys), self.capacity, dtype=torch.bool, device=self.keys.device)
        padding = torch.ones(len(self.keys) * self.capacity, dtype=torch.bool, device=self.keys.device)
        padding[self.slots] = False
        return padding.view(len(self.keys), self.capacity)


def choose_capacity(counts: Tensor, points_per_row: int) -> int:
    """Group size that makes the products and the copies of weights cheapest together.

    A slot costs the arithmetic of its points; a group costs one copy of the weights, which takes about as long as
    ``WEIGHT_COPY_IN_POINTS`` points (a 128-wide layer: 64 KiB of traffic against 16 k multiply-adds a point).

    Args:
        counts: Rows of each distinct key ``(U,)``.
        points_per_row: Points that each row stands for.
    """
    candidates = torch.arange(1, int(counts.max()) + 1, device=counts.device)
    groups = (counts[None] + candidates[:, None] - 1).div(candidates[:, None], rounding_mode="floor").sum(1)
    cost = groups * (candidates * points_per_row + WEIGHT_COPY_IN_POINTS)
    return int(candidates[cost.argmin()])


def group_rows(keys: Tensor, points_per_row: int = 1) -> RowGroups:
    """Gathers rows with equal keys, so that all rows of a group share one composed weight.

    Rows already in key order with equal counts are only reshaped. Otherwise all groups get one size; a key with more
    rows than that owns several groups, and the last group of a key is padded.

    Args:
        keys: Any comparable values (frame ids, times), shape ``(rows,)``; at least one row.
        points_per_row: Points that each row stands for (samples on a ray); it weighs padding against more groups.
    """
    num_rows = len(keys)
    distinct, inverse, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    largest = int(counts.max())
    if largest * len(distinct) == num_rows and bool((inverse[1:] >= inverse[:-1]).all()):
        return RowGroups(distinct, None, None, largest)
    capacity = choose_capacity(counts, points_per_row)
    groups_per_key = (counts + capacity - 1).div(capacity, rounding_mode="floor")
    first_group = groups_per_key.cumsum(0) - groups_per_key
    first_row = counts.cumsum(0) - counts
    order = torch.argsort(inverse, stable=True)
    key_of_sorted = inverse[order]
    rank_in_key = torch.arange(num_rows, device=keys.device) - first_row[key_of_sorted]
    slot_of_sorted = first_group[key_of_sorted] * capacity + rank_in_key
    key_of_group = torch.repeat_interleave(torch.arange(len(distinct), device=keys.device), groups_per_key)
    gather = order[first_row[key_of_group]][:, None].repeat(1, capacity).flatten()
    gather[slot_of_sorted] = order
    slots = torch.empty_like(order)
    slots[order] = slot_of_sorted
    return RowGroups(distinct[key_of_group], gather.view(-1, capacity), slots, capacity)
