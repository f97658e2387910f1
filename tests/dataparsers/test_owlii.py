from __future__ import annotations

import io
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


@pytest.fixture(scope="module")
def kinect_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three moving RGB-D sensors in the Kinect4D layout: cam_0 ... cam_2, no test camera, no box, z in millimetres."""
    from nf_plugins.data.synthetic.generate import SynthOptions, generate_scene

    scene = tmp_path_factory.mktemp("kinect") / "book"
    generate_scene(
        SynthOptions(
            output_dir=scene, num_frames=4, num_train_cameras=3, resolution=32, num_cloud_points=20, rgbd=True,
            depth_convention="z", camera_sway=20.0, depth_noise=0.0, edge_dropout=0.0, grazing_angle=90.0,
        )
    )  # fmt: skip
    shutil.rmtree(scene / "cam_test")
    (scene / "aabb.txt").unlink()
    return scene


def test_kinect4d_folder_of_moving_sensors(kinect_scene: Path):
    everything = ("cam_0", "cam_1", "cam_2")
    train = parse(kinect_scene, train_cameras=everything, eval_cameras=("cam_1",), depth_convention="z")
    assert train.metadata["camera_names"] == list(everything)
    poses = train.cameras.camera_to_worlds.reshape(3, 4, 3, 4)
    assert bool(((poses[:, 1:, :, 3] - poses[:, :-1, :, 3]).norm(dim=-1) > 1e-3).all()), "every sensor moves"
    evaluation = parse(kinect_scene, "val", train_cameras=everything, eval_cameras=("cam_1",))
    torch.testing.assert_close(evaluation.cameras.camera_to_worlds, poses[1])
    held_out = parse(kinect_scene)
    assert {path.parent.parent.name for path in held_out.image_filenames} == {"cam_0", "cam_1"}
    assert {path.parent.parent.name for path in parse(kinect_scene, "val").image_filenames} == {"cam_2"}


@pytest.mark.parametrize("factor", [1, 2])
def test_depth_of_moving_sensors_meets_the_surface(kinect_scene: Path, factor: int):
    """Millimetres of z become scene units along the ray, from each frame's own pose."""
    import trimesh

    from nf_plugins.data.dynamic_dataset import DynamicDataset

    dataset = DynamicDataset(parse(kinect_scene, depth_convention="z", downscale_factor=factor))
    wrong = DynamicDataset(parse(kinect_scene, depth_convention="ray", downscale_factor=factor))
    for index in (1, 6):
        frame = index % 4
        mesh = trimesh.load(dataset.metadata["mesh_filenames"][frame], process=False)
        rays = dataset.cameras.generate_rays(index)
        means = []
        for read in (dataset, wrong):
            depth = read[index]["depth"]
            points = (rays.origins + rays.directions * depth)[depth[..., 0] > 0]
            _, distance, _ = mesh.nearest.on_surface(points.numpy())
            means.append(float(np.median(distance)))
        assert len(points) > 15
        # A millimetre is 0.0007 scene units; a reduced pixel mixes depths.
        assert means[0] < {1: 1e-3, 2: 0.015}[factor], means
        assert means[1] > {1: 10, 2: 1.5}[factor] * means[0], means


def test_masks_and_depth_may_be_missing_in_a_kinect4d_folder(kinect_scene: Path, tmp_path: Path):
    scene = tmp_path / "without"
    shutil.copytree(kinect_scene, scene)
    for camera in scene.glob("cam_*"):
        shutil.rmtree(camera / "mask")
    outputs = parse(scene, depth_convention="z")
    assert "fg_mask_filenames" not in outputs.metadata and len(outputs.metadata["depth_filenames"]) == 8
    assert outputs.metadata["depth_convention"] == "z"
    for camera in scene.glob("cam_*"):
        shutil.rmtree(camera / "depth")
    assert "depth_filenames" not in parse(scene).metadata


def change_matrices(path: Path, **changed: np.ndarray | None) -> None:
    matrices = dict(np.load(path))
    for key, value in changed.items():
        matrices.pop(key)
        if value is not None:
            matrices[key] = value
    np.savez(path, **matrices)


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def damage_deflated(path: Path) -> None:
    np.savez_compressed(path, **np.load(path))
    content = path.read_bytes()
    start = content.index(b"world_mat_0.npy") + 40
    path.write_bytes(content[:start] + b"\xff" * 20 + content[start + 20 :])


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
    "camera file with a single array": (
        lambda s: (s / "cam_test/cameras_sphere.npz").write_bytes(npy_bytes(np.eye(4))),
        {},
        "cam_test/cameras_sphere.npz cannot be read",
    ),
    "camera file damaged": (
        lambda s: damage_deflated(s / "cam_test/cameras_sphere.npz"),
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
