"""Writer of DNA-Rendering's layout: NAME.smc with the images, NAME_annots.smc with cameras and masks (HDF5).

::

    NAME.smc, NAME_annots.smc          see nf_plugins/data/smc_archive.py
    mesh/000000.ply                    the true surface with vertex colours, metres
    synth.json                         the request
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.colour_correction import IDENTITY, undo_correction
from nf_plugins.data.smc_archive import MASKS, PARAMETERS, PICTURE_GROUPS
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, transform_points
from nf_plugins.data.writers.scene_folder import check_target, new_scene_folder
from nf_plugins.data.writers.truth_files import write_mesh
from nf_plugins.data.writers.zju_writer import ZjuCamera, ZjuFrame


def write_smc_scene(
    folder: Path,
    cameras: list[ZjuCamera],
    frames: Iterable[ZjuFrame],
    *,
    world_from_scene: np.ndarray,
    request: dict[str, Any],
    overwrite: bool = False,
    color_calibration: NDArray[np.float64] | None = None,
    large_cameras: Sequence[str] = (),
) -> None:
    """Write a scene called like ``folder``, which appears whole, at the end.

    Args:
        cameras: Named by whole numbers, as the layout has them.
        frames: In order of time; may be a generator. Images may be of another size per camera.
        world_from_scene: (4, 4) uniform scale and translation, scene units to metres.
        request: Every option that determines the scene (plain JSON values).
        overwrite: Replace an earlier scene.
        color_calibration: (3, 3) correction of all cameras; what is written is uncorrected, so that correction gives
            the images back. None is the identity.
        large_cameras: Names of those that go among the cameras of 12 megapixels.

    Raises:
        InputError: The folder holds something to be kept or cannot be written.
        ValueError: A camera is not named by a number.
    """
    import h5py

    if not all(camera.name.isdecimal() for camera in cameras):
        raise ValueError(f"cameras {[camera.name for camera in cameras]}, expected whole numbers as names")
    check_target(folder, overwrite)
    rows = IDENTITY if color_calibration is None else np.asarray(color_calibration, dtype=np.float64)
    facts: dict[str, Any] = {"layout": "dna-rendering", "world_from_scene": np.asarray(world_from_scene).tolist()}
    name = folder.absolute().name
    groups = [PICTURE_GROUPS[camera.name in large_cameras] for camera in cameras]
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        (staging / "mesh").mkdir()
        with (
            h5py.File(staging / f"{name}.smc", "w") as pictures,
            h5py.File(staging / f"{name}_annots.smc", "w") as annotations,
        ):
            for camera in cameras:
                _write_camera(
                    annotations.create_group(f"{PARAMETERS}/{int(camera.name):02d}"), camera, world_from_scene, rows
                )
            number, sizes = 0, {}
            for number, frame in enumerate(frames, start=1):
                index = number - 1
                vertices = transform_points(world_from_scene, frame.mesh.vertices)
                truth = ColouredMesh(vertices, frame.mesh.faces, frame.mesh.colors)
                write_mesh(staging / "mesh" / f"{index:06d}.ply", truth)
                for camera, group, image in zip(cameras, groups, frame.images, strict=True):
                    sizes[group] = image.mask.shape
                    key = int(camera.name)
                    pictures[f"{group}/{key}/color/{index}"] = _encoded(undo_correction(image.rgb, rows))
                    annotations[f"{MASKS}/{key}/mask/{index}"] = _encoded(255 * image.mask.astype(np.uint8))
            for group, size in sizes.items():
                pictures[group].attrs.update(num_device=groups.count(group), num_frame=number, resolution=size)


def _write_camera(group: Any, camera: ZjuCamera, world_from_scene: np.ndarray, rows: NDArray[np.float64]) -> None:
    intrinsics = np.array(camera.intrinsics, dtype=np.float64)
    intrinsics[:2, 2] -= 0.5
    pose = np.eye(4)
    pose[:3, :3] = camera.camera_to_world[:3, :3]
    pose[:3, 3] = transform_points(world_from_scene, camera.camera_to_world[:3, 3])
    group["K"], group["D"], group["RT"] = intrinsics, np.asarray(camera.distortion, dtype=np.float64), pose
    group["Color_Calibration"] = rows


def _encoded(image: np.ndarray) -> NDArray[np.uint8]:
    """A PNG's bytes."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return np.frombuffer(file.getvalue(), dtype=np.uint8)
