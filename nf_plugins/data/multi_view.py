"""How much a capture sees of a moving scene at once, and how fast its cameras move.

A monocular video whose camera jumps or circles quickly is nearly as informative as several cameras. Effective
multi-view factors measure that (Gao et al., "Monocular Dynamic View Synthesis: A Reality Check", NeurIPS 2022): the
full factor compares the camera's motion with the scene's and needs scene flow; the angular factor needs the poses
alone, and is what is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MultiViewFactors:
    """Angles in degrees, seen from the look-at point."""

    look_at_point: Tensor
    """(3,): the point nearest to all optical axes, scene units."""
    views_per_time: tuple[int, float, int]
    """Fewest, mean and most images that share a time."""
    simultaneous_span: float
    """Largest angle between two images of one time, mean over the times; 0 with one view at a time."""
    angular_speed: float
    """Angular multi-view factor: mean angle between the camera positions of consecutive times of the same physical
    camera, degrees per frame (times the frames per second it is the published factor in degrees per second)."""


def multi_view_factors(camera_to_worlds: Tensor, times: Tensor, camera_ids: Tensor) -> MultiViewFactors:
    """Factors of the training images of a capture.

    Args:
        camera_to_worlds: (N, 3, 4), OpenGL axes.
        times: (N,).
        camera_ids: int (N,), the physical camera of every image.
    """
    look_at = point_nearest_to_axes(camera_to_worlds)
    directions = torch.nn.functional.normalize(camera_to_worlds[:, :, 3] - look_at, dim=-1)
    distinct_times, time_ids, views = torch.unique(times, return_inverse=True, return_counts=True)
    spans = []
    for time_id in range(len(distinct_times)):
        cosines = directions[time_ids == time_id] @ directions[time_ids == time_id].T
        spans.append(float(torch.rad2deg(torch.arccos(cosines.clamp(-1, 1))).fill_diagonal_(0).max()))
    steps = []
    for camera_id in torch.unique(camera_ids):
        of_camera = torch.nonzero(camera_ids == camera_id)[:, 0]
        path = directions[of_camera[torch.argsort(times[of_camera], stable=True)]].double()
        # From sine and cosine: the cosine alone cannot tell small angles from zero.
        sines = torch.linalg.cross(path[1:], path[:-1]).norm(dim=-1)
        steps.append(torch.rad2deg(torch.atan2(sines, (path[1:] * path[:-1]).sum(-1))))
    all_steps = torch.cat(steps)
    return MultiViewFactors(
        look_at_point=look_at,
        views_per_time=(int(views.min()), float(views.float().mean()), int(views.max())),
        simultaneous_span=sum(spans) / len(spans),
        angular_speed=float(all_steps.mean()) if len(all_steps) else 0.0,
    )


def point_nearest_to_axes(camera_to_worlds: Tensor) -> Tensor:
    """The point (3,) with the least sum of squared distances to the optical axes of cameras (N, 3, 4).

    Where all axes are parallel, the one of these points that is nearest to the mean camera position.
    """
    axes = torch.nn.functional.normalize(camera_to_worlds[:, :, 2].double(), dim=-1)
    positions = camera_to_worlds[:, :, 3].double()
    middle = positions.mean(dim=0)
    across = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    target = (across @ (positions - middle)[:, :, None]).sum(dim=0)
    offset = torch.linalg.pinv(across.sum(dim=0), rtol=1e-6) @ target
    return (middle + offset[:, 0]).to(camera_to_worlds.dtype)
