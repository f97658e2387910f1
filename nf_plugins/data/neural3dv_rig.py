"""Captures in the layout of Neural 3D Video (DyNeRF; Li et al., CVPR 2022): a forward-facing rig with LLFF's poses.

::

    SCENE/
      cam00.mp4, cam01.mp4, ...        or images/CAMERA/*.jpg: synchronised, all of one length
      poses_bounds.npy                 a row per camera in the order of their names, see nf_plugins/data/poses_bounds.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.poses_bounds import PosesBounds, read_poses_bounds
from nf_plugins.data.prepared_images import prepared_lens, reduced_size
from nf_plugins.data.processing.frame_sources import VIDEO_SUFFIXES, FrameSource, find_sources, open_source
from nf_plugins.data.processing.known_cameras import KnownCamera
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_pictures import VideoPictures, picture_name
from nf_plugins.data.selection import select_frames
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

POSES_FILE = "poses_bounds.npy"
FPS = 30.0
"""Of videos without time stamps; only the order of frames matters."""
EXPECTED = f"a video per camera (cam00.mp4, ...) or images/CAMERA, and {POSES_FILE}"

FrameChoice = tuple[int, int, int | None]
"""First frame, stride and number, as ``select_frames`` takes them."""


def read_neural3dv_rig(
    root: Path,
    *,
    frames: FrameChoice = (0, 1, None),
    ratio: float = 1.0,
    pixel_convention: Literal["half", "integer"] = "half",
    most_bytes: float = 4e9,
) -> tuple[RigCapture, NDArray[np.float64]]:
    """The cameras and frames of a scene, and what depths each camera sees.

    Args:
        frames: Which frames of videos may be asked for.
        ratio: Videos are reduced by it when they are decoded: the capture's lenses and images are reduced already, and
            its ``ratios`` are 1. Images are not reduced here.
        pixel_convention: Ray of pixel column u: "half" = through u + 1/2 - W/2, "integer" = through u - W/2.
        most_bytes: Memory that decoded frames may take.

    Returns:
        The capture, and near and far of every camera (C, 2), world units.

    Raises:
        InputError: Something is missing, damaged, or does not fit together.
    """
    if not root.is_dir():
        validation.require_folder(root, EXPECTED)
    if not (root / POSES_FILE).is_file():
        raise InputError(f"The folder {root} holds no {POSES_FILE}, expected {EXPECTED}.")
    poses = read_poses_bounds(root / POSES_FILE)
    paths = _sources(root)
    validation.require_equal_counts(
        f"{root / POSES_FILE}", len(poses.camera_to_worlds), f"{next(iter(paths.values())).parent}", len(paths),
        f"it has a row per camera, in the order of their names ({', '.join(list(paths)[:3])}, ...); take the file that "
        "came with these videos.",
    )  # fmt: skip
    sources = {name: open_source(path, FPS) for name, path in paths.items()}
    first = next(iter(sources.values()))
    for source in sources.values():
        validation.require_equal_counts(
            f"{source.path}", len(source), f"{first.path}", len(first),
            "cameras are taken to be synchronised, so all have as many frames; cut them to one length.",
        )  # fmt: skip
    if any(source.files for source in sources.values()) and not all(source.files for source in sources.values()):
        raise InputError(f"{root} has videos of some cameras and images of others, expected one kind for all.")
    lenses = _lenses(poses, sources, pixel_convention)
    images = (
        [[source.files[frame] for source in sources.values()] for frame in range(len(first))] if first.files else None
    )
    pictures = None
    if images is None:
        chosen = select_frames(len(first), *frames, root)
        pictures, lenses = _videos(sources, chosen, lenses, ratio, most_bytes)
        images = [
            [picture_name(source.path, name, frame) for name, source in sources.items()] for frame in range(len(first))
        ]
    capture = RigCapture(
        camera_names=list(sources),
        lenses=lenses,
        camera_to_worlds=poses.camera_to_worlds,
        images=images,
        masks=None,
        mask_rule="",
        frame_points=None,
        frame_box_files=None,
        plates=None,
        scene_points=None,
        source=root / POSES_FILE,
        picture_source=pictures,
        ratios=None if pictures is None else (1.0,) * len(sources),
    )
    return capture, poses.bounds


def frustum_box(capture: RigCapture, bounds: NDArray[np.float64], cameras: Sequence[int]) -> NDArray[np.float64]:
    """The box (2, 3) around what some cameras see between their bounds, world units.

    All of it, not what they see in common, so that no ray of a border has to be explained by what lies in the middle.

    Args:
        bounds: (C, 2): near and far of every camera.
        cameras: Which cameras.
    """
    corners = []
    for index in cameras:
        lens, pose = capture.lenses[index], capture.camera_to_worlds[index]
        x = (np.array([0, lens.width]) - lens.cx) / lens.fx
        y = -(np.array([0, lens.height]) - lens.cy) / lens.fy
        local = np.stack([*np.meshgrid(x, y), -np.ones((2, 2))], axis=-1).reshape(-1, 1, 3)
        corners.append((local * bounds[index, :, None]).reshape(-1, 3) @ pose[:, :3].T + pose[:, 3])
    seen = np.concatenate(corners)
    return np.stack([seen.min(axis=0), seen.max(axis=0)])


def _sources(root: Path) -> dict[str, Path]:
    """The video, or the folder of images, of every camera."""
    images = root / "images"
    if images.is_dir() and any(path.is_dir() for path in images.iterdir()):
        return find_sources(images, "a folder of images per camera")
    found = {name: path for name, path in find_sources(root, EXPECTED).items() if path.suffix.lower() in VIDEO_SUFFIXES}
    if not found:
        raise InputError(f"The folder {root} holds no videos, expected {EXPECTED}.")
    return found


def _lenses(poses: PosesBounds, sources: dict[str, FrameSource], convention: str) -> list[Lens]:
    """The lens of every camera at its own size."""
    shift = 0.5 if convention == "integer" else 0.0
    height, width = round(poses.height), round(poses.width)
    lens = Lens(width, height, poses.focal, poses.focal, width / 2, height / 2)
    lenses = []
    for name, source in sources.items():
        camera = KnownCamera(name, lens, np.eye(3, 4))
        own = camera.lens_at(*_size(source))
        lenses.append(replace(own, cx=own.cx + shift, cy=own.cy + shift))
    return lenses


def _size(source: FrameSource) -> tuple[int, int]:
    """Width and height of the frames."""
    if source.files:
        header = validation.read_image_header(source.files[0])
        return header.width, header.height
    import av

    with av.open(str(source.path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def _videos(
    sources: dict[str, FrameSource], frames: list[int], lenses: list[Lens], ratio: float, most_bytes: float
) -> tuple[VideoPictures, list[Lens]]:
    """What decodes the videos, and the lenses of the reduced images."""
    sizes = {(lens.height, lens.width) for lens in lenses}
    if len(sizes) > 1:
        told = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise InputError(
            f"The videos have {len(sizes)} sizes ({told}), expected one, as poses_bounds.npy has it: export them "
            "at one size."
        )
    height, width = reduced_size(*sizes.pop(), ratio) if 0 < ratio <= 1 else (0, 0)
    if min(height, width) < 1:
        raise InputError(f"--scale-ratio is {ratio:g}, expected above 0 and at most 1, and at least a pixel left.")
    pictures = VideoPictures(sources, frames, (height, width), ratio, most_bytes)
    CONSOLE.print(
        f"{len(sources)} videos, {len(frames)} frames each at {width}x{height}: {pictures.num_bytes / 1e9:.1f} GB as 8 "
        "bit if all are trained on; --scale-ratio, --num-frames and --frame-stride make it less.",
        soft_wrap=True,
    )
    return pictures, [prepared_lens(lens, False, ratio, (0, 0, height, width)) for lens in lenses]
