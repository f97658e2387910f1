from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_capture import write_video
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from neural3dv_scene import BOUNDS, LENS, grid_poses, pictures, write_neural3dv_ball
from PIL import Image

from dataparsers.neural3dv import Neural3DVDataParserConfig
from nf_plugins.data.check import check_capture
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.errors import InputError


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return Neural3DVDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_neural3dv_ball(tmp_path_factory.mktemp("beef") / "beef")


def write_images(root: Path, scene: Path) -> Path:
    for frame, images in enumerate(pictures(4, 5)):
        for camera, image in enumerate(images):
            path = root / "images" / f"cam{camera:02d}" / f"{frame:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (root / "poses_bounds.npy").write_bytes((scene / "poses_bounds.npy").read_bytes())
    return root


def test_outputs_of_videos(scene: Path) -> None:
    train, test = parse(scene), parse(scene, "test", eval_frame_stride=2)
    assert (len(train.cameras), len(test.cameras)) == (15, 3)
    assert train.metadata["camera_names"] == ["cam00", "cam01", "cam02", "cam03"]
    assert test.cameras.metadata is not None and train.cameras.times is not None
    assert test.cameras.metadata["camera_id"].unique().tolist() == [0]
    assert train.cameras.times[:5, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (int(train.cameras.height[0]), int(train.cameras.width[0])) == (16, 20)
    torch.testing.assert_close(train.cameras.fx, torch.full((15, 1), LENS.fx / 2))
    scale, centre = train.metadata["world_from_scene"][0, 0], train.metadata["world_from_scene"][:3, 3]
    world = train.cameras.camera_to_worlds[5, :, 3] * scale + centre
    torch.testing.assert_close(world, torch.from_numpy(grid_poses(4)[2, :3, 3]).float())
    assert "fg_mask_filenames" not in train.metadata
    check_capture(Neural3DVDataParserConfig(data=scene), "neural3dv-data")


def test_images_are_reduced_once_and_agree_with_folders_of_images(scene: Path, tmp_path: Path) -> None:
    folders = parse(write_images(tmp_path, scene), scene_box=(0, -4, 0, 6, 0, 3))
    videos = parse(scene, scene_box=(0, -4, 0, 6, 0, 3))
    assert folders.image_filenames[0].is_file() and "picture_source" not in folders.metadata
    torch.testing.assert_close(folders.cameras.camera_to_worlds, videos.cameras.camera_to_worlds)
    torch.testing.assert_close(folders.cameras.cx, videos.cameras.cx)
    for index in (0, 7):
        images = [DynamicDataset(outputs)[index]["image"] for outputs in (folders, videos)]
        assert images[0].shape == images[1].shape == (16, 20, 3)
        assert float((images[0] - images[1]).abs().mean()) < 0.02


def test_the_box_holds_what_training_cameras_see(scene: Path) -> None:
    outputs = parse(scene)
    box, matrix = outputs.metadata["scene_aabb"], outputs.metadata["world_from_scene"]
    world = box * matrix[0, 0] + matrix[:3, 3]
    # The cameras look along -y from y = MIDDLE + 4; half a picture is 20 / 60 of the distance wide.
    poses, far = grid_poses(4)[1:, :3, 3], BOUNDS[1]
    assert float(world[0, 0]) == pytest.approx(poses[:, 0].min() - far * 20 / 60, abs=1e-5)
    assert float(world[1, 0]) == pytest.approx(poses[:, 0].max() + far * 20 / 60, abs=1e-5)
    assert float(world[1, 1]) == pytest.approx(poses[0, 1] - BOUNDS[0], abs=1e-5)
    assert float(world[0, 1]) == pytest.approx(poses[0, 1] - far, abs=1e-5)
    nearer = parse(scene, depth_bounds=(3.0, 4.0))
    size = (nearer.metadata["scene_aabb"] * nearer.metadata["world_from_scene"][0, 0]).diff(dim=0)[0]
    assert float(size[1]) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(InputError, match="--depth-bounds"):
        parse(scene, depth_bounds=(4.0, 3.0))


def test_pixel_conventions_are_half_a_pixel_apart(scene: Path) -> None:
    half, integer = parse(scene, scale_ratio=1.0), parse(scene, scale_ratio=1.0, pixel_convention="integer")
    assert float(half.cameras.cx[0]) == 20 and float(integer.cameras.cx[0]) == 20.5


def test_frames_that_are_asked_for_are_decoded(scene: Path) -> None:
    outputs = parse(scene, start_frame=1, frame_stride=2, num_frames=2, scale_ratio=1.0)
    assert [path.stem for path in outputs.image_filenames[:2]] == ["000001", "000003"]
    image = DynamicDataset(outputs).get_data(1, "uint8")["image"].int()
    means = [np.abs(image.numpy() - frame[1]).mean() for frame in pictures(4, 5)]
    assert int(np.argmin(means)) == 3


def test_bad_scenes(scene: Path, tmp_path: Path) -> None:
    rows = np.load(scene / "poses_bounds.npy")
    (tmp_path / "a").mkdir()
    for path in scene.glob("*.mp4"):
        (tmp_path / "a" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"holds no poses_bounds\.npy"):
        parse(tmp_path / "a")
    np.save(tmp_path / "a" / "poses_bounds.npy", rows[:3])
    with pytest.raises(InputError, match=r"poses_bounds\.npy holds 3, but .* holds 4.*cam00, cam01"):
        parse(tmp_path / "a")
    np.save(tmp_path / "a" / "poses_bounds.npy", rows)
    write_video(tmp_path / "a" / "cam02.mp4", [frame[2] for frame in pictures(4, 3)])
    with pytest.raises(InputError, match=r"cam02\.mp4 holds 3, but .*cam00\.mp4 holds 5.*one length"):
        parse(tmp_path / "a")
    with pytest.raises(InputError, match="--eval-cameras names cam09"):
        parse(scene, eval_cameras=("cam09",))
    with pytest.raises(InputError, match="--scale-ratio is 2"):
        parse(scene, scale_ratio=2.0)
    for path in (tmp_path / "a").glob("*.mp4"):
        path.unlink()
    with pytest.raises(InputError, match="expected a video per camera"):
        parse(tmp_path / "a")
