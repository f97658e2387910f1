from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.errors import InputError


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return OwliiDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


def test_outputs_of_a_whole_scene(tiny_owlii_scene: Path):
    train, val, test = (parse(tiny_owlii_scene, split) for split in ("train", "val", "test"))
    assert len(train.image_filenames) == len(train.cameras) == 18
    assert val.image_filenames == test.image_filenames
    assert {path.parent.parent.name for path in val.image_filenames} == {"cam_test"}
    assert train.cameras.metadata["camera_id"].unique().tolist() == [0, 1, 2]
    assert val.cameras.metadata["camera_id"].unique().tolist() == [3]
    assert train.cameras.metadata["camera_id"].shape == (18, 1)
    assert train.cameras.times.dtype == torch.float32
    assert train.cameras.times.shape == (18, 1)
    for outputs in (train, val, test):
        torch.testing.assert_close(outputs.metadata["frame_times"], torch.arange(6) / 5)
        assert bool((outputs.cameras.times.reshape(-1, 6).diff(dim=-1) > 0).all())
        assert (
            len(outputs.metadata["fg_mask_filenames"])
            == len(outputs.metadata["depth_filenames"])
            == len(outputs.cameras)
        )
        assert len(outputs.metadata["mesh_filenames"]) == len(outputs.metadata["point_cloud_filenames"]) == 6
        rotation = outputs.cameras.camera_to_worlds[:, :, :3]
        torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(rotation)))
    assert train.mask_filenames is None
    assert train.alpha_color.tolist() == [1, 1, 1]
    torch.testing.assert_close(train.scene_box.aabb, torch.tensor([[-0.9, -0.7, -0.8], [0.9, 0.8, 0.7]]))


def test_scene_and_world_units(tiny_owlii_scene: Path):
    outputs = parse(tiny_owlii_scene)
    world_from_scene = outputs.metadata["world_from_scene"]
    torch.testing.assert_close(torch.linalg.det(world_from_scene[:3, :3]), torch.tensor(8.0))
    torch.testing.assert_close(world_from_scene[:3, 3], torch.tensor([0.3, -0.2, 1.1]))
    # One raw value is a millimetre and a scene unit two metres.
    assert outputs.metadata["depth_scale"] == pytest.approx(0.001 / 2)
    # All cameras stand 3 scene units from the origin.
    torch.testing.assert_close(outputs.cameras.camera_to_worlds[:, :, 3].norm(dim=-1), torch.full((18,), 3.0))
    # nerfstudio's transform from world to scene is the inverse of ours.
    world = torch.tensor([1.0, -2.0, 0.5, 1.0])
    torch.testing.assert_close(
        outputs.dataparser_scale * (outputs.dataparser_transform @ world), (world_from_scene.inverse() @ world)[:3]
    )


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_ray_through_the_projection_of_a_point_passes_the_point(tiny_owlii_scene: Path, factor: int):
    outputs = parse(tiny_owlii_scene, downscale_factor=factor)
    point = torch.tensor([0.21, -0.13, 0.08])
    for index, name in ((3, "cam_train_0"), (8, "cam_train_1")):
        archive = np.load(tiny_owlii_scene / name / "cameras_sphere.npz")
        frame = index % 6
        projection = (archive[f"world_mat_{frame}"] @ archive[f"scale_mat_{frame}"])[:3]
        pixel = projection @ np.append(point.numpy(), 1.0)
        column, row = pixel[:2] / pixel[2] / factor
        # The coordinates are those of nerfstudio, where (0.5, 0.5) is the centre of the first pixel.
        rays = outputs.cameras.generate_rays(index, coords=torch.tensor([[row, column]]).float())
        offset = point - rays.origins[0]
        assert float(torch.linalg.cross(offset, rays.directions[0]).norm()) < 1e-5
        assert float(offset @ rays.directions[0]) > 0


def test_centre_of_the_mask_is_where_the_ball_is(tiny_owlii_scene: Path, ball_centre_at: Callable[[float], np.ndarray]):
    outputs = parse(tiny_owlii_scene)
    for index in (0, 5, 10):
        mask = np.asarray(Image.open(outputs.metadata["fg_mask_filenames"][index])) > 0
        rows, columns = np.nonzero(mask)
        coords = torch.tensor([[rows.mean() + 0.5, columns.mean() + 0.5]]).float()
        rays = outputs.cameras.generate_rays(index, coords=coords)
        centre = torch.from_numpy(ball_centre_at(float(outputs.cameras.times[index]))).float()
        assert float(torch.linalg.cross(centre - rays.origins[0], rays.directions[0]).norm()) < 0.03


def test_selection_of_frames_and_cameras(tiny_owlii_scene: Path):
    outputs = parse(
        tiny_owlii_scene, start_frame=1, frame_stride=2, num_frames=3, train_cameras=("cam_train_2", "cam_train_0")
    )
    assert [f"{path.parent.parent.name}/{path.stem}" for path in outputs.image_filenames] == [
        f"{camera}/{frame:06d}" for camera in ("cam_train_2", "cam_train_0") for frame in (1, 3, 5)
    ]
    assert outputs.metadata["frame_times"].tolist() == [0.0, 0.5, 1.0]
    assert [path.stem for path in outputs.metadata["mesh_filenames"]] == ["000001", "000003", "000005"]
    held_out = parse(tiny_owlii_scene, "val", eval_cameras=("cam_train_1",))
    assert {path.parent.parent.name for path in held_out.image_filenames} == {"cam_train_1"}


def test_without_test_cameras_the_last_is_held_out(owlii_scene: Callable[..., Path]):
    scene = owlii_scene()
    shutil.rmtree(scene / "cam_test")
    train, val = parse(scene), parse(scene, "val")
    assert {path.parent.parent.name for path in train.image_filenames} == {"cam_train_0", "cam_train_1"}
    assert {path.parent.parent.name for path in val.image_filenames} == {"cam_train_2"}
    assert "held out" in val.metadata["protocol_note"]


def test_without_masks_and_depth(owlii_scene: Callable[..., Path]):
    scene = owlii_scene()
    for camera in scene.glob("cam_*"):
        shutil.rmtree(camera / "mask")
        shutil.rmtree(camera / "depth")
    (scene / "aabb.txt").unlink()
    outputs = parse(scene)
    assert outputs.alpha_color is None
    assert not {"fg_mask_filenames", "background_color", "depth_filenames"} & set(outputs.metadata)
    assert outputs.scene_box.aabb.tolist() == [[-1, -1, -1], [1, 1, 1]]


def change_matrices(path: Path, **changed: np.ndarray | None) -> None:
    matrices = dict(np.load(path))
    for key, value in changed.items():
        matrices.pop(key)
        if value is not None:
            matrices[key] = value
    np.savez(path, **matrices)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


BAD_SCENES: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "image missing": (
        lambda s: (s / "cam_train_1/rgb/000002.png").unlink(),
        {},
        r"cam_train_1/mask holds 6, but .*cam_train_1/rgb holds 5",
    ),
    "camera missing": (
        lambda s: change_matrices(s / "cam_train_1/cameras_sphere.npz", world_mat_5=None),
        {},
        r"cam_train_1/rgb \(images\) holds 6, but .*cam_train_1/cameras_sphere.npz \(world_mat_i\) holds 5",
    ),
    "camera file missing": (
        lambda s: (s / "cam_train_1/cameras_sphere.npz").unlink(),
        {},
        "cam_train_1/cameras_sphere.npz does not exist",
    ),
    "camera file truncated": (
        lambda s: truncate(s / "cam_test/cameras_sphere.npz"),
        {},
        "cam_test/cameras_sphere.npz cannot be read",
    ),
    "NaN": (
        lambda s: change_matrices(s / "cam_train_0/cameras_sphere.npz", world_mat_2=np.full((4, 4), np.nan)),
        {},
        "world_mat_2 of .*cam_train_0/cameras_sphere.npz holds NaN",
    ),
    "singular": (
        lambda s: change_matrices(s / "cam_train_0/cameras_sphere.npz", world_mat_2=np.ones((4, 4))),
        {},
        "world_mat_2 @ scale_mat_2 of .*cam_train_0/cameras_sphere.npz is singular",
    ),
    "mask of another size": (
        lambda s: Image.new("L", (12, 12)).save(s / "cam_train_2/mask/000001.png"),
        {},
        r"cam_train_2/mask/000001.png is 12x12 pixels, but its image .*24x24",
    ),
    "truncated image": (
        lambda s: truncate(s / "cam_train_2/rgb/000003.png"),
        {},
        "cam_train_2/rgb/000003.png cannot be read",
    ),
    "truncated mask": (
        lambda s: truncate(s / "cam_train_2/mask/000003.png"),
        {},
        "cam_train_2/mask/000003.png cannot be read",
    ),
    "empty rgb": (lambda s: [p.unlink() for p in (s / "cam_train_0/rgb").iterdir()], {}, "cam_train_0/rgb is empty"),
    "masks in some cameras": (lambda s: shutil.rmtree(s / "cam_train_0/mask"), {}, "cam_train_0 has no mask folder"),
    "bad box": (lambda s: (s / "aabb.txt").write_text("[0, 0, 0, 1, 1]"), {}, "aabb.txt holds"),
    "reversed box": (lambda s: (s / "aabb.txt").write_text("1 1 1 -1 -1 -1"), {}, "aabb.txt holds the box"),
    "cloud missing": (lambda s: (s / "cloud/000000.ply").unlink(), {}, "cloud holds 5, but"),
    "one frame": (lambda s: None, {"num_frames": 1}, "has 1 frame, expected at least two"),
    "no such camera": (lambda s: None, {"train_cameras": ("cam_9",)}, "--train-cameras names cam_9"),
    "reduced to nothing": (lambda s: None, {"downscale_factor": 25}, "--downscale-factor 25 leaves nothing"),
    "factor 0": (lambda s: None, {"downscale_factor": 0}, "--downscale-factor is 0"),
    "start after the end": (lambda s: None, {"start_frame": 6}, "has 0 frames"),
    "stride 0": (lambda s: None, {"frame_stride": 0}, "--frame-stride 0"),
}


@pytest.mark.parametrize("name", BAD_SCENES)
def test_bad_scenes_get_their_sentence(owlii_scene: Callable[..., Path], name: str):
    damage, options, says = BAD_SCENES[name]
    scene = owlii_scene()
    damage(scene)
    with pytest.raises(InputError, match=says):
        parse(scene, **options)


def test_missing_and_empty_folders(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        parse(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is empty"):
        parse(tmp_path)


def test_other_data_are_answered_with_their_dataparser(tiny_dnerf_scene: Path):
    with pytest.raises(InputError, match="looks like D-NeRF data; use dnerf-rgba-data"):
        parse(tiny_dnerf_scene)
