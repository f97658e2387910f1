"""Points in a ray bundle's clothes: nerfstudio's pipeline hands a model nothing else."""

from __future__ import annotations

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

IS_POINT = "is_point"


def point_bundle(points: Tensor, times: Tensor) -> RayBundle:
    """A bundle of rays without length that stand for points.

    Args:
        points: ``(N, 3)``, scene units; they become the origins.
        times: ``(N, 1)`` in [0, 1].
    """
    nothing = torch.zeros_like(points[:, :1])
    return RayBundle(
        origins=points,
        directions=torch.tensor([0.0, 0.0, 1.0], device=points.device).expand_as(points),
        pixel_area=nothing,
        nears=nothing,
        fars=nothing,
        times=times,
        metadata={IS_POINT: torch.ones_like(nothing, dtype=torch.bool)},
    )


def holds_points(ray_bundle: RayBundle) -> bool:
    """Whether a bundle was made by :func:`point_bundle`."""
    return IS_POINT in ray_bundle.metadata
