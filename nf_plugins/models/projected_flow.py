"""Scene flow of blended fields as a camera sees it: optical flow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nf_plugins.model_components.blended_rendering import expected_pixel
from nf_plugins.model_components.sample_space import SampleSpace
from nf_plugins.models.scene_flow_pass import Reference, flow_towards


def optical_flow_of(
    reference: Reference, direction: int, space: SampleSpace, poses: Tensor, intrinsics: Tensor
) -> Tensor:
    """Where what rays see goes in the image while the camera moves too (NSFF Sec. 3.2, of both fields).

    The expected points of a ray before and after the motion are projected; the static field's points stay.

    Args:
        reference: Both networks along R rays.
        direction: 1 to the next frame, -1 to the previous one.
        space: The coordinates of the samples.
        poses: Of the rays' own camera and of that of the other frame, OpenGL ``(2, 3, 4)``.
        intrinsics: fx, fy, cx, cy of both, pixels ``(4,)``.

    Returns:
        ``(R, 2)``, pixels of the pinhole camera.
    """
    points, shares = reference.samples.points, reference.blended.weights
    weights = torch.cat([shares.dynamic, shares.static], dim=-1)
    moved = points + flow_towards(reference.dynamic, direction)
    before, after = (torch.cat([dynamic, points], dim=-2) for dynamic in (points, moved))
    own, other = (
        expected_pixel(weights, here, space, pose, intrinsics, reach="pixels")
        for here, pose in zip((before, after), poses, strict=True)
    )
    return other - own


def optical_flow_image(
    reference_at: Callable[[Tensor, Tensor, Tensor], Reference],
    space: SampleSpace,
    rays: RayBundle,
    *,
    frame: int,
    direction: int,
    camera_to_worlds: Tensor,
    intrinsics: Tensor,
    rays_per_chunk: int,
) -> Tensor:
    """:func:`optical_flow_of` all pixels of a frame.

    Args:
        reference_at: Gives both networks along rays: origins and directions ``(R, 3)``, frames ``(R,)``.
        space: The coordinates of the samples.
        rays: Of the image ``(H, W)``.
        frame: Index of the frame.
        direction: 1 to the next frame, -1 to the previous one.
        camera_to_worlds: Of all frames ``(N, 3, 4)``.
        intrinsics: fx, fy, cx, cy, pixels ``(4,)``.
        rays_per_chunk: Rays at once.

    Returns:
        ``(H, W, 2)``, pixels of the pinhole camera.
    """
    origins, directions = rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3)
    poses, flows = camera_to_worlds[[frame, frame + direction]], []
    for rows in torch.arange(len(origins), device=origins.device).split(rays_per_chunk):
        frames = origins.new_full((len(rows),), float(frame))
        reference = reference_at(origins[rows], directions[rows], frames)
        flows.append(optical_flow_of(reference, direction, space, poses, intrinsics))
    return torch.cat(flows).reshape(*rays.origins.shape[:-1], 2)
