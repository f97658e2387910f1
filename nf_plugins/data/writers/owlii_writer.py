"""Writer of the Owlii layout of the ResFields data: one folder per camera, NeuS-style camera files.

    aabb.txt               [xmin, ymin, zmin, xmax, ymax, zmax] in scene units
    cloud/000000.ply       points on the true surface, scene units
    mesh/000000.ply        the true surface with vertex colours, scene units
    <camera>/rgb/000000.png    8 bit; black outside the mask
    <camera>/mask/000000.png   255 = foreground, binary
    <camera>/depth/000000.png  16 bit: thousandths of a world unit along the unit ray, 0 = nothing there
    <camera>/depth_true/000000.png     the same without noise, where depth/ holds what a sensor measured
    <camera>/cameras_sphere.npz    world_mat_i, scale_mat_i for every frame i
    synth.json             the request

Depth in scene units is ``raw / 1000 / scale_mat_0[0, 0]``. ``world_mat_i @ scale_mat_i`` takes homogeneous scene points
to pixel coordinates in which the first pixel's centre is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nf_plugins.data.projection_archive import compose_world_mat
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.scene_folder import new_scene_folder
from nf_plugins.data.writers.truth_files import MAX_DEPTH_PNG, padded_bounds, write_mesh, write_png, write_point_cloud
from nf_plugins.errors import InputError

DEPTH_STEPS_PER_UNIT = 1000.0


@dataclass(frozen=True)
class OwliiCamera:
    """A camera and its path through the sequence."""

    name: str
    """Folder name, such as cam_train_0 or cam_test."""
    intrinsics: np.ndarray
    """(3, 3) calibration matrix in pixels."""
    camera_to_worlds: np.ndarray
    """(T, 4, 4) poses in scene units, OpenCV axes."""


@dataclass(frozen=True)
class OwliiImage:
    """What one camera sees at one frame."""

    rgb: np.ndarray
    """(H, W, 3) uint8."""
    mask: np.ndarray
    """(H, W) bool."""
    depth: np.ndarray
    """(H, W) ray distance (or z, where the reader is told so) in scene units, 0 = nothing there."""
    true_depth: np.ndarray | None = None
    """(H, W) the same without noise, when ``depth`` is that of a sensor; None writes no depth_true/."""


@dataclass(frozen=True)
class OwliiFrame:
    """One time step."""

    mesh: ColouredMesh
    """The true surface, scene units."""
    cloud: np.ndarray
    """(N, 3) points on it."""
    images: list[OwliiImage]
    """One per camera, in the cameras' order."""


def projection_matrices(camera: OwliiCamera, world_from_scene: np.ndarray) -> dict[str, np.ndarray]:
    """``world_mat_i`` (4, 4; world units to pixels) and ``scale_mat_i`` (4, 4; scene to world units) of every frame.

    Args:
        world_from_scene: (4, 4) uniform scale and translation.
    """
    matrices: dict[str, np.ndarray] = {}
    for frame, camera_to_world in enumerate(camera.camera_to_worlds):
        matrices[f"world_mat_{frame}"] = compose_world_mat(camera.intrinsics, camera_to_world, world_from_scene)
        matrices[f"scale_mat_{frame}"] = world_from_scene.copy()
    return matrices


def depth_to_png(depth: np.ndarray, world_from_scene: np.ndarray) -> np.ndarray:
    """uint16 depth (H, W) in thousandths of a world unit from scene units.

    Raises:
        InputError: a distance does not fit into 16 bits.
    """
    raw = np.round(depth.astype(np.float64) * world_from_scene[0, 0] * DEPTH_STEPS_PER_UNIT)
    if raw.max(initial=0.0) > MAX_DEPTH_PNG:
        raise InputError(
            f"A depth of {raw.max() / DEPTH_STEPS_PER_UNIT:.4g} world units does not fit into a 16-bit image in "
            "thousandths of a unit; give the data in larger units (metres)."
        )
    return raw.astype(np.uint16)


def write_owlii_scene(
    folder: Path,
    cameras: list[OwliiCamera],
    frames: Iterable[OwliiFrame],
    *,
    world_from_scene: np.ndarray,
    request: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        frames: as many as the cameras have poses; may be a generator.
        world_from_scene: (4, 4) uniform scale and translation, scene to world units.
        request: every option that determines the scene (plain JSON values).
        overwrite: replace an earlier scene.

    Raises:
        InputError: the folder holds something to be kept, cannot be written, or depth does not fit into 16 bits.
    """
    facts: dict[str, Any] = {"layout": "owlii", "world_from_scene": world_from_scene.tolist()}
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        for name in ["cloud", "mesh"] + [f"{c.name}/{kind}" for c in cameras for kind in ("rgb", "mask", "depth")]:
            (staging / name).mkdir(parents=True)
        bounds = []
        for index, frame in enumerate(frames):
            name = f"{index:06d}"
            write_mesh(staging / "mesh" / f"{name}.ply", frame.mesh)
            write_point_cloud(staging / "cloud" / f"{name}.ply", frame.cloud)
            bounds.append(np.stack([frame.mesh.vertices.min(axis=0), frame.mesh.vertices.max(axis=0)]))
            for camera, image in zip(cameras, frame.images, strict=True):
                mask = image.mask.astype(np.uint8)
                write_png(staging / camera.name / "rgb" / f"{name}.png", image.rgb * mask[..., None])
                write_png(staging / camera.name / "mask" / f"{name}.png", 255 * mask)
                write_png(staging / camera.name / "depth" / f"{name}.png", depth_to_png(image.depth, world_from_scene))
                if image.true_depth is not None:
                    (staging / camera.name / "depth_true").mkdir(exist_ok=True)
                    true_depth = depth_to_png(image.true_depth, world_from_scene)
                    write_png(staging / camera.name / "depth_true" / f"{name}.png", true_depth)
        for camera in cameras:
            if len(camera.camera_to_worlds) != len(bounds):
                raise ValueError(f"{camera.name} has {len(camera.camera_to_worlds)} poses for {len(bounds)} frames.")
            matrices: dict[str, Any] = projection_matrices(camera, world_from_scene)
            np.savez(staging / camera.name / "cameras_sphere.npz", **matrices)
        box = padded_bounds(bounds)
        facts["scene_aabb"] = box.tolist()
        (staging / "aabb.txt").write_text(f"{[round(float(v), 6) for v in box.reshape(-1)]}\n", encoding="utf-8")
