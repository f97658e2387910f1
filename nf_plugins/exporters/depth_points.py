"""Coloured points where cameras see the subject, from the depth that a model renders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.atomic_files import atomic_path
from nf_plugins.errors import InputError
from nf_plugins.exporters.rendering import render_frame
from nf_plugins.model_components.square_morphology import narrowed

DEPTH_OUTPUTS = ("median_depth", "depth")
"""Ray distances that a model may render, the best first: a median lies on a surface, a mean may lie between two."""


def median_depth_points(
    pipeline: Any,
    cameras: Cameras,
    *,
    mask_erosion: int = 15,
    accumulation: float = 0.5,
    on_camera: Callable[[], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points at the rendered depth of all pixels that are opaque and not at the rim of what is.

    Args:
        pipeline: Its model renders rgb, accumulation, and median_depth or depth along rays of unit length.
        cameras: Each with its time.
        mask_erosion: Side of a square in pixels; pixels whose square reaches beyond what is opaque are left out.
        accumulation: Opacity from which on a pixel counts.
        on_camera: Called after every camera.

    Returns:
        Points (N, 3) in world units (scene units where the data know no world) and their colours (N, 3).

    Raises:
        InputError: The model does not render one of these.
    """
    points, colors = [torch.zeros(0, 3)], [torch.zeros(0, 3)]
    for index in range(len(cameras)):
        camera = cameras[index : index + 1]
        outputs = render_frame(pipeline, camera)
        depth = depth_of(outputs)
        opaque = narrowed(outputs["accumulation"] > accumulation, mask_erosion)[..., 0]
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        depth, opaque, rgb = depth.cpu(), opaque.cpu(), outputs["rgb"][..., :3].cpu()
        opaque &= (depth[..., 0] > 0) & depth[..., 0].isfinite()
        points.append((rays.origins.cpu() + depth * rays.directions.cpu())[opaque])
        colors.append(rgb[opaque])
        if on_camera is not None:
            on_camera()
    metadata = getattr(pipeline.datamanager.train_dataset, "metadata", None) or {}
    merged = in_world(torch.cat(points), metadata.get("world_from_scene"))
    return merged.numpy(), (torch.cat(colors).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def depth_of(outputs: dict[str, Tensor]) -> Tensor:
    """The ray distance (H, W, 1) of a model's outputs.

    Raises:
        InputError: There is none, or no opacity or colour.
    """
    name = next((name for name in DEPTH_OUTPUTS if name in outputs), None)
    missing = [needed for needed in ("rgb", "accumulation") if needed not in outputs]
    if name is None or missing:
        raise InputError(
            f"The model renders {', '.join(sorted(outputs))}, expected rgb, accumulation and "
            f"{' or '.join(DEPTH_OUTPUTS)} to make points of: use a method that renders depth, or nf-export mesh."
        )
    return outputs[name]


def in_world(points: Tensor, world_from_scene: Tensor | None) -> Tensor:
    """Points (N, 3) of the scene in world units, float32."""
    if world_from_scene is None:
        return points.float()
    matrix = torch.as_tensor(world_from_scene).double().cpu()
    return (points.double() @ matrix[:3, :3].T + matrix[:3, 3]).float()


def one_per_voxel(
    points: NDArray[np.float32], colors: NDArray[np.uint8], size: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The mean point and colour of every voxel that holds points, in order of the voxels.

    Args:
        points: (N, 3).
        colors: (N, 3).
        size: Edge of a voxel, in the units of the points; 0 keeps all points.
    """
    if size <= 0 or len(points) == 0:
        return points, colors
    cells = np.floor(points.astype(np.float64) / size).astype(np.int64)
    _, owner, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    owner = owner.reshape(-1)
    values = np.concatenate([points.astype(np.float64), colors.astype(np.float64)], axis=1)
    sums = np.stack([np.bincount(owner, weights=column, minlength=len(counts)) for column in values.T], axis=1)
    means = sums / counts[:, None]
    return means[:, :3].astype(np.float32), np.round(means[:, 3:]).astype(np.uint8)


def write_points(path: Path, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> None:
    """Write a point cloud as binary PLY, atomically."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    rows = np.empty(len(points), dtype=[("point", "<f4", 3), ("color", "u1", 3)])
    rows["point"], rows["color"] = points, colors
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(header.encode("ascii") + rows.tobytes())
