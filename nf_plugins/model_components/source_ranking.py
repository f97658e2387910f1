"""Which cameras a view's colours are blended from: the nearest, some of them at random in training."""

from __future__ import annotations

import torch
from torch import Tensor

COINCIDENCE = 1e-6
"""Cameras closer than this part of the rig's radius are the same camera."""


def rank_by_distance(center: Tensor, centers: Tensor) -> Tensor:
    """Cameras in order of their distance from a position; equally far ones keep their order.

    Args:
        center: Position ``(3,)``.
        centers: Positions of the cameras ``(N, 3)``.

    Returns:
        int64 ``(N,)``, the nearest first.
    """
    return torch.argsort(_distances(center, centers), stable=True)


def coinciding(center: Tensor, centers: Tensor) -> Tensor:
    """Which cameras stand where the position is, bool ``(N,)``: closer than a millionth of the rig's radius."""
    positions = centers.double()
    radius = (positions - positions.mean(0)).norm(dim=-1).max().clamp_min(1.0 if len(positions) == 1 else 1e-12)
    return _distances(center, centers) <= COINCIDENCE * radius


def training_sources(
    order: Tensor,
    is_target: Tensor,
    count: int,
    *,
    extra: int = 2,
    self_probability: float = 0.05,
    skip_nearest: bool = False,
    generator: torch.Generator,
) -> list[int]:
    """Draws the sources of a training view.

    Candidates are the nearest cameras other than the target; now and then the target comes before them, so that an
    exact source does not surprise in rendering. Of the first ``count + extra`` candidates ``count`` are drawn.

    Args:
        order: Of :func:`rank_by_distance` from the target.
        is_target: Which cameras are the target itself, bool ``(N,)``.
        count: Sources wanted.
        extra: Candidates more than that.
        self_probability: How often the target is among the candidates.
        skip_nearest: Leave out rank 0 whatever it is, as published, in place of the target.
        generator: Source of randomness, on the CPU.

    Returns:
        Positions in ``is_target``, without repetition, in the order drawn; fewer than ``count`` where there are not so
        many cameras.
    """
    ranked = order.tolist()
    targets = [index for index in ranked if bool(is_target[index])]
    candidates = ranked[1:] if skip_nearest else [index for index in ranked if not bool(is_target[index])]
    # Drawn in any case, so that the randomness that follows does not depend on the outcome.
    prepend_target = float(torch.rand((), generator=generator)) < self_probability
    if prepend_target and targets:
        candidates = targets[:1] + [index for index in candidates if index != targets[0]]
    candidates = candidates[: count + extra]
    drawn = torch.randperm(len(candidates), generator=generator)[:count]
    return [candidates[index] for index in drawn.tolist()]


def rendering_sources(order: Tensor, coincides: Tensor, count: int, *, skip_nearest: bool = False) -> list[int]:
    """The sources of a rendered view: the nearest cameras that do not stand where it is taken from.

    Args:
        order: Of :func:`rank_by_distance`.
        coincides: Of :func:`coinciding`.
        count: Sources wanted.
        skip_nearest: Leave out rank 0 whatever it is, as published, which loses the best neighbour of a new view.

    Returns:
        Positions in ``coincides``, the nearest first; fewer than ``count`` where there are not so many cameras. Where
        the only camera coincides it is the source all the same.
    """
    ranked = order.tolist()
    others = ranked[1:] if skip_nearest else [index for index in ranked if not bool(coincides[index])]
    return (others or ranked)[:count]


def _distances(center: Tensor, centers: Tensor) -> Tensor:
    # Differences of float32 positions far from the origin are exact in float64.
    return (centers.double() - center.double()).norm(dim=-1)
