"""Writer of the ZJU-MoCap layout: calibrated standing cameras, images by camera, one NumPy file that lists them.

    annots.npy                         cams: K, R, T (mm), D per camera; ims: the images of every frame
    <camera>/000000.png                8 bit; black outside the mask
    mask_cihp/<camera>/000000.png      1 = person, 0 = background
    vertices/000000.npy                (V, 3) float32: the true surface's vertices, metres
    mesh/000000.ply                    the true surface with vertex colours, metres
    synth.json                         the request

``R`` and ``T`` take metres to camera axes as OpenCV's (x right, y down, z forward), ``T`` in millimetres. ``K`` counts
pixels as OpenCV does: the centre of the first one is (0, 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, transform_points
from nf_plugins.data.writers.scene_folder import new_scene_folder
from nf_plugins.data.writers.truth_files import write_mesh, write_png

MILLIMETRES = 1000.0
MASK_FOLDER = "mask_cihp"


@dataclass(frozen=True)
class ZjuCamera:
    """A standing camera."""

    name: str
    """Folder name, such as Camera_B1."""
    intrinsics: np.ndarray
    """(3, 3) calibration matrix in pixels; the centre of the first pixel is (0.5, 0.5)."""
    camera_to_world: np.ndarray
    """(4, 4) pose in scene units, OpenCV axes."""
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))
    """(5,) OpenCV's k1, k2, p1, p2, k3. The images have it already: the writer resamples nothing."""


@dataclass(frozen=True)
class ZjuImage:
    """What one camera sees at one frame."""

    rgb: np.ndarray
    """(H, W, 3) uint8."""
    mask: np.ndarray
    """(H, W) bool."""


@dataclass(frozen=True)
class ZjuFrame:
    """One time step."""

    mesh: ColouredMesh
    """The true surface, scene units."""
    images: list[ZjuImage]
    """One per camera, in the cameras' order."""


def camera_lists(cameras: list[ZjuCamera], world_from_scene: np.ndarray) -> dict[str, list[Any]]:
    """``cams`` of annots.npy: lists over cameras of K (3, 3), R (3, 3), T (3, 1; mm) and D (5, 1), as nested lists.

    Args:
        world_from_scene: (4, 4) uniform scale and translation, scene units to metres.
    """
    lists: dict[str, list[Any]] = {"K": [], "R": [], "T": [], "D": []}
    for camera in cameras:
        intrinsics = np.array(camera.intrinsics, dtype=np.float64)
        intrinsics[:2, 2] -= 0.5
        rotation = camera.camera_to_world[:3, :3].T
        position = transform_points(world_from_scene, camera.camera_to_world[:3, 3])
        lists["K"].append(intrinsics.tolist())
        lists["R"].append(rotation.tolist())
        lists["T"].append((-MILLIMETRES * rotation @ position)[:, None].tolist())
        lists["D"].append(np.asarray(camera.distortion, dtype=np.float64)[:, None].tolist())
    return lists


def write_zju_scene(
    folder: Path,
    cameras: list[ZjuCamera],
    frames: Iterable[ZjuFrame],
    *,
    world_from_scene: np.ndarray,
    request: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        frames: in order of time; may be a generator.
        world_from_scene: (4, 4) uniform scale and translation, scene units to metres.
        request: every option that determines the scene (plain JSON values).
        overwrite: replace an earlier scene.

    Raises:
        InputError: the folder holds something to be kept or cannot be written.
    """
    facts: dict[str, Any] = {"layout": "zju", "world_from_scene": world_from_scene.tolist()}
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        for camera in cameras:
            (staging / camera.name).mkdir()
            (staging / MASK_FOLDER / camera.name).mkdir(parents=True)
        for name in ("vertices", "mesh"):
            (staging / name).mkdir()
        listed: list[dict[str, list[str]]] = []
        for index, frame in enumerate(frames):
            name = f"{index:06d}"
            vertices = transform_points(world_from_scene, frame.mesh.vertices)
            np.save(staging / "vertices" / f"{name}.npy", vertices.astype(np.float32))
            write_mesh(staging / "mesh" / f"{name}.ply", ColouredMesh(vertices, frame.mesh.faces, frame.mesh.colors))
            for camera, image in zip(cameras, frame.images, strict=True):
                mask = image.mask.astype(np.uint8)
                write_png(staging / camera.name / f"{name}.png", image.rgb * mask[..., None])
                write_png(staging / MASK_FOLDER / camera.name / f"{name}.png", mask)
            listed.append({"ims": [f"{camera.name}/{name}.png" for camera in cameras]})
        annotations = {"cams": camera_lists(cameras, world_from_scene), "ims": listed}
        np.save(staging / "annots.npy", np.array(annotations, dtype=object), allow_pickle=True)
