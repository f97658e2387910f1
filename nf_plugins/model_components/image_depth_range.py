"""The nearest and farthest depth of a box in a picture, one pair for the whole image (the published choice)."""

from __future__ import annotations

from torch import Tensor

from nf_plugins.model_components.projected_box import box_corners

DEPTH_LIMITS = (0.1, 100.0)
"""Scene units; the published limits, there in metres."""


def image_depth_range(
    world_to_camera: Tensor, box: Tensor, limits: tuple[float, float] = DEPTH_LIMITS
) -> tuple[float, float]:
    """Smallest and largest camera z of the box's corners, within the limits; the limits where nothing is left between.

    Args:
        world_to_camera: ``(3, 4)``, OpenCV's axes.
        box: Lower and upper corner ``(2, 3)``.
        limits: Nearest and farthest depth at all.
    """
    near, far = _clipped(world_to_camera, box, limits)
    return (near, far) if near < far else limits


def box_within_limits(world_to_camera: Tensor, box: Tensor, limits: tuple[float, float] = DEPTH_LIMITS) -> bool:
    """Whether some of the box lies in front of the camera within the limits."""
    near, far = _clipped(world_to_camera, box, limits)
    return near < far


def _clipped(world_to_camera: Tensor, box: Tensor, limits: tuple[float, float]) -> tuple[float, float]:
    depths = box_corners(box) @ world_to_camera[2, :3] + world_to_camera[2, 3]
    return max(float(depths.min()), limits[0]), min(float(depths.max()), limits[1])
