"""What lies beside the images of a monocular video: disparity, optical flow, motion masks, held-out views.

The layout is NSFF's (Li et al., CVPR 2021). Images, disparities and masks belong together by their order; files of flow
and the folders of held-out views by the frame's number, counted from 0 in that order::

    disp/%05d.npy                            float (H, W), relative inverse depth, larger is nearer; NaN is unknown
    flow_i1/%05d_fwd.npz, %05d_bwd.npz       flow to the next and the previous frame; see optical_flow_files
    motion_masks/%05d.png                    not 0 where something moves
    mv_images/%05d/cam%02d.jpg               views of other cameras at the same times, cameras counted from 1
    mv_masks/%05d/cam%02d.png                their moving parts

Everything but the images is optional: what is not there is None. What is there is complete.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.optical_flow_files import SUFFIXES, flow_size
from nf_plugins.data.parallel import threaded_map
from nf_plugins.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST_ASPECT_ERROR = 0.02
"""By which part proportions may differ; sizes are rounded."""
CONSTANT_DISPARITY = 1e-6
"""A disparity is constant when its range is smaller than this part of its largest value."""


class FlowFiles(NamedTuple):
    """Files by frame of a selection; None at the end that has no neighbour there."""

    forward: list[Path | None]
    backward: list[Path | None]


class HeldOutView(NamedTuple):
    """An image that another camera took."""

    frame: int
    """Counted from 0 in the whole video."""
    camera: int
    """Counted from 0."""
    image: Path
    mask: Path | None


def find_images(root: Path, folder: str | None = None) -> list[Path]:
    """The images of the video, in natural order.

    Args:
        root: Folder of the scene.
        folder: Name of the folder of images; None takes the one ``images_*`` that there is, or else ``images``.

    Raises:
        InputError: There is none, it is empty, or there are several to choose from.
    """
    if folder is None:
        resized = sorted(path.name for path in root.glob("images_*") if path.is_dir())
        if len(resized) > 1:
            raise InputError(
                f"{root} has several folders of images, {', '.join(resized)}, and poses do not say which is meant: "
                "name one with --images-folder, or remove those of earlier runs."
            )
        folder = resized[0] if resized else "images"
    validation.require_folder(root / folder, "the frames of the video")
    files = _images_of(root / folder)
    if not files:
        raise InputError(f"The folder {root / folder} holds no .png or .jpg, expected the frames of the video.")
    return files


def find_files_beside(
    root: Path, images: list[Path], start: int, end: int, size: tuple[int, int]
) -> dict[str, Sequence[Path | None]]:
    """Disparity, flow and motion masks of every selected frame, by their names in a dataset's metadata.

    Args:
        root: Folder of the scene.
        images: All of the video.
        start: First selected frame.
        end: One after the last.
        size: Height and width of the images.

    Raises:
        InputError: A kind of file is there, but not complete or not right.
    """
    flows, aspect = find_flows(root, images, start, end, size), size[1] / size[0]
    found: dict[str, Sequence[Path | None] | None] = {
        "disparity_filenames": find_disparities(root, images, start, end, aspect),
        "flow_forward_filenames": None if flows is None else flows.forward,
        "flow_backward_filenames": None if flows is None else flows.backward,
        "motion_mask_filenames": find_motion_masks(root, images, start, end, aspect),
    }
    return {key: files for key, files in found.items() if files is not None}


def find_disparities(root: Path, images: list[Path], start: int, end: int, aspect: float) -> list[Path] | None:
    """The disparity of every selected frame, checked: readable, known somewhere and not the same everywhere, and of
    the proportions of the images, width over height."""
    if not (root / "disp").is_dir():
        return None
    files = sorted(_visible(root / "disp", (".npy",)), key=_by_name)
    _require_as_many(root / "disp", files, images)
    files = files[start:end]
    shapes = threaded_map(lambda path: read_disparity(path).shape, files, "Checking disparities")
    for path, (height, width) in zip(files, shapes, strict=True):
        _require_proportions(path, height, width, aspect, "estimate it on the images of the video")
    return files


def read_disparity(path: Path) -> NDArray[np.float32]:
    """Relative inverse depth (H, W) of a file; NaN where it is not known.

    Raises:
        InputError: It is damaged, no image, infinite, or known nowhere or constant, so that no scale and shift can be
            taken out.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # damaged files fail in several ways of their own
        raise InputError(f"{path} cannot be read ({error}), expected a disparity (H, W): write it anew.") from error
    if not isinstance(values, np.ndarray) or values.squeeze().ndim != 2:
        raise InputError(f"{path} has the shape {getattr(values, 'shape', '?')}, expected a disparity (H, W).")
    values = values.squeeze().astype(np.float32)
    if np.isinf(values).any():
        raise InputError(
            f"{path} holds infinite values, expected a relative inverse depth, or NaN where it is not known."
        )
    known = values[~np.isnan(values)]
    if not known.size:
        raise InputError(
            f"{path} holds nothing but NaN, expected a relative inverse depth of some pixels: estimate it anew, or "
            "remove the folder disp to train without depth."
        )
    if np.ptp(known) <= CONSTANT_DISPARITY * np.abs(known).max():
        raise InputError(
            f"{path} has the same value {known[0]:g} everywhere, expected a relative inverse depth: estimate it anew, "
            "or remove the folder disp to train without depth."
        )
    return values


def find_flows(root: Path, images: list[Path], start: int, end: int, size: tuple[int, int]) -> FlowFiles | None:
    """The flow of every selected frame to its selected neighbours, checked: all there and of the images' size."""
    folder = root / "flow_i1"
    if not folder.is_dir():
        return None
    _require_flow_of_these_frames(folder, images)
    frames = range(start, end)
    forward = [_flow_file(folder, frame, "fwd", images) if frame + 1 < end else None for frame in frames]
    backward = [_flow_file(folder, frame, "bwd", images) if frame > start else None for frame in frames]
    for path in forward + backward:
        if path is not None and flow_size(path) != size:
            height, width = flow_size(path)
            raise InputError(
                f"{path} holds the flow of {width}x{height} pixels, but the images are {size[1]}x{size[0]}, expected "
                "the same size: estimate it on the images of this folder, or resize it and multiply its vectors."
            )
    return FlowFiles(forward, backward)


def find_motion_masks(root: Path, images: list[Path], start: int, end: int, aspect: float) -> list[Path] | None:
    """The mask of moving parts of every selected frame, of the proportions of the images, width over height."""
    if not (root / "motion_masks").is_dir():
        return None
    files = _images_of(root / "motion_masks")
    _require_as_many(root / "motion_masks", files, images)
    _require_images_of(files[start:end], aspect, "Checking motion masks", "draw it on the images of the video")
    return files[start:end]


def find_held_out_views(root: Path, start: int, end: int, aspect: float) -> list[HeldOutView] | None:
    """All views of ``mv_images`` at the selected frames, by frame and camera; None without that folder.

    Args:
        root: Folder of the scene.
        start: First selected frame.
        end: One after the last.
        aspect: Width over height of the video; the views are brought to its size.

    Raises:
        InputError: A frame has no views, or other ones than the first, one has no mask while others do, or it or
            its mask is of another shape than the video.
    """
    if not (root / "mv_images").is_dir():
        return None
    with_masks = (root / "mv_masks").is_dir()
    views: list[HeldOutView] = []
    for frame in range(start, end):
        folder = root / "mv_images" / f"{frame:05d}"
        validation.require_folder(folder, "one view per camera at this frame")
        images = {_camera_number(path): path for path in _images_of(folder)}
        masks: dict[int, Path] = {}
        if with_masks:
            mask_folder = validation.require_folder(root / "mv_masks" / f"{frame:05d}", "one mask per camera")
            masks = {_camera_number(path): path for path in _images_of(mask_folder)}
        here = sorted(images)
        if views and here != [view.camera for view in views if view.frame == start]:
            raise InputError(
                f"{folder} has views of the cameras {[camera + 1 for camera in here]}, another choice than at frame "
                f"{start}, expected the same cameras at all frames."
            )
        for camera in here:
            if with_masks and camera not in masks:
                raise InputError(
                    f"{images[camera]} has no mask in {root / 'mv_masks' / f'{frame:05d}'}, expected one per view, or "
                    "no folder mv_masks."
                )
            views.append(HeldOutView(frame, camera, images[camera], masks.get(camera)))
    way_out = "crop the views and their masks to the video's, or remove the folder"
    _require_images_of([view.image for view in views], aspect, "Checking held-out views", f"{way_out} mv_images")
    drawn = [view.mask for view in views if view.mask is not None]
    _require_images_of(drawn, aspect, "Checking masks of held-out views", f"{way_out} mv_masks")
    return views


def _require_images_of(files: Sequence[Path], aspect: float, description: str, way_out: str) -> None:
    """Images that can be read, of the proportions of the video."""
    for path, header in zip(files, validation.read_image_headers(files, description), strict=True):
        _require_proportions(path, header.height, header.width, aspect, way_out)


def _require_proportions(path: Path, height: int, width: int, aspect: float, way_out: str) -> None:
    if abs(width / height / aspect - 1) > LARGEST_ASPECT_ERROR:
        raise InputError(
            f"{path} is {width}x{height} pixels, whose width is {width / height:.3g} times the height, but "
            f"{aspect:.3g} times in the video, expected the same proportions (any size): {way_out}."
        )


def _camera_number(path: Path) -> int:
    match = re.fullmatch(r"cam(\d+)", path.stem)
    if match is None or int(match[1]) < 1:
        raise InputError(f"{path} is named {path.name}, expected cam01, cam02, ... as in the NVIDIA Dynamic Scene set.")
    return int(match[1]) - 1


def _require_flow_of_these_frames(folder: Path, images: list[Path]) -> None:
    """Flow of a frame that there is not tells that frames were counted otherwise, such as before some were left out."""
    for path in sorted(_visible(folder, SUFFIXES), key=_by_name, reverse=True):
        match = re.fullmatch(r"(\d+)_(fwd|bwd)", path.stem)
        if match is not None:
            if int(match[1]) >= len(images):
                raise InputError(
                    f"{path} is the flow of frame {int(match[1])}, but there are {len(images)} images, counted from 0, "
                    "expected flow between these, which may be fewer than were filmed (COLMAP leaves out what it "
                    "cannot place): estimate it on them, in the order of their names."
                )
            return


def _flow_file(folder: Path, frame: int, direction: str, images: list[Path]) -> Path:
    for suffix in SUFFIXES:
        path = folder / f"{frame:05d}_{direction}{suffix}"
        if path.is_file():
            return path
    word, other = ("forward", frame + 1) if direction == "fwd" else ("backward", frame - 1)
    raise InputError(
        f"{folder} holds no {frame:05d}_{direction}.npz, the {word} flow from frame {frame} ({images[frame].name}) to "
        f"frame {other}, expected both directions for all neighbours: estimate it, or remove the folder flow_i1 to "
        "train without flow."
    )


def _require_as_many(folder: Path, files: list[Path], images: list[Path]) -> None:
    validation.require_equal_counts(
        str(folder), len(files), f"the folder of images {images[0].parent}", len(images), "write one file per image."
    )


def _images_of(folder: Path) -> list[Path]:
    return sorted(_visible(folder, IMAGE_SUFFIXES), key=_by_name)


def _visible(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")]


def _by_name(path: Path) -> list[tuple[int, str]]:
    return validation.natural_key(path.name)
