from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neural3dv_scene import BOUNDS, grid_poses, pictures, write_neural3dv_ball

from nf_plugins.data.poses_bounds import read_poses_bounds
from nf_plugins.data.processing.frame_sources import open_source, read_frames
from nf_plugins.data.writers.neural3dv_writer import write_neural3dv_scene
from nf_plugins.errors import InputError


def test_videos_and_poses_come_back(tmp_path: Path) -> None:
    root = write_neural3dv_ball(tmp_path / "beef", num_cameras=3, num_frames=4, fps=25)
    assert sorted(path.name for path in root.glob("*.mp4")) == ["cam00.mp4", "cam01.mp4", "cam02.mp4"]
    poses = read_poses_bounds(root / "poses_bounds.npy")
    np.testing.assert_allclose(poses.camera_to_worlds, grid_poses(3)[:, :3], atol=1e-12)
    np.testing.assert_allclose(poses.bounds, [BOUNDS] * 3)
    assert (poses.height, poses.width, poses.focal) == (32, 40, 60)
    source = open_source(root / "cam01.mp4", 30.0)
    assert len(source) == 4 and source.fps == pytest.approx(25)
    for read, frame in zip(read_frames(source, range(4)), pictures(3, 4), strict=True):
        # Chroma has half the resolution, so the ball's edge differs.
        assert np.abs(read.astype(int) - frame[1].astype(int)).mean() < 6


def test_what_the_layout_cannot_hold(tmp_path: Path) -> None:
    poses, square = grid_poses(1), np.array([[60.0, 0, 20], [0, 60, 16], [0, 0, 1]])
    odd = [[np.zeros((33, 40, 3), dtype=np.uint8)]]
    with pytest.raises(InputError, match="40x33 pixels cannot become videos, expected even sides"):
        write_neural3dv_scene(tmp_path / "a", poses, square, odd, bounds=BOUNDS, request={})
    even = [[np.zeros((32, 40, 3), dtype=np.uint8)]]
    for place in ((0, 0), (0, 2)):
        wrong = square.copy()
        wrong[place] += 1
        with pytest.raises(ValueError, match="one focal length"):
            write_neural3dv_scene(tmp_path / "a", poses, wrong, even, bounds=BOUNDS, request={})
    assert not list(tmp_path.iterdir()), "nothing is left behind"
