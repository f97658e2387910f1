"""Writer of the layout of Neural 3D Video (DyNeRF): a video per standing camera and LLFF's poses.

::

    cam00.mp4, cam01.mp4, ...          H.264, all of one length and size
    poses_bounds.npy                   (C, 17): a row per video in the order of their names
    synth.json                         the request
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.poses_bounds import PosesBounds, write_poses_bounds
from nf_plugins.data.writers.scene_folder import check_target, new_scene_folder
from nf_plugins.errors import InputError

POSES_FILE = "poses_bounds.npy"
QUALITY = "8"
"""H.264's constant rate factor: hardly any loss beside that of halved chroma."""
SAME_FOCAL = 1e-6


def write_neural3dv_scene(
    folder: Path,
    poses: NDArray[np.float64],
    intrinsics: NDArray[np.float64],
    frames: Iterable[Sequence[NDArray[np.uint8]]],
    *,
    bounds: NDArray[np.float64] | Sequence[float],
    request: dict[str, Any],
    overwrite: bool = False,
    fps: float = 30,
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        poses: (C, 4, 4) camera to world, OpenGL axes, world units.
        intrinsics: (3, 3), pixels, the centre of the first one at (0.5, 0.5). The layout has one focal length and the
            principal point in the middle.
        frames: For every frame the (H, W, 3) uint8 images of all cameras; may be a generator.
        bounds: (2,) or (C, 2): z of the nearest and the farthest thing, world units.
        request: Every option that determines the scene (plain JSON values).
        overwrite: Replace an earlier scene.
        fps: Frames per second of the videos.

    Raises:
        InputError: The folder holds something to be kept or cannot be written, or an image's side is odd, which H.264
            does not have.
        ValueError: The lens is none that the layout can hold.
    """
    check_target(folder, overwrite)
    names = [f"cam{index:02d}" for index in range(len(poses))]
    facts: dict[str, Any] = {"layout": "neural3dv", "cameras": names}
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        size: tuple[int, int] | None = None
        with contextlib.ExitStack() as open_files:
            videos: list[_Video] = []
            for images in frames:
                if size is None:
                    size = _size(images[0], intrinsics)
                    videos = [open_files.enter_context(_Video(staging / f"{name}.mp4", size, fps)) for name in names]
                for video, image in zip(videos, images, strict=True):
                    video.add(image)
        if size is None:
            raise ValueError("no frames, expected at least one")
        near_far = np.broadcast_to(np.asarray(bounds, dtype=np.float64), (len(poses), 2))
        rows = np.asarray(poses, dtype=np.float64)[:, :3]
        cameras = PosesBounds(rows, near_far, float(size[0]), float(size[1]), float(intrinsics[0, 0]))
        write_poses_bounds(staging / POSES_FILE, cameras)


class _Video:
    """An mp4 that takes images one after the other."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        import av

        self._container = av.open(str(path), mode="w")
        self._stream: Any = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": QUALITY}

    def add(self, image: NDArray[np.uint8]) -> None:
        """Encodes an image (H, W, 3)."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> _Video:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _size(image: NDArray[np.uint8], intrinsics: NDArray[np.float64]) -> tuple[int, int]:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        raise InputError(
            f"Images of {width}x{height} pixels cannot become videos, expected even sides: choose another --resolution."
        )
    focals, centre = np.diag(intrinsics)[:2], np.asarray(intrinsics)[:2, 2]
    if abs(focals[0] / focals[1] - 1) > SAME_FOCAL or np.abs(centre - [width / 2, height / 2]).max() > SAME_FOCAL:
        raise ValueError(f"intrinsics {intrinsics.tolist()}, expected one focal length and a centre in the middle")
    return height, width
