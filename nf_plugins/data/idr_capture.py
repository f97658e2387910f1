"""A static scan in the layout of IDR and NeuS: its files, its cameras, and what its masks say.

::

    SCAN/
      image/000000.png ...       png, jpg or JPEG, sorted by name: the position is the view i (images/ in some releases)
      mask/000.png ...           object masks, one or three channels, above half is the object (optional; masks/)
      cameras.npz                IDR: world_mat_i and scale_mat_i (4, 4) of every view i
      cameras_sphere.npz         NeuS and its BlendedMVS: the same under another name
      cameras_linear_init.npz    IDR: inaccurate cameras to start from when they are to be learnt (optional)
      mesh/*.ply                 the true surface, scene units (optional)

``(world_mat_i @ scale_mat_i)[:3]`` maps scene points to pixels, where the *centre* of the first pixel is (0, 0); here,
as in nerfstudio, it is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import camera_to_world_opengl
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.projection_archive import ProjectionArchive, common_scale_mat, read_projection_archive
from nf_plugins.errors import InputError

IMAGE_FOLDERS = ("image", "images")
MASK_FOLDERS = ("mask", "masks")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
CAMERA_FILES = ("cameras_sphere.npz", "cameras.npz")
"""Files of true cameras; the first that is there is taken."""
LINEAR_INIT_FILE = "cameras_linear_init.npz"
"""Cameras that are not true ones."""
MASK_RULE = "any_channel_above_half"
HALF_PIXEL = 0.5
"""From coordinates that count from the centre of the first pixel to those that count from its corner."""


class ScanFiles(NamedTuple):
    """Images and masks of a scan, sorted by name."""

    root: Path
    images: list[Path]
    masks: list[Path]
    """One per image; empty when there is no folder of masks."""


@dataclass(frozen=True)
class ScanCameras:
    """The cameras of a scan in the scene frame, float64."""

    path: Path
    intrinsics: NDArray[np.float64]
    """(N, 3, 3), pixels counted from the corner of the first one; the true ones where they are known."""
    camera_to_worlds: NDArray[np.float64]
    """(N, 3, 4), OpenGL axes, scene units."""
    true_camera_to_worlds: NDArray[np.float64] | None
    """(N, 3, 4), the same frame and axes, where the others are inaccurate and the true ones are known."""
    world_from_scene: NDArray[np.float64]
    """(4, 4), the scale matrix of the file."""


def find_scan_files(root: Path) -> ScanFiles:
    """Lists a scan.

    Raises:
        InputError: There are no images, or the number of masks is another.
    """
    hint = layout_hint(root, "dtu-data")
    validation.require_folder(root, "a scan (image/, mask/, cameras_sphere.npz)", hint)
    images = _image_files(_existing(root, IMAGE_FOLDERS), "the views of a scan (000000.png, ...)", hint)
    mask_folder = _existing(root, MASK_FOLDERS)
    masks = _image_files(mask_folder, "a mask per image (000.png, ...)") if mask_folder.exists() else []
    if masks:
        validation.require_equal_counts(
            f"{mask_folder}", len(masks), f"{images[0].parent}", len(images), "write one mask per image."
        )
    return ScanFiles(root, images, masks)


def resolve_camera_file(root: Path, camera_file: str) -> Path:
    """The file that ``--camera-file`` means.

    Raises:
        InputError: It is not there.
    """
    there = ", ".join(path.name for path in sorted(root.glob("*.npz"))) or "no .npz file"
    if camera_file == "auto":
        found = _true_camera_file(root)
        if found is None:
            raise InputError(
                f"The folder {root} has neither {' nor '.join(CAMERA_FILES)} (it has {there}), expected the cameras of "
                "its images there: name another file with --camera-file."
            )
        return found
    path = root / camera_file
    if not path.is_file():
        raise InputError(
            f"The file {path} does not exist (--camera-file {camera_file}), expected the cameras of the images; "
            f"{root} has {there}: give one of these, or --camera-file auto."
        )
    return path


def read_scan_cameras(files: ScanFiles, camera_file: str = "auto") -> ScanCameras:
    """The cameras of every view.

    ``cameras_linear_init.npz`` has a scale matrix of its own, which makes the scene's frame. Where the true cameras lie
    beside it, it gives the poses alone, as in the code of IDR: calibrations are the true ones, which learnt cameras
    keep, and the true poses are given in its frame too.

    Raises:
        InputError: A matrix is missing or no camera, the views have different scale matrices, or a camera stands inside
            the unit sphere.
    """
    archive = _read(files, resolve_camera_file(files.root, camera_file))
    scale_mat = common_scale_mat([(archive, range(len(files.images)))])
    intrinsics, poses = _decompose(archive, scale_mat)
    require_outside_unit_sphere(
        poses,
        files.images,
        f"the scale_mat of {archive.path} does not put the object, and the object alone, into the unit sphere: "
        "normalise the scene anew, or take another file with --camera-file.",
    )
    true_poses = None
    true_file = _true_camera_file(files.root)
    if archive.path.name == LINEAR_INIT_FILE and true_file is not None:
        intrinsics, true_poses = _decompose(_read(files, true_file), scale_mat)
    return ScanCameras(archive.path, intrinsics, poses, true_poses, scale_mat)


def require_outside_unit_sphere(
    camera_to_worlds: NDArray[np.float64], images: Sequence[Path], reason_and_way_out: str
) -> None:
    """Rays start outside the sphere around the object.

    Raises:
        InputError: A camera stands inside the unit sphere; the sentence ends with ``reason_and_way_out``.
    """
    distances = np.linalg.norm(camera_to_worlds[:, :, 3], axis=-1)
    inside = np.flatnonzero(distances <= 1)
    if len(inside):
        view = int(inside[0])
        raise InputError(
            f"The camera of view {view} ({images[view]}) stands inside the unit sphere of the scene, "
            f"{distances[view]:.3g} from its middle ({len(inside)} of {len(distances)} do), expected more than 1: "
            f"{reason_and_way_out}"
        )


def check_masks(files: ScanFiles, *, say: bool) -> list[validation.ImageHeader]:
    """Headers of the images, after every mask was read and compared with its image.

    Args:
        say: Print what is allowed but spoils a reconstruction.

    Raises:
        InputError: A mask has another size than its image, or all masks are empty.
    """
    headers = validation.read_image_headers(files.images, "Checking images")
    if not files.masks:
        return headers
    read = threaded_map(_size_and_coverage, files.masks, "Reading masks")
    validation.require_same_sizes(files.masks, [header for header, _ in read], files.images, headers)
    coverage = np.array([part for _, part in read])
    if (coverage == 0).all():
        raise InputError(
            f"All {len(coverage)} masks in {files.masks[0].parent} are black, expected the object to be white (above "
            "half of the largest value): write the masks anew."
        )
    if not say:
        return headers
    if (coverage == 1).all():
        CONSOLE.print(
            f"[bold yellow]Warning:[/bold yellow] All {len(coverage)} masks in {files.masks[0].parent} are white "
            "everywhere: every ray counts as one that meets the object, so the silhouettes say nothing and the shape "
            "inflates until it fills every image. Segment the object first; or, where the object stands before a plain "
            "background, train hashmod-neus with --pipeline.model.loss-coefficients.mask 0.",
            soft_wrap=True,
        )
    elif (coverage == 0).any():
        empty = np.flatnonzero(coverage == 0)
        CONSOLE.print(
            f"[bold yellow]Warning:[/bold yellow] {len(empty)} of {len(coverage)} masks are black, the first "
            f"{files.masks[empty[0]]}: these views say that nothing is there, and carve the object away where they "
            "look.",
            soft_wrap=True,
        )
    return headers


def _size_and_coverage(path: Path) -> tuple[validation.ImageHeader, float]:
    header = validation.read_image_header(path)
    return header, float(read_mask(path, MASK_RULE).numpy().mean(dtype=np.float64))


def _existing(root: Path, names: Sequence[str]) -> Path:
    """The first of the folders that is there; else the first."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _image_files(folder: Path, expected: str, hint: str = "") -> list[Path]:
    validation.require_folder(folder, expected, hint)
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    files = sorted(path for path in files if not path.name.startswith("."))
    if not files:
        raise InputError(
            f"The folder {folder} holds no file ending in {', '.join(IMAGE_SUFFIXES)}, expected {expected}."
        )
    return files


def _true_camera_file(root: Path) -> Path | None:
    return next((root / name for name in CAMERA_FILES if (root / name).is_file()), None)


def _read(files: ScanFiles, path: Path) -> ProjectionArchive:
    return read_projection_archive(path, files.images[0].parent, len(files.images))


def _decompose(
    archive: ProjectionArchive, scale_mat: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Calibrations (N, 3, 3) and OpenGL poses (N, 3, 4) in the frame of a scale matrix."""
    parts = [archive.decompose(index, scale_mat) for index in range(len(archive.world_mats))]
    intrinsics = np.stack([part.intrinsics for part in parts])
    intrinsics[:, :2, 2] += HALF_PIXEL
    return intrinsics, np.stack([camera_to_world_opengl(part.rotation, part.centre) for part in parts])
