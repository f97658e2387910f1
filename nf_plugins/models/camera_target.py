"""A nerfstudio camera as the target of an image-based method."""

from __future__ import annotations

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.model_components.image_depth_range import image_depth_range
from nf_plugins.model_components.target_view import TargetView


def opencv_camera(camera: Cameras) -> tuple[Tensor, Tensor]:
    """Intrinsics ``(3, 3)`` and world-to-camera matrix ``(3, 4)`` of one camera, in OpenCV's conventions.

    Axes are x right, y down, z forward; the centre of the first pixel is (0, 0). Distortion is left out.
    """
    camera = camera.flatten()
    camera_to_world = camera.camera_to_worlds[0].clone()
    camera_to_world[:, 1:3] *= -1
    rotation = camera_to_world[:, :3].T
    world_to_camera = torch.cat([rotation, -rotation @ camera_to_world[:, 3:]], dim=1)
    intrinsics = torch.eye(3, dtype=world_to_camera.dtype, device=world_to_camera.device)
    intrinsics[0, 0], intrinsics[1, 1] = camera.fx[0, 0], camera.fy[0, 0]
    intrinsics[0, 2], intrinsics[1, 2] = camera.cx[0, 0] - 0.5, camera.cy[0, 0] - 0.5
    return intrinsics, world_to_camera


def target_view(camera: Cameras, box: Tensor, time: float) -> TargetView:
    """The view of one camera, whose depths reach over a box.

    Args:
        camera: One camera.
        box: Lower and upper corner of what is seen ``(2, 3)``, scene units.
        time: In [0, 1].
    """
    intrinsics, world_to_camera = opencv_camera(camera)
    size = (int(camera.flatten().height[0, 0]), int(camera.flatten().width[0, 0]))
    z_range = torch.tensor(image_depth_range(world_to_camera, box.to(world_to_camera)), device=world_to_camera.device)
    return TargetView(intrinsics, world_to_camera, size, z_range.float(), time)


def picture_positions(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Column and row of every pixel, counted from the centre of the first, ``(height, width, 2)``."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([columns, rows], dim=-1)
