from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.held_out_cameras import choose_views
from nf_plugins.data.monocular_files import HeldOutView, find_held_out_views
from nf_plugins.data.poses_bounds import PosesBounds, write_poses_bounds
from nf_plugins.errors import InputError

FOCAL = 1.2
"""Of the video, over its height."""


def views(frames: range, num_cameras: int) -> list[HeldOutView]:
    return [HeldOutView(frame, camera, Path("x"), None) for frame in frames for camera in range(num_cameras)]


def poses(num_frames: int) -> np.ndarray:
    result = np.tile(np.eye(4)[:3], (num_frames, 1, 1))
    result[:, 0, 3] = np.arange(num_frames)
    return result


def test_the_published_protocol_has_264_pairs_with_the_poses_of_the_first_twelve_frames() -> None:
    chosen = choose_views(Path("absent"), views(range(24), 12), poses(24), 0, "nsff", relative_focal=FOCAL)
    pairs = [(view.frame, view.camera) for view in chosen.views]
    assert len(pairs) == 264 == len(set(pairs))
    assert all(camera != frame % 12 for frame, camera in pairs)
    assert chosen.poses[:, 0, 3].tolist() == [camera for _, camera in pairs]
    assert chosen.num_rig_cameras == 12 and "264 images" in chosen.note


def test_a_slice_that_begins_later_finds_each_camera_at_a_frame_that_it_took() -> None:
    chosen = choose_views(Path("absent"), views(range(5, 15), 12), poses(10), 5, "auto", relative_focal=FOCAL)
    cameras = {view.camera for view in chosen.views}
    assert cameras == {5, 6, 7, 8, 9, 10, 11, 0, 1, 2}  # 3 and 4 took none of these frames
    for view, pose in zip(chosen.views, chosen.poses, strict=True):
        assert (5 + int(pose[0, 3])) % 12 == view.camera != view.frame % 12


def test_dynamic_nerf_looks_through_the_first_camera_at_twelve_frames() -> None:
    chosen = choose_views(Path("absent"), views(range(24), 12), poses(24), 0, "dynamic-nerf", relative_focal=FOCAL)
    assert [(view.frame, view.camera) for view in chosen.views] == [(frame, 0) for frame in range(12)]
    assert (chosen.poses[:, 0, 3] == 0).all()


def test_no_view_left_is_told() -> None:
    with pytest.raises(InputError, match="No view of .* is left"):
        choose_views(Path("absent"), views(range(3), 1), poses(3), 0, "nsff", relative_focal=FOCAL)


def test_held_out_cameras_of_another_lens_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mv_poses_bounds.npy"
    bounds = np.tile([1.0, 2.0], (2, 1))
    write_poses_bounds(file, PosesBounds(poses(2), bounds, 100.0, 150.0, 100 * FOCAL * 1.0005))
    assert len(choose_views(tmp_path, views(range(3), 2), poses(3), 0, "nsff", relative_focal=FOCAL).views) == 6
    write_poses_bounds(file, PosesBounds(poses(2), bounds, 100.0, 150.0, 100 * FOCAL * 1.01))
    with pytest.raises(InputError, match="focal length of 1.212 times the height, but the video 1.2,"):
        choose_views(tmp_path, views(range(3), 2), poses(3), 0, "nsff", relative_focal=FOCAL)


def test_views_of_another_shape_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mv_images" / "00000").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "mv_images" / "00000" / "cam01.png")
    assert find_held_out_views(tmp_path, 0, 1, 4 / 3) is not None
    with pytest.raises(InputError, match=r"cam01.png is 40x30 pixels, .* but 1.78 times in the video"):
        find_held_out_views(tmp_path, 0, 1, 16 / 9)
