"""The cameras of a dataset as what image-based methods look things up with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from nerfstudio.cameras.cameras import CameraType
from torch import Tensor

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_times import frame_ids_from_times

PIXEL_CENTRE = 0.5
"""nerfstudio counts pixels from the corner of the first one, OpenCV from its centre."""


class SceneCameras(NamedTuple):
    """Of N images, T frames, on the CPU."""

    camera_to_worlds: Tensor
    """``(N, 3, 4)``, OpenGL's axes."""
    world_to_cameras: Tensor
    """``(N, 3, 4)``, OpenCV's axes."""
    intrinsics: Tensor
    """``(N, 3, 3)``; the centre of the first pixel is (0, 0)."""
    sizes: Tensor
    """int64 ``(N, 2)``, height and width."""
    times: Tensor
    """``(N,)``."""
    frame_ids: Tensor
    """int64 ``(N,)``."""
    camera_ids: Tensor
    """int64 ``(N,)``."""
    frame_times: Tensor
    """``(T,)``."""
    frame_boxes: Tensor
    """``(T, 2, 3)``, scene units."""


def scene_cameras(dataset: DynamicDataset, pinholes: bool = True) -> SceneCameras:
    """The cameras of a dataset's images.

    Boxes are ``frame_boxes`` of the metadata, else ``scene_aabb`` at all times. A still scene is one frame.

    Raises:
        InputError: ``pinholes``, and an image has lens distortion or its camera is no perspective one.
    """
    cameras, count = dataset.cameras, len(dataset)
    if pinholes:
        _require_pinholes(dataset)
    poses = cameras.camera_to_worlds.cpu()
    times = torch.zeros(count) if cameras.times is None else cameras.times.cpu().reshape(count).float()
    frame_times = torch.zeros(1)
    if cameras.times is not None:
        frame_times = dataset.metadata.get("frame_times", torch.unique(times)).cpu().float()
    ids = (cameras.metadata or {}).get("camera_id")
    camera_ids = torch.arange(count) if ids is None else ids.cpu().reshape(count).long()
    boxes = dataset.metadata.get("frame_boxes")
    if boxes is None:
        box = dataset.metadata.get("scene_aabb", dataset.scene_box.aabb)
        boxes = torch.as_tensor(box)[None].expand(len(frame_times), 2, 3)
    return SceneCameras(
        camera_to_worlds=poses,
        world_to_cameras=opencv_world_to_cameras(poses),
        intrinsics=_intrinsics(dataset),
        sizes=torch.cat([cameras.height, cameras.width], dim=-1).reshape(count, 2).long().cpu(),
        times=times,
        frame_ids=frame_ids_from_times(times, frame_times),
        camera_ids=camera_ids,
        frame_times=frame_times,
        frame_boxes=torch.as_tensor(boxes).float().cpu(),
    )


def opencv_world_to_cameras(camera_to_worlds: Tensor) -> Tensor:
    """World-to-camera matrices ``(*batch, 3, 4)`` with OpenCV's axes of OpenGL camera-to-world ones."""
    poses = camera_to_worlds.double()
    rotation = (poses[..., :3] * poses.new_tensor([1.0, -1.0, -1.0])).transpose(-1, -2)
    return torch.cat([rotation, -rotation @ poses[..., 3:]], dim=-1).to(camera_to_worlds)


def _intrinsics(dataset: DynamicDataset) -> Tensor:
    cameras, count = dataset.cameras, len(dataset)
    intrinsics = torch.eye(3).repeat(count, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = cameras.fx.cpu().reshape(count), cameras.fy.cpu().reshape(count)
    intrinsics[:, 0, 2] = cameras.cx.cpu().reshape(count) - PIXEL_CENTRE
    intrinsics[:, 1, 2] = cameras.cy.cpu().reshape(count) - PIXEL_CENTRE
    return intrinsics


def _require_pinholes(dataset: DynamicDataset) -> None:
    cameras = dataset.cameras
    other = (cameras.camera_type.reshape(-1) != CameraType.PERSPECTIVE.value).nonzero()[:, 0]
    if len(other):
        raise InputError(
            f"The camera of {dataset.image_filenames[int(other[0])]} is of the type "
            f"{CameraType(int(cameras.camera_type.reshape(-1)[other[0]])).name}, expected PERSPECTIVE: image-based "
            "methods look colours up through pinholes, so convert the images first."
        )
    if cameras.distortion_params is None:
        return
    distorted = (cameras.distortion_params != 0).any(-1).reshape(-1).nonzero()[:, 0]
    if len(distorted):
        first = int(distorted[0])
        values = ", ".join(f"{value:.3g}" for value in cameras.distortion_params.reshape(-1, 6)[first].tolist())
        raise InputError(
            f"{len(distorted)} of {len(dataset)} images have lens distortion (k1, k2, k3, k4, p1, p2 of "
            f"{dataset.image_filenames[first]} are {values}), expected none, since image-based methods look colours up "
            "through pinholes: add --undistort True after the dataparser's name, or undistort the images."
        )
