from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import monocular_scene as truth
import numpy as np
import pytest

from nf_plugins.data.poses_bounds import PosesBounds, read_poses_bounds, write_poses_bounds
from nf_plugins.errors import InputError


def rows(num_frames: int = 4) -> np.ndarray:
    poses = [truth.camera_pose(frame / 3) for frame in range(num_frames)]
    return truth.pose_rows(poses, [np.array([1.5, 9.0])] * num_frames, 18, 24)


def test_columns_down_right_back_become_opengl_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "poses_bounds.npy", rows())
    cameras = read_poses_bounds(tmp_path / "poses_bounds.npy")
    expected = np.stack([truth.camera_pose(frame / 3)[:3] for frame in range(4)])
    np.testing.assert_allclose(cameras.camera_to_worlds, expected, atol=1e-12)
    assert (cameras.height, cameras.width, cameras.focal) == (18, 24, truth.focal_length(24))
    assert cameras.bounds.tolist() == [[1.5, 9.0]] * 4


def test_what_is_written_is_what_another_writer_writes(tmp_path: Path) -> None:
    poses = np.stack([truth.camera_pose(frame / 3)[:3] for frame in range(4)])
    path = tmp_path / "poses_bounds.npy"
    write_poses_bounds(path, PosesBounds(poses, np.tile([1.5, 9.0], (4, 1)), 18, 24, truth.focal_length(24)))
    np.testing.assert_allclose(np.load(path), rows(), atol=1e-12)


def with_entry(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[row, column] = value
        return values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[:, :15], r"shape \(4, 15\), expected \(N, 17\)"),
        (lambda values: values[0], r"shape \(17,\), expected \(N, 17\)"),
        (with_entry(1, 3, np.nan), "no finite numbers"),
        (with_entry(2, 0, 3.0), "Pose 2 of"),
        (with_entry(3, 14, 99.0), "Row 3 of .*the same for all images"),
        (with_entry(1, 15, 10.0), r"Row 1 of .*expected 0 < near < far"),
        (with_entry(1, 15, -1.0), r"Row 1 of .*expected 0 < near < far"),
    ],
)
def test_wrong_contents_are_told(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    np.save(tmp_path / "poses_bounds.npy", change(rows()))
    with pytest.raises(InputError, match=message):
        read_poses_bounds(tmp_path / "poses_bounds.npy")


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "poses_bounds.npy").write_text("poses")
    with pytest.raises(InputError, match="cannot be read"):
        read_poses_bounds(tmp_path / "poses_bounds.npy")
