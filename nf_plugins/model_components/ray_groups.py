"""Rays of one bundle by the image that they belong to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

ORIGIN_DIGITS = 6
"""Origins that agree in so many decimals (scene units) are of one camera."""


class RayGroup(NamedTuple):
    """Rays of one camera at one time."""

    rows: Tensor
    """Which rays of the bundle, int64 ``(K,)``."""
    time: float
    """In [0, 1]."""
    center: Tensor
    """Position of the camera ``(3,)``."""
    target_id: int
    """The training image; -1 in evaluation."""
    source_ids: tuple[int, ...]
    """Images to blend from; empty where they are to be chosen."""


def group_rays(ray_bundle: RayBundle, times: Tensor) -> list[RayGroup]:
    """The groups of a bundle, in the order in which their first rays come.

    Args:
        ray_bundle: Rays ``(R,)``; metadata may hold ``target_ids`` (R, 1) and ``source_ids`` (R, S), -1 where there are
            fewer. Without target ids rays belong together that have one origin and time.
        times: Of the rays, ``(R,)`` or ``(R, 1)``.
    """
    times = times.reshape(-1)
    targets, sources = (ray_bundle.metadata.get(key) for key in ("target_ids", "source_ids"))
    if targets is not None:
        keys = targets.reshape(len(times), -1)
    else:
        scale = 10**ORIGIN_DIGITS
        keys = torch.cat([times[:, None].double(), ray_bundle.origins.reshape(-1, 3).double()], dim=-1)
        keys = (keys * scale).round().long()
    _, inverse = torch.unique(keys, dim=0, return_inverse=True)
    groups = []
    for key in torch.unique(inverse).tolist():
        rows = (inverse == key).nonzero()[:, 0]
        first = int(rows[0])
        chosen = () if sources is None else tuple(index for index in sources[first].tolist() if index >= 0)
        target = -1 if targets is None else int(targets[first])
        groups.append(RayGroup(rows, float(times[first]), ray_bundle.origins.reshape(-1, 3)[first], target, chosen))
    return sorted(groups, key=lambda group: int(group.rows[0]))
