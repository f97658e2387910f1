"""Writer of the layout of EasyMocap and EasyVolcap: calibration in OpenCV's YAML, folders of images by camera.

::

    intri.yml, extri.yml               K_, dist_, W_, H_ and R_ (rotation vector), Rot_, T_ (metres) of every camera
    images/<camera>/000000.png         8 bit, as photographed
    masks/<camera>/000000.png          or schp/: labels; or .jpg
    vertices/000000.npy                (V, 3) float32: the true surface's vertices, metres
    vhull/000000.npy                   (2, 3) float32: their box, metres (optional)
    bkgd/<camera>/00.png               the empty set (optional)
    mesh/000000.ply                    the true surface with vertex colours, metres
    synth.json                         the request

Cameras take metres to camera axes as OpenCV's (x right, y down, z forward), and count pixels as OpenCV does: the centre
of the first one is (0, 0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nf_plugins.data.easymocap import EXTRINSICS, INTRINSICS
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, transform_points
from nf_plugins.data.writers.scene_folder import new_scene_folder
from nf_plugins.data.writers.truth_files import write_mesh, write_png
from nf_plugins.data.writers.zju_writer import ZjuCamera, ZjuFrame

MaskKind = Literal["png", "schp", "jpg"]
JPEG_QUALITY = 95
UPPER_BODY, LOWER_BODY = 5, 9
"""Labels that a map of body parts has above and below the middle of the mask."""


def write_easymocap_scene(
    folder: Path,
    cameras: list[ZjuCamera],
    frames: Iterable[ZjuFrame],
    *,
    world_from_scene: np.ndarray,
    request: dict[str, Any],
    overwrite: bool = False,
    mask_folder: str = "masks",
    mask_kind: MaskKind = "png",
    vertices_pattern: str = "{:06d}.npy",
    plates: Mapping[str, np.ndarray] | None = None,
    boxes: bool = False,
    layout: str = "easyvolcap",
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        cameras: In any order; names with leading zeros are numbered alike by all readers.
        frames: In order of time; may be a generator.
        world_from_scene: (4, 4) uniform scale and translation, scene units to metres.
        request: Every option that determines the scene (plain JSON values).
        overwrite: Replace an earlier scene.
        mask_folder: Where masks go; "schp" is put in place of "masks" for maps of body parts. "" writes none.
        mask_kind: "png" (0 and 255), "schp" (labels of body parts), "jpg".
        vertices_pattern: Name of a frame's vertices by its number; "" writes none.
        plates: (H, W, 3) uint8, the empty set by camera.
        boxes: Whether each frame's box is written.
        layout: What synth.json calls it.

    Raises:
        InputError: The folder holds something to be kept or cannot be written.
    """
    if mask_kind == "schp" and mask_folder == "masks":
        mask_folder = "schp"
    facts: dict[str, Any] = {"layout": layout, "world_from_scene": np.asarray(world_from_scene).tolist()}
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        for camera in cameras:
            for kind in ("images", mask_folder) if mask_folder else ("images",):
                (staging / kind / camera.name).mkdir(parents=True)
            if plates is not None:
                (staging / "bkgd" / camera.name).mkdir(parents=True)
                write_png(staging / "bkgd" / camera.name / "00.png", plates[camera.name])
        for name, wanted in (("vertices", bool(vertices_pattern)), ("vhull", boxes), ("mesh", True)):
            if wanted:
                (staging / name).mkdir()
        sizes: list[tuple[int, int]] = []
        for index, frame in enumerate(frames):
            name = f"{index:06d}"
            vertices = transform_points(world_from_scene, frame.mesh.vertices)
            write_mesh(staging / "mesh" / f"{name}.ply", ColouredMesh(vertices, frame.mesh.faces, frame.mesh.colors))
            if vertices_pattern:
                np.save(staging / "vertices" / vertices_pattern.format(index), vertices.astype(np.float32))
            if boxes:
                corners = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
                np.save(staging / "vhull" / f"{name}.npy", corners.astype(np.float32))
            sizes = [image.mask.shape for image in frame.images]  # type: ignore[misc]
            for camera, image in zip(cameras, frame.images, strict=True):
                write_png(staging / "images" / camera.name / f"{name}.png", image.rgb)
                if mask_folder:
                    write_mask(staging / mask_folder / camera.name / name, image.mask, mask_kind)
        write_calibration(staging, cameras, sizes, world_from_scene)


def write_mask(stem: Path, mask: np.ndarray, kind: MaskKind) -> Path:
    """Write a mask (H, W), bool, to ``stem`` and the suffix of its kind; returns the file."""
    from PIL import Image

    if kind == "jpg":
        path = stem.with_name(f"{stem.name}.jpg")
        Image.fromarray(255 * mask.astype(np.uint8)).save(path, quality=JPEG_QUALITY)
        return path
    path = stem.with_name(f"{stem.name}.png")
    if kind == "schp":
        rows = np.flatnonzero(mask.any(axis=1))
        middle = rows.mean() if len(rows) else 0
        labels = np.where(np.arange(len(mask))[:, None] < middle, UPPER_BODY, LOWER_BODY)
        write_png(path, (mask * labels).astype(np.uint8))
    else:
        write_png(path, 255 * mask.astype(np.uint8))
    return path


def write_calibration(
    folder: Path, cameras: Sequence[ZjuCamera], sizes: Sequence[tuple[int, int]], world_from_scene: np.ndarray
) -> None:
    """Write ``intri.yml`` and ``extri.yml`` into a folder that is there.

    Args:
        sizes: Height and width of every camera's images; none leaves them out.
        world_from_scene: (4, 4) uniform scale and translation, scene units to metres.
    """
    import cv2

    intrinsics = cv2.FileStorage(str(folder / INTRINSICS), cv2.FILE_STORAGE_WRITE)
    extrinsics = cv2.FileStorage(str(folder / EXTRINSICS), cv2.FILE_STORAGE_WRITE)
    for file in (intrinsics, extrinsics):
        file.startWriteStruct("names", cv2.FILE_NODE_SEQ)
        for camera in cameras:
            file.write("", camera.name)
        file.endWriteStruct()
    for index, camera in enumerate(cameras):
        matrix = np.array(camera.intrinsics, dtype=np.float64)
        matrix[:2, 2] -= 0.5
        intrinsics.write(f"K_{camera.name}", matrix)
        intrinsics.write(f"dist_{camera.name}", np.asarray(camera.distortion, dtype=np.float64).reshape(1, -1))
        if sizes:
            intrinsics.write(f"H_{camera.name}", int(sizes[index][0]))
            intrinsics.write(f"W_{camera.name}", int(sizes[index][1]))
        rotation = np.asarray(camera.camera_to_world[:3, :3], dtype=np.float64).T
        position = transform_points(world_from_scene, camera.camera_to_world[:3, 3])
        extrinsics.write(f"R_{camera.name}", np.asarray(cv2.Rodrigues(rotation)[0], dtype=np.float64))
        extrinsics.write(f"Rot_{camera.name}", rotation)
        extrinsics.write(f"T_{camera.name}", np.asarray(-rotation @ position, dtype=np.float64)[:, None])
    intrinsics.release()
    extrinsics.release()
