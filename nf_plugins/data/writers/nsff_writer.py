"""Writer of NSFF's layout with known truth: a monocular video, exact depth and flow, and views of held-out cameras.

images_{W}x{H}/00000.png  poses_bounds.npy  disp/  flow_i1/  motion_masks/     see nsff_files
mv_images/00000/cam01.png         8-bit RGB, what held-out camera 1 sees at the time of frame 0
mv_masks/00000/cam01.png          255 where it sees something that moves
mv_poses_bounds.npy               the held-out cameras, as in poses_bounds.npy
scene.json                        pixel_convention: which rays the pixels have
synth.json                        the request
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import write_json
from nf_plugins.data.optical_flow_files import OpticalFlow, write_flow
from nf_plugins.data.poses_bounds import PosesBounds, write_poses_bounds
from nf_plugins.data.writers.nsff_files import NsffFolder, write_array, write_image, write_mask
from nf_plugins.data.writers.scene_folder import new_scene_folder


@dataclass(frozen=True)
class NsffView:
    """What a camera sees."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    moving: NDArray[np.bool_]
    """(H, W)."""


@dataclass(frozen=True)
class NsffFrame:
    """One time of the video."""

    view: NsffView
    camera_to_world: NDArray[np.float64]
    """(3 or 4, 4), OpenGL axes."""
    depth: NDArray[np.floating]
    """(H, W) along the camera's axis, in the units of the pose; what is not hit is as far as a number can say."""
    forward: OpticalFlow | None
    """To the next frame; None of the last."""
    backward: OpticalFlow | None
    """To the frame before; None of the first."""
    bounds: tuple[float, float]
    """Near and far depth."""
    held_out: list[NsffView] = field(default_factory=list)
    """Of every held-out camera."""


def write_nsff_scene(
    folder: Path,
    frames: Iterable[NsffFrame],
    *,
    focal: float,
    held_out_poses: NDArray[np.float64],
    request: dict[str, Any],
    overwrite: bool = False,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        frames: In order of time, at least one; may be a generator.
        focal: Focal length, pixels. Column u of all cameras sees the direction (u - W/2) / focal, as NSFF counts.
        held_out_poses: (C, 3 or 4, 4), OpenGL axes; standing cameras.
        request: Every option that determines the scene (plain JSON values).
        overwrite: Replace an earlier scene.
        facts: Further JSON values for ``synth.json``.

    Raises:
        InputError: The folder holds something to be kept or cannot be written.
    """
    with new_scene_folder(folder, request, overwrite, {"layout": "nsff", **(facts or {})}) as staging:
        poses, bounds = [], []
        height = width = 0
        for number, frame in enumerate(frames):
            height, width = frame.depth.shape
            files = NsffFolder(staging, height, width)
            write_image(files.image(number), frame.view.rgb)
            write_mask(files.motion_mask(number), frame.view.moving)
            write_array(files.disparity(number), (1 / frame.depth).astype(np.float32))
            for path, flow in ((files.flow_forward, frame.forward), (files.flow_backward, frame.backward)):
                if flow is not None:
                    write_flow(path(number), flow.flow, flow.valid)
            for camera, view in enumerate(frame.held_out):
                name = f"{number:05d}/cam{camera + 1:02d}.png"
                write_image(staging / "mv_images" / name, view.rgb)
                write_mask(staging / "mv_masks" / name, view.moving)
            poses.append(frame.camera_to_world[:3])
            bounds.append(frame.bounds)
        lens = float(height), float(width), focal
        near_far = np.array(bounds, dtype=np.float64)
        write_poses_bounds(staging / "poses_bounds.npy", PosesBounds(np.stack(poses), near_far, *lens))
        if len(held_out_poses):
            widest = np.tile([near_far[:, 0].min(), near_far[:, 1].max()], (len(held_out_poses), 1))
            held_out = PosesBounds(held_out_poses[:, :3], widest, *lens)
            write_poses_bounds(staging / "mv_poses_bounds.npy", held_out)
        write_json(staging / "scene.json", {"pixel_convention": "integer"})
