"""Writer of IDR's and NeuS' layout of one static object.

    image/000000.png       8 bit
    mask/000000.png        255 = object, three equal channels (IDR's scripts index them)
    cameras_sphere.npz     world_mat_i and scale_mat_i (4, 4) of every view i
    mesh/000000.ply        the true surface with vertex colours, scene units (where it is known)
    synth.json             the request (a scene of nf-synth)

``world_mat_i @ scale_mat_i`` takes homogeneous scene points to pixel coordinates in which the *centre* of the first
pixel is (0, 0), unlike everywhere else here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nf_plugins.data.idr_capture import CAMERA_FILES, HALF_PIXEL
from nf_plugins.data.projection_archive import compose_world_mat
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.scene_folder import new_scene_folder
from nf_plugins.data.writers.truth_files import write_mesh, write_png


@dataclass(frozen=True)
class IdrView:
    """One photograph."""

    rgb: np.ndarray
    """(H, W, 3) uint8, as photographed."""
    mask: np.ndarray | None
    """(H, W) bool; None in all views writes no masks."""
    intrinsics: np.ndarray
    """(3, 3) calibration in pixels, counted from the corner of the first one."""
    camera_to_world: np.ndarray
    """(3 or 4, 4) pose in scene units, OpenCV axes."""


def projection_matrices(
    intrinsics: Sequence[np.ndarray], camera_to_worlds: Sequence[np.ndarray], world_from_scene: np.ndarray
) -> dict[str, np.ndarray]:
    """``world_mat_i`` and ``scale_mat_i`` (4, 4) of every view, for a camera file of IDR.

    Args:
        intrinsics: (3, 3) each, pixels counted from the corner of the first one.
        camera_to_worlds: (3 or 4, 4) each, scene units, OpenCV axes.
        world_from_scene: (4, 4) uniform scale and translation; the object lies inside the unit sphere of the scene.
    """
    matrices: dict[str, np.ndarray] = {}
    for view, (calibration, pose) in enumerate(zip(intrinsics, camera_to_worlds, strict=True)):
        from_centre = np.array(calibration, dtype=np.float64)
        from_centre[:2, 2] -= HALF_PIXEL
        matrices[f"world_mat_{view}"] = compose_world_mat(from_centre, pose, world_from_scene)
        matrices[f"scale_mat_{view}"] = np.array(world_from_scene, dtype=np.float64)
    return matrices


def write_idr_views(
    folder: Path, views: Iterable[IdrView], world_from_scene: np.ndarray, camera_file: str = CAMERA_FILES[0]
) -> int:
    """Write images, masks and cameras into a folder that is there; returns the number of views.

    Args:
        views: may be a generator.
        world_from_scene: (4, 4) uniform scale and translation.
        camera_file: cameras_sphere.npz as NeuS calls it, or cameras.npz as IDR does.
    """
    intrinsics, poses = [], []
    (folder / "image").mkdir()
    for index, view in enumerate(views):
        write_png(folder / "image" / f"{index:06d}.png", view.rgb)
        if view.mask is not None:
            (folder / "mask").mkdir(exist_ok=True)
            mask = np.repeat(255 * view.mask.astype(np.uint8)[..., None], 3, axis=-1)
            write_png(folder / "mask" / f"{index:06d}.png", mask)
        intrinsics.append(view.intrinsics)
        poses.append(view.camera_to_world)
    matrices: dict[str, Any] = projection_matrices(intrinsics, poses, world_from_scene)
    np.savez(folder / camera_file, **matrices)
    return len(poses)


def write_idr_scene(
    folder: Path,
    views: Iterable[IdrView],
    *,
    world_from_scene: np.ndarray,
    request: dict[str, Any],
    mesh: ColouredMesh | None = None,
    overwrite: bool = False,
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        views: may be a generator.
        world_from_scene: (4, 4) uniform scale and translation, scene to world units.
        request: every option that determines the scene (plain JSON values).
        mesh: the true surface, scene units.
        overwrite: replace an earlier scene.

    Raises:
        InputError: the folder holds something to be kept or cannot be written.
    """
    facts: dict[str, Any] = {"layout": "dtu", "world_from_scene": np.asarray(world_from_scene).tolist()}
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        write_idr_views(staging, views, world_from_scene)
        if mesh is not None:
            (staging / "mesh").mkdir()
            write_mesh(staging / "mesh" / "000000.ply", mesh)
