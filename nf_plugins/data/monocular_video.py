"""The frames of a monocular video in order of time, with their cameras and what range of depth they see.

Two ways to lay one out: NSFF's folder with ``poses_bounds.npy``, and nerfstudio's ``transforms.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.monocular_files import LARGEST_ASPECT_ERROR, find_images
from nf_plugins.data.pinhole_pixels import largest_displacement, sees, without_distortion
from nf_plugins.data.poses_bounds import PosesBounds, read_poses_bounds
from nf_plugins.data.scene_extent import read_points
from nf_plugins.errors import InputError

PixelConvention = Literal["auto", "integer", "half"]
POSE_FILES = ("poses_bounds.npy", "poses_bounds_cvd.npy")
"""The latter is DynIBaR's name for the same contents."""
BOUND_PERCENTILES = (5, 95)
NEGLIGIBLE_DISTORTION = 0.05
"""Pixels that a lens may move any of an image, so that it still counts as a pinhole."""
LARGEST_LENS_DIFFERENCE = 1e-3
"""By which part of the focal length the lenses of frames may differ, and what they see."""


class MonocularVideo(NamedTuple):
    """All frames, whatever is selected of them later."""

    source: Path
    """The file that the cameras come from."""
    root: Path
    """Folder that holds disp/, flow_i1/ and so on."""
    images: list[Path]
    poses: NDArray[np.float64]
    """(N, 3, 4), OpenGL axes, world units."""
    bounds: NDArray[np.float64]
    """(N, 2), near and far along the camera's axis, world units; NaN where a frame sees none of the points from which
    they follow."""
    lens: tj.Lens
    """At the size of the images; the centre of the first pixel is (0.5, 0.5)."""
    saved_from_world: NDArray[np.float64]
    """(4, 4), what somebody applied to the data before they were saved."""


def has_pose_file(folder: Path) -> bool:
    """Whether a folder is laid out as NSFF does it."""
    return any((folder / name).is_file() for name in POSE_FILES)


def read_nsff_video(
    root: Path, images_folder: str | None, pose_file: str, convention: PixelConvention
) -> MonocularVideo:
    """Reads NSFF's folder.

    Args:
        root: Folder with the pose file and ``images*``.
        images_folder: Name of the folder of images; None finds it.
        pose_file: Its name, or "auto" for the first of ``POSE_FILES`` that there is.
        convention: Which rays the pixels have. "integer": column u looks along (u - W/2) / f, NSFF's. "half": along
            (u + 1/2 - W/2) / f, COLMAP's. nerfstudio's rays go through u + 1/2, so the former moves cx by 1/2. "auto":
            what ``pixel_convention`` of scene.json says, else the former.

    Raises:
        InputError: Something is missing or wrong.
    """
    if pose_file == "auto":
        pose_file = next((name for name in POSE_FILES if (root / name).is_file()), POSE_FILES[0])
    path = root / pose_file
    if not path.is_file():
        raise InputError(f"The file {path} does not exist, expected LLFF's camera poses: check --pose-file.")
    cameras = read_poses_bounds(path)
    images = find_images(root, images_folder)
    validation.require_equal_counts(
        str(path), len(cameras.camera_to_worlds), str(images[0].parent), len(images), "every image has one pose."
    )
    header = _common_size(images)
    lens = lens_of_images(cameras, header, pixel_convention_of(root) if convention == "auto" else convention, path)
    return MonocularVideo(path, root, images, cameras.camera_to_worlds, cameras.bounds, lens, np.eye(4))


def lens_of_images(
    cameras: PosesBounds, header: validation.ImageHeader, convention: Literal["integer", "half"], path: Path
) -> tj.Lens:
    """The lens at the images' size, by their height as in NSFF; square pixels and a centred principal point.

    Raises:
        InputError: The images have other proportions than the poses were made for.
    """
    height, width = header.height, header.width
    stretch = (width / height) / (cameras.width / cameras.height)
    if abs(stretch - 1) > LARGEST_ASPECT_ERROR:
        raise InputError(
            f"{path} was made for images of {cameras.width:g}x{cameras.height:g} pixels, but those there are {width}x"
            f"{height}, expected the same proportions: resize the images without cropping or turning them."
        )
    focal = cameras.focal * height / cameras.height
    shift = 0.5 if convention == "integer" else 0.0
    return tj.Lens(width, height, focal, focal, width / 2 + shift, height / 2 + shift)


def read_transforms_video(path: Path, near_bound: float | None, far_bound: float | None) -> MonocularVideo:
    """Reads nerfstudio's ``transforms.json`` of one moving camera.

    Frames are put in order of ``time`` where they have one, else of their file names, numbers in them as numbers. The
    lens keeps its distortion.

    Args:
        path: The file.
        near_bound: Depth before which nothing is seen, in units of the poses; None takes it from ``ply_file_path``.
        far_bound: Depth behind which nothing of interest is; likewise.

    Raises:
        InputError: Something is missing or wrong, two frames have one time, or lenses differ.
    """
    transforms = tj.read_transforms(path)
    images = tj.image_files(transforms)
    order = _order_in_time(transforms, images)
    images = [images[index] for index in order]
    header = _common_size(images)
    lenses = [tj.lens_of_frame(transforms, index, (header.height, header.width)) for index in order]
    lens = _common_lens(lenses, path)
    poses = tj.camera_poses(transforms)[order]
    bounds = _bounds(transforms, poses, lens, near_bound, far_bound)
    saved_from_world = tj.matrix_of_file(transforms, "applied_transform")
    saved_from_world[:3] *= tj.number_of_file(transforms, "applied_scale", 1.0)
    return MonocularVideo(path, path.parent, images, poses, bounds, lens, saved_from_world)


def depth_bounds(points: NDArray[np.float64], pose: NDArray[np.float64], lens: tj.Lens) -> NDArray[np.float64] | None:
    """The 5th and 95th percentile (2,) of the depths of points (M, 3) that a camera (3, 4) sees; None without any."""
    in_camera = (points - pose[:, 3]) @ pose[:, :3]
    depth = -in_camera[:, 2]
    ahead = depth > 1e-9
    in_camera, depth = in_camera[ahead], depth[ahead]
    x = lens.cx + lens.fx * in_camera[:, 0] / depth
    y = lens.cy - lens.fy * in_camera[:, 1] / depth
    seen = depth[sees(np.stack([x, y], axis=-1), lens)]
    return np.percentile(seen, BOUND_PERCENTILES) if len(seen) else None


def selected_bounds(video: MonocularVideo, start: int, end: int) -> NDArray[np.float64]:
    """Near and far (N, 2) of the frames from ``start`` to before ``end``.

    Raises:
        InputError: One of them sees none of the points from which its bounds follow, or is given bounds the wrong way
            round.
    """
    bounds = video.bounds[start:end]
    unseen = np.flatnonzero(np.isnan(bounds).any(axis=1))
    if len(unseen):
        raise InputError(
            f"Frame {start + unseen[0]} of {video.source}, in order of time, sees none of the points of its "
            "ply_file_path, expected some: check its pose, or give --near-bound and --far-bound."
        )
    wrong = np.flatnonzero((bounds[:, 0] <= 0) | (bounds[:, 0] > bounds[:, 1]))
    if len(wrong):
        near, far = bounds[wrong[0]]
        raise InputError(
            f"Frame {start + wrong[0]} of {video.source}, in order of time, has the near bound {near:g} and the far "
            f"bound {far:g}, expected 0 < near < far: check --near-bound and --far-bound."
        )
    return bounds


def pixel_convention_of(root: Path) -> Literal["integer", "half"]:
    """What ``pixel_convention`` of a folder's scene.json says of its poses_bounds.npy, else "integer", NSFF's.

    Raises:
        InputError: It is neither.
    """
    path = root / "scene.json"
    contents = validation.read_json(path, "facts about the scene") if path.is_file() else {}
    convention = contents.get("pixel_convention", "integer") if isinstance(contents, dict) else "integer"
    if convention not in ("integer", "half"):
        raise InputError(f"pixel_convention of {path} is {convention!r}, expected integer or half.")
    return convention


def _bounds(
    transforms: tj.TransformsFile,
    poses: NDArray[np.float64],
    lens: tj.Lens,
    near_bound: float | None,
    far_bound: float | None,
) -> NDArray[np.float64]:
    ply = transforms.contents.get("ply_file_path")
    if near_bound is not None and far_bound is not None:
        if not 0 < near_bound < far_bound:
            raise InputError(f"--near-bound {near_bound:g} --far-bound {far_bound:g}: expected 0 < near < far.")
        return np.tile([near_bound, far_bound], (len(poses), 1))
    if ply is None:
        raise InputError(
            f"{transforms.path} names no ply_file_path, from whose points the range of depth would follow, expected "
            "them, or --near-bound and --far-bound in the units of its poses."
        )
    points = read_points(transforms.path.parent / str(ply))
    found = [depth_bounds(points, pose, lens) for pose in poses]
    bounds = np.array([[np.nan, np.nan] if bound is None else bound for bound in found])
    bounds[:, 0] = bounds[:, 0] if near_bound is None else near_bound
    bounds[:, 1] = bounds[:, 1] if far_bound is None else far_bound
    return bounds


def _order_in_time(transforms: tj.TransformsFile, images: list[Path]) -> list[int]:
    if not any("time" in frame for frame in transforms.frames):
        return sorted(range(len(images)), key=lambda index: validation.natural_key(images[index].as_posix()))
    times = tj.times_of_frames(transforms)
    order = np.argsort(times, kind="stable")
    same = np.flatnonzero(np.diff(times[order]) <= 0)
    if len(same):
        first, second = order[same[0]], order[same[0] + 1]
        raise InputError(
            f"The frames {first} and {second} of {transforms.path} have the same time, expected one image per time: "
            "a monocular method knows one camera."
        )
    return order.tolist()


def _common_size(images: Sequence[Path]) -> validation.ImageHeader:
    headers = validation.read_image_headers(images, "Checking images")
    for path, header in zip(images, headers, strict=True):
        if header[:2] != headers[0][:2]:
            raise InputError(
                f"{path} is {header.width}x{header.height} pixels, but {images[0]} is {headers[0].width}x"
                f"{headers[0].height}, expected one size for all frames of a video."
            )
    return headers[0]


def _common_lens(lenses: list[tj.Lens], path: Path) -> tj.Lens:
    first = lenses[0]
    tolerance = LARGEST_LENS_DIFFERENCE * first.fx
    numbers = np.array([[lens.fx, lens.fy, lens.cx, lens.cy] for lens in lenses])
    # What numbers of a distortion mean depends on all of them.
    if np.abs(numbers - numbers[0]).max() > tolerance or any(
        largest_displacement(lens, first) > tolerance for lens in set(lenses) - {first}
    ):
        raise InputError(f"The frames of {path} have different lenses, expected one: calibrate with one shared lens.")
    return first if largest_displacement(first) > NEGLIGIBLE_DISTORTION else without_distortion(first)
