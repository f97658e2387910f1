"""Removing from a mesh what no silhouette allows, for methods that are trained without masks.

Such methods also reconstruct the table and the background, which the reference does not hold. As in the evaluation of
NeuS (Wang et al. 2021), a vertex is removed when any view that sees its place shows background there, the mask having
been widened first. Meshes that were trained with masks are measured as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.visual_hull import project_points
from nf_plugins.progress import progress_bar

if TYPE_CHECKING:
    import trimesh

DILATION_PIXELS = 50.0
"""Radius of the published elliptic kernel of 101 pixels, at the width below."""
DILATION_WIDTH = 1600
_EMPTY = "has no foreground, which would remove the whole mesh: repair it, or leave --cull-by-masks out."


def dilation_radius(width: int, dilation_pixels: float = DILATION_PIXELS) -> float:
    """Radius in pixels of an image ``width`` pixels wide for one in pixels of a 1600 pixels wide image."""
    return dilation_pixels * width / DILATION_WIDTH


def dilate_mask(mask: Tensor, radius: float) -> Tensor:
    """Widen a mask (H, W), bool, by a disc of this radius in pixels."""
    from scipy.ndimage import distance_transform_edt

    if radius <= 0 or not bool(mask.any()):
        return mask
    distance = np.asarray(distance_transform_edt(~mask.cpu().numpy()))
    return torch.from_numpy(distance <= radius)


def allowed_by_masks(
    points: Tensor, cameras: Cameras, masks: Iterable[Tensor], dilation_pixels: float = DILATION_PIXELS
) -> NDArray[np.bool_]:
    """Which points no view shows outside its widened mask.

    Args:
        points: (N, 3), in the frame of the cameras.
        cameras: Perspective cameras (V,).
        masks: One foreground mask (H, W, 1) in [0, 1] per camera.
        dilation_pixels: Radius of the widening, in pixels of an image 1600 pixels wide.

    Returns:
        (N,). A place that a view does not see, behind it or beyond its border, is allowed by it.

    Raises:
        InputError: if a mask is empty.
    """
    allowed = np.ones(len(points), dtype=bool)
    for index, mask in zip(range(len(cameras)), masks, strict=True):
        foreground = mask[..., 0].cpu() > 0.5
        if not bool(foreground.any()):
            raise InputError(f"The mask of view {index} {_EMPTY}")
        height, width = foreground.shape
        widened = dilate_mask(foreground, dilation_radius(width, dilation_pixels))
        x, y, depth = project_points(cameras[index].to("cpu"), points.float().cpu())
        seen = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        column, row = x[seen].long(), y[seen].long()
        allowed[seen.numpy()] &= widened[row, column].numpy()
    return allowed


def cull_by_masks(
    mesh: trimesh.Trimesh, cameras: Cameras, masks: Iterable[Tensor], dilation_pixels: float = DILATION_PIXELS
) -> trimesh.Trimesh:
    """A mesh without the vertices that :func:`allowed_by_masks` refuses, and without all faces at them.

    Args:
        mesh: In the frame of the cameras; not changed.
        cameras: As there.
        masks: As there.
        dilation_pixels: As there.

    Returns:
        The rest, with its colours; empty where nothing is allowed. It is open where something was cut off.
    """
    import trimesh

    vertices = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float32).copy())
    allowed = allowed_by_masks(vertices, cameras, masks, dilation_pixels)
    faces = allowed[mesh.faces].all(axis=1) if len(mesh.faces) else np.zeros(0, dtype=bool)
    if not faces.any():
        return trimesh.Trimesh()
    rest = mesh.copy()
    rest.update_faces(faces)
    rest.remove_unreferenced_vertices()
    return rest


def masks_of_dataset(dataset: Any, show_progress: bool = True) -> Iterable[Tensor]:
    """The foreground masks (H, W, 1) of a dataset, read one by one.

    Args:
        dataset: Gives ``fg_mask`` with its images.
        show_progress: Show a bar; not within another one.

    Raises:
        InputError: if it has none; while reading, for one that is empty.
    """
    if len(dataset) == 0 or "fg_mask_filenames" not in (getattr(dataset, "metadata", None) or {}):
        raise InputError(
            "--cull-by-masks was asked for, but the training views of this run have no foreground masks; leave it out, "
            "or train on data with masks (dtu-data)."
        )
    return _read_masks(dataset, show_progress)


def _read_masks(dataset: Any, show_progress: bool) -> Iterable[Tensor]:
    with progress_bar() if show_progress else nullcontext() as progress:
        indices = range(len(dataset))
        for index in indices if progress is None else progress.track(indices, description="Culling by masks"):
            mask = dataset[index]["fg_mask"]
            if not bool((mask > 0.5).any()):
                raise InputError(f"The mask {dataset.metadata['fg_mask_filenames'][index]} {_EMPTY}")
            yield mask
