"""The scene of ``monocular_scene`` filmed by a lens that bends light, as nerfstudio's COLMAP processing writes it.

OpenCV bends the light here, so that the package's own formulas are measured against others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import monocular_scene as truth
import numpy as np
from numpy.typing import NDArray
from PIL import Image

LENS = {"k1": -0.3, "k2": 0.08, "p1": 0.012, "p2": -0.009}
"""Moves the corners of an image by several of its pixels."""


def pinhole_pixels(pixels: NDArray[np.float64], lens: dict[str, float], focal: float, centre: Any) -> NDArray:
    """Pixels (*batch, 2) of a lens that compresses (a barrel), as the pinhole sees them: a fixed point."""
    found = pixels.astype(np.float64)
    for _ in range(400):
        found = found + pixels - lens_pixels(found, lens, focal, centre)
    return found


def lens_pixels(pixels: NDArray[np.float64], lens: dict[str, float], focal: float, centre: Any) -> NDArray:
    """Pixels (*batch, 2) of the pinhole, as a lens sees them."""
    matrix = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    plane = (pixels.reshape(-1, 2) - np.asarray(centre)) / focal
    points = np.concatenate([plane, np.ones((len(plane), 1))], axis=1)
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, _coefficients(lens))[0].reshape(pixels.shape)


def write_distorted_capture(
    root: Path, height: int = truth.HEIGHT, width: int = truth.WIDTH, lens: dict[str, float] = LENS, **keys: Any
) -> Path:
    """Writes transforms.json, images/, disp/, flow_i1/ and motion_masks/; returns the folder.

    Frames are named without leading zeros and stand in disorder; none has a time.

    Args:
        keys: Of transforms.json, on top.
    """
    for folder in ("images", "disp", "flow_i1", "motion_masks"):
        (root / folder).mkdir(parents=True)
    focal, centre = truth.focal_length(width), (width / 2 + 0.5, height / 2 + 0.5)
    rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    centres = np.stack([columns, rows], axis=-1)
    # The scene counts pixels as NSFF does, from the centre of the first one.
    seen = pinhole_pixels(centres, lens, focal, centre) - 0.5
    frames = []
    times = np.arange(truth.NUM_FRAMES) / (truth.NUM_FRAMES - 1)
    for frame, time in enumerate(times):
        pose = truth.camera_pose(time)
        points, on_ball = truth._intersect(pose, time, seen[..., 0], seen[..., 1], (height, width))
        depth = -((points - pose[:3, 3]) @ pose[:3, 2])
        np.save(root / "disp" / f"{frame:05d}.npy", (1 / depth).astype(np.float32))
        Image.fromarray(on_ball.astype(np.uint8) * 255).save(root / "motion_masks" / f"{frame:05d}.png")
        Image.fromarray(np.uint8(255 * truth._colour(points, on_ball, time))).save(
            root / "images" / f"frame_{frame + 8}.png"
        )
        for name, other in (("fwd", frame + 1), ("bwd", frame - 1)):
            if 0 <= other < len(times):
                moved = points + on_ball[..., None] * (truth.ball_centre(times[other]) - truth.ball_centre(time))
                target = truth.project(truth.camera_pose(times[other]), moved, height, width) + 0.5
                flow = lens_pixels(target, lens, focal, centre) - centres
                mask = np.ones(depth.shape, bool)
                np.savez(root / "flow_i1" / f"{frame:05d}_{name}.npz", flow=flow.astype(np.float32), mask=mask)
        frames.append({"file_path": f"images/frame_{frame + 8}.png", "transform_matrix": pose.tolist()})
    contents = {
        "camera_model": "OPENCV", "w": width, "h": height, "fl_x": focal, "fl_y": focal, "cx": centre[0],
        "cy": centre[1], **lens, "frames": frames[2:] + frames[:2], **keys,
    }  # fmt: skip
    (root / "transforms.json").write_text(json.dumps(contents))
    return root


def _coefficients(lens: dict[str, float]) -> NDArray[np.float64]:
    return np.array([lens.get(key, 0.0) for key in ("k1", "k2", "p1", "p2", "k3")])
