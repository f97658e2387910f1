"""Captures in the layout of EasyMocap and EasyVolcap.

::

    SCENE/
      intri.yml, extri.yml             calibration, see nf_plugins/data/easymocap.py; metres
      images/CAMERA/000000.jpg         as many in every folder
      masks/CAMERA/000000.png          or schp/, mask/ (optional)
      vertices/000000.npy              (V, 3) of a body model per frame (optional)
      pointcloud_denoise/00001.ply     or pointcloud/: points per frame, numbered from 1 (optional)
      vhull/000000.npy                 (2, 3) boxes per frame (optional)
      bkgd/CAMERA/00.jpg               or bkgd/CAMERA.jpg: the empty set (optional)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from nf_plugins.data import validation
from nf_plugins.data.easymocap import EXTRINSICS, INTRINSICS
from nf_plugins.data.processing.known_cameras import KnownCamera, read_easymocap
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_files import IMAGE_SUFFIXES, find_frame_files, find_masks, find_plates, label_or_soft
from nf_plugins.errors import InputError

MASK_FOLDERS = ("masks", "schp", "mask", "mask_cihp", "bgmtv2")
"""In the order in which they are preferred."""
POINT_FOLDERS = ("pointcloud_denoise", "pointcloud")

NameOrder = Literal["natural", "string"]


def read_easymocap_rig(
    root: Path,
    *,
    mask_folder: str = "auto",
    points: Literal["auto", "vertices", "points", "none"] = "auto",
    vertex_folders: Sequence[str] = ("vertices",),
    box_folder: str = "vhull",
    background_plates: str = "auto",
    name_order: NameOrder = "natural",
) -> RigCapture:
    """The cameras, images and what else there is of a scene's folder.

    Args:
        mask_folder: "auto", "none" or a folder's name.
        points: Which files say where the subject is at each frame; "auto" takes vertices before point clouds.
        vertex_folders: Where vertices are looked for.
        box_folder: Where boxes are looked for.
        background_plates: "auto", "none" or a folder's name.
        name_order: "natural" puts camera 2 before camera 10, "string" does not (as EasyVolcap counts them).

    Raises:
        InputError: The calibration is missing, damaged or names a camera without images, folders hold different
            numbers of images, or the images' shape is not that of the calibration.
    """
    for name in (INTRINSICS, EXTRINSICS):
        if not (root / name).is_file():
            raise InputError(f"The folder {root} holds no {name}, expected EasyMocap's or EasyVolcap's calibration.")
    cameras = read_easymocap(root).cameras
    if name_order == "string":
        cameras = sorted(cameras, key=lambda camera: camera.name)
    images = _images(root, cameras)
    headers = validation.read_image_headers(images[0], "Reading the first images")
    masks, rule = find_masks(root, images, mask_folder, MASK_FOLDERS, label_or_soft)
    firsts = [frame[0] for frame in images]
    return RigCapture(
        camera_names=[camera.name for camera in cameras],
        lenses=[camera.lens_at(header.width, header.height) for camera, header in zip(cameras, headers, strict=True)],
        camera_to_worlds=np.stack([camera.camera_to_world for camera in cameras]),
        images=images,
        masks=masks,
        mask_rule=rule,
        frame_points=_frame_points(root, points, vertex_folders, firsts),
        frame_box_files=find_frame_files(
            root,
            (box_folder,),
            "*.npy",
            firsts,
            first_number=0,
            way_out=f"write one box per frame, or remove {box_folder}.",
        ),
        plates=find_plates(root, background_plates, [camera.name for camera in cameras]),
        scene_points=None,
        source=root / INTRINSICS,
    )


def _frame_points(root: Path, points: str, vertex_folders: Sequence[str], firsts: Sequence[Path]) -> list[Path] | None:
    way_out = "write one per frame, or choose another --scene-box-from."
    found = None
    if points in ("auto", "vertices"):
        found = find_frame_files(root, vertex_folders, "*.npy", firsts, first_number=0, way_out=way_out)
    if found is None and points in ("auto", "points"):
        found = find_frame_files(root, POINT_FOLDERS, "*.ply", firsts, first_number=1, way_out=way_out)
    return found


def _images(root: Path, cameras: Sequence[KnownCamera]) -> list[list[Path]]:
    """By frame, then camera."""
    columns: list[list[Path]] = []
    for camera in cameras:
        folder = root / "images" / camera.name
        files = [path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
        if not files:
            raise InputError(
                f"{root / INTRINSICS} names the camera {camera.name}, but {folder} holds no images, expected those of "
                "every camera: add them, or take the camera out of the calibration."
            )
        columns.append(sorted(files, key=lambda path: validation.natural_key(path.name)))
        validation.require_equal_counts(
            f"{folder}", len(files), f"{columns[0][0].parent}", len(columns[0]),
            "cameras are taken to be synchronised.",
        )  # fmt: skip
    return [list(frame) for frame in zip(*columns, strict=True)]
