"""A ball that moves along x, as a mesh sequence: distances, normals and pictures of it are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from nf_plugins.data.anime import write_anime

RADIUS = 0.4
"""World units, as everything here."""
NUM_FRAMES = 3


def centre_at(time: float) -> np.ndarray:
    """Centre (3,) of the ball at a time in [0, 1]."""
    return np.array([2.0 + 0.6 * (time - 0.5), 2.1, 1.95])


def ball_at(time: float, subdivisions: int = 3) -> trimesh.Trimesh:
    """The true mesh."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=RADIUS)
    ball.apply_translation(centre_at(time))
    return ball


def write_ball_anime(path: Path, num_frames: int = NUM_FRAMES, subdivisions: int = 3) -> Path:
    """One .anime file with all frames."""
    balls = [ball_at(time, subdivisions) for time in np.linspace(0, 1, num_frames)]
    write_anime(path, np.stack([ball.vertices for ball in balls]), balls[0].faces)
    return path


def write_ball_folder(folder: Path, num_frames: int = NUM_FRAMES) -> Path:
    """A folder of .ply files whose topology changes from frame to frame."""
    folder.mkdir()
    for frame, time in enumerate(np.linspace(0, 1, num_frames)):
        ball_at(time, subdivisions=2 + frame % 2).export(folder / f"mesh_{frame}.ply")
    return folder
