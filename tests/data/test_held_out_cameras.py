from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.held_out_cameras import EvaluationViews, choose_views
from nf_plugins.data.monocular_files import HeldOutView, find_held_out_views
from nf_plugins.data.poses_bounds import PosesBounds, write_poses_bounds
from nf_plugins.errors import InputError

FOCAL = 1.2
"""Of the video, over its height."""
ABSENT = Path("absent")


def views(frames: range, cameras: Sequence[int]) -> list[HeldOutView]:
    return [HeldOutView(frame, camera, Path("x"), None) for frame in frames for camera in cameras]


def poses(centres: Sequence[float]) -> np.ndarray:
    result = np.tile(np.eye(4)[:3], (len(centres), 1, 1))
    result[:, 0, 3] = centres
    return result


def rig(num_frames: int, num_cameras: int = 12) -> np.ndarray:
    """Poses of a rig's video: camera i stands at x = i."""
    return poses([frame % num_cameras for frame in range(num_frames)])


def choose(root: Path, all_views: list[HeldOutView], own: np.ndarray, protocol: Any = "nsff") -> EvaluationViews:
    return choose_views(root, all_views, own, 0, protocol, images=[ABSENT] * len(own), relative_focal=FOCAL)


def picture(path: Path, camera: int, frame: int, size: tuple[int, int] = (64, 36)) -> Path:
    """What a camera sees: a pattern of its own, and a square that moves."""
    pattern = np.random.default_rng(camera).integers(0, 255, (6, 8), dtype=np.uint8)
    values = np.asarray(Image.fromarray(pattern).resize((64, 36), Image.Resampling.BICUBIC)).copy()
    values[10:14, 2 * frame : 2 * frame + 4] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def filmed(root: Path, frames: range, num_cameras: int, cameras: Sequence[int]) -> tuple[list[HeldOutView], list[Path]]:
    """Views of a rig, larger and compressed, and frames that were taken by the cameras given."""
    seen = [
        HeldOutView(frame, camera, picture(root / f"mv/{frame}_{camera}.jpg", camera, frame, (192, 108)), None)
        for frame in frames
        for camera in range(num_cameras)
    ]
    return seen, [
        picture(root / f"video/{frame}.png", camera, frame) for frame, camera in zip(frames, cameras, strict=True)
    ]


def test_the_published_protocol_has_264_pairs_with_the_poses_of_the_first_twelve_frames() -> None:
    own = rig(24)
    own[12:, 0, 3] += 0.3  # as poses of every image on its own have it
    chosen = choose(ABSENT, views(range(24), range(12)), own)
    pairs = [(view.frame, view.camera) for view in chosen.views]
    assert len(pairs) == 264 == len(set(pairs))
    assert all(camera != frame % 12 for frame, camera in pairs)
    assert chosen.poses[:, 0, 3].tolist() == [camera for _, camera in pairs]
    assert chosen.num_rig_cameras == 12 and "264 images" in chosen.note


def test_a_slice_that_begins_later_finds_each_camera_at_a_frame_that_it_took(tmp_path: Path) -> None:
    seen, images = filmed(tmp_path, range(5, 15), 12, [frame % 12 for frame in range(5, 15)])
    chosen = choose_views(tmp_path, seen, poses(range(10)), 5, "auto", images=images, relative_focal=FOCAL)
    cameras = {view.camera for view in chosen.views}
    assert cameras == {5, 6, 7, 8, 9, 10, 11, 0, 1, 2}  # 3 and 4 took none of these frames
    for view, pose in zip(chosen.views, chosen.poses, strict=True):
        assert (5 + int(pose[0, 3])) % 12 == view.camera != view.frame % 12


def test_dynamic_nerf_looks_through_the_first_camera_at_twelve_frames() -> None:
    chosen = choose(ABSENT, views(range(24), range(12)), rig(24), "dynamic-nerf")
    assert [(view.frame, view.camera) for view in chosen.views] == [(frame, 0) for frame in range(12)]
    assert (chosen.poses[:, 0, 3] == 0).all()


def test_no_view_left_is_told(tmp_path: Path) -> None:
    seen, images = filmed(tmp_path, range(1, 4), 4, [1, 2, 3])
    with pytest.raises(InputError, match="No view of .* is left"):
        choose_views(tmp_path, seen, poses([1, 2, 3]), 1, "dynamic-nerf", images=images, relative_focal=FOCAL)


@pytest.mark.parametrize(
    ("num_frames", "cameras", "own"),
    [
        (30, 3, poses(np.linspace(0, 1, 30).tolist())),  # moves steadily
        (4, 3, poses([0, 1, 2, 3])),
        (24, 11, rig(24)),  # the last camera's views are missing
        (24, 12, poses([0.0] * 24)),  # stands still
        (5, 1, poses([0.0] * 5)),
    ],
)
def test_a_video_that_is_not_of_a_rig_needs_poses_of_the_held_out_cameras(
    tmp_path: Path, num_frames: int, cameras: int, own: np.ndarray
) -> None:
    shown = views(range(num_frames), range(cameras))
    with pytest.raises(InputError, match=r"their poses in mv_poses_bounds\.npy"):
        choose(tmp_path, shown, own)
    bounds = np.tile([1.0, 2.0], (cameras, 1))
    write_poses_bounds(tmp_path / "mv_poses_bounds.npy", PosesBounds(rig(cameras), bounds, 100.0, 150.0, 100 * FOCAL))
    assert len(choose(tmp_path, shown, own).views) == num_frames * cameras


def test_cameras_of_a_rig_do_not_turn() -> None:
    own, angle = rig(6, 3), np.deg2rad(5)
    own[4, :, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    with pytest.raises(InputError, match="frames 1 and 4 of the video, 3 apart, .* turned by 5 degrees"):
        choose(ABSENT, views(range(6), range(3)), own)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_camera_of_a_rig_that_is_missing_is_named(missing: int) -> None:
    cameras = [camera for camera in range(4) if camera != missing]
    with pytest.raises(InputError, match=rf"without cam0{missing + 1}, .* without a gap"):
        choose(ABSENT, views(range(8), cameras), rig(8, 4))


def test_where_no_camera_films_twice_frames_are_compared_with_the_views(tmp_path: Path) -> None:
    seen, images = filmed(tmp_path / "rig", range(3), 4, [0, 1, 2])
    assert (
        len(choose_views(tmp_path, seen, poses([0, 1, 2]), 0, "nsff", images=images, relative_focal=FOCAL).views) == 6
    )
    seen, images = filmed(tmp_path / "another", range(3), 4, [7, 8, 9])
    with pytest.raises(InputError, match="does not show what mv_images shows of camera t modulo 4"):
        choose_views(tmp_path, seen, poses([0, 1, 2]), 0, "nsff", images=images, relative_focal=FOCAL)


def test_held_out_cameras_of_another_lens_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mv_poses_bounds.npy"
    bounds = np.tile([1.0, 2.0], (2, 1))
    write_poses_bounds(file, PosesBounds(rig(2), bounds, 100.0, 150.0, 100 * FOCAL * 1.0005))
    assert len(choose(tmp_path, views(range(3), range(2)), rig(3)).views) == 6
    write_poses_bounds(file, PosesBounds(rig(2), bounds, 100.0, 150.0, 100 * FOCAL * 1.01))
    with pytest.raises(InputError, match="focal length of 1.212 times the height, but the video 1.2,"):
        choose(tmp_path, views(range(3), range(2)), rig(3))


def test_views_and_masks_of_another_shape_are_refused(tmp_path: Path) -> None:
    for folder, size in (("mv_images", (40, 30)), ("mv_masks", (20, 15))):
        (tmp_path / folder / "00000").mkdir(parents=True)
        Image.new("L", size).save(tmp_path / folder / "00000" / "cam01.png")
    assert find_held_out_views(tmp_path, 0, 1, 4 / 3) is not None
    with pytest.raises(InputError, match=r"cam01.png is 40x30 pixels, .* but 1.78 times in the video"):
        find_held_out_views(tmp_path, 0, 1, 16 / 9)
    Image.new("L", (15, 20)).save(tmp_path / "mv_masks" / "00000" / "cam01.png")
    with pytest.raises(InputError, match=r"mv_masks/00000/cam01.png is 15x20 pixels, .* but 1.33 times in the video"):
        find_held_out_views(tmp_path, 0, 1, 4 / 3)
