from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import ball_scan
import numpy as np
import pytest
import torch
from ball_scan import change_matrices, write_ball_scan
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from dataparsers.dtu import DTUDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.errors import InputError
from nf_plugins.model_components.visual_hull import project_points

NUM_VIEWS = 8
RESOLUTION = 32


def parse(scan: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return DTUDataParserConfig(data=scan, **options).setup().get_dataparser_outputs(split)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return write_ball_scan(tmp_path_factory.mktemp("scan") / "ball", linear_init_degrees=2.0)


@pytest.fixture
def scan_copy(scan: Path, tmp_path: Path) -> Path:
    shutil.copytree(scan, tmp_path / "copy")
    return tmp_path / "copy"


def idr_rays(projection: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Camera centre (3,) and unit directions (N, 3) through integer pixels (N, 2; column, row), as IDR lifts them.

    Straight from the projection matrix: the point at infinity that it maps to the pixel.
    """
    square = projection[:, :3]
    directions = np.linalg.solve(square, np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1).T).T
    directions *= np.sign(np.linalg.det(square))
    return -np.linalg.solve(square, projection[:, 3]), directions / np.linalg.norm(directions, axis=1, keepdims=True)


def test_outputs_of_a_scan(scan: Path):
    train, val, test = (parse(scan, split) for split in ("train", "val", "test"))
    for outputs in (train, val, test):
        assert [path.name for path in outputs.image_filenames] == [f"{i:06d}.png" for i in range(NUM_VIEWS)]
        assert [path.name for path in outputs.metadata["fg_mask_filenames"]] == [f"{i:03d}.png" for i in range(8)]
        assert outputs.metadata["view_names"][3] == "000003"
        assert outputs.cameras.times is None and "frame_times" not in outputs.metadata
        assert outputs.cameras.metadata["camera_id"].tolist() == [[i] for i in range(NUM_VIEWS)]
        assert outputs.cameras.metadata["camera_id"].dtype == torch.int64
        assert outputs.metadata["scene_aabb"].tolist() == outputs.scene_box.aabb.tolist() == [[-1] * 3, [1] * 3]
        assert outputs.metadata["dataparser_name"] == "dtu-data"
        assert "all views" in outputs.metadata["protocol_note"]
        assert "true_camera_to_worlds" not in outputs.metadata and "keep_background" not in outputs.metadata
    assert train.alpha_color.tolist() == train.metadata["background_color"].tolist() == [1, 1, 1]
    torch.testing.assert_close(
        train.cameras.camera_to_worlds[:, :, 3].norm(dim=-1), torch.full((NUM_VIEWS,), ball_scan.DISTANCE)
    )


def test_scene_and_world_units(scan: Path):
    outputs = parse(scan)
    world_from_scene = outputs.metadata["world_from_scene"]
    assert world_from_scene.tolist() == ball_scan.scale_mat().tolist()
    assert outputs.dataparser_scale == pytest.approx(1 / ball_scan.WORLD_SCALE)
    world = torch.tensor([100.0, -80.0, 550.0, 1.0])
    torch.testing.assert_close(
        outputs.dataparser_scale * (outputs.dataparser_transform @ world), (world_from_scene.inverse() @ world)[:3]
    )


def test_rays_are_those_of_idr(scan: Path):
    outputs = parse(scan)
    archive = np.load(scan / "cameras_sphere.npz")
    # In float32 a ray is good to some 1e-7; half a pixel would be 9e-3.
    cameras = outputs.cameras
    for view in (0, 3, 7):
        projection = (archive[f"world_mat_{view}"] @ archive[f"scale_mat_{view}"])[:3]
        pixels = np.stack(np.meshgrid(np.arange(RESOLUTION), np.arange(RESOLUTION)), axis=-1).reshape(-1, 2)
        centre, directions = idr_rays(projection, pixels)
        rays = cameras.generate_rays(view)
        np.testing.assert_allclose(rays.origins[0, 0].numpy(), centre, atol=1e-6)
        np.testing.assert_allclose(rays.directions.reshape(-1, 3).numpy(), directions, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_ray_of_the_principal_point_is_the_optical_axis(scan: Path, factor: int):
    outputs = parse(scan, downscale_factor=factor)
    cx, cy = float(outputs.cameras.cx[2]), float(outputs.cameras.cy[2])
    intrinsics = ball_scan.integer_pixel_intrinsics(RESOLUTION)
    assert (cx * factor, cy * factor) == pytest.approx((intrinsics[0, 2] + 0.5, intrinsics[1, 2] + 0.5))
    assert int(outputs.cameras.width[2]) == int(outputs.cameras.height[2]) == RESOLUTION // factor
    rays = outputs.cameras.generate_rays(2, coords=torch.tensor([[cy, cx]]))
    torch.testing.assert_close(rays.directions[0], -outputs.cameras.camera_to_worlds[2, :, 2], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "layout",
    [
        {"image_folder": "images", "suffix": ".JPEG", "mask_channels": 1},
        {"suffix": ".jpg", "camera_file": "cameras.npz"},
        {},
    ],
)
@pytest.mark.parametrize("factor", [1, 2])
def test_silhouettes_are_where_rays_meet_the_ball(tmp_path: Path, layout: dict[str, Any], factor: int):
    outputs = parse(write_ball_scan(tmp_path / "ball", 3, **layout), downscale_factor=factor)
    dataset = DynamicDataset(outputs)
    for view in range(3):
        rays = outputs.cameras.generate_rays(view)
        along = (rays.origins * rays.directions).sum(-1)
        nearest = (rays.origins.square().sum(-1) - along.square()).sqrt()
        mask = dataset[view]["fg_mask"][..., 0]
        assert 0.15 < float(mask.mean()) < 0.5
        if factor == 1:
            assert bool(((nearest < ball_scan.RADIUS) == (mask > 0.5)).all())
        # A reduced pixel at the edge is part of both.
        pixel = factor / 50
        assert bool((mask[nearest < ball_scan.RADIUS - pixel] == 1).all())
        assert bool((mask[nearest > ball_scan.RADIUS + pixel] == 0).all())


def test_background_may_be_kept(scan: Path):
    outputs = parse(scan, background_color="keep")
    assert "background_color" not in outputs.metadata and outputs.alpha_color is None
    kept, black = DynamicDataset(outputs)[1], DynamicDataset(parse(scan, background_color="black"))[1]
    outside = kept["fg_mask"][..., 0] == 0
    assert bool((black["image"][outside] == 0).all())
    assert (255 * kept["image"][outside]).round().unique(dim=0).tolist() == [list(ball_scan.BACKDROP)]
    torch.testing.assert_close(kept["image"][~outside], black["image"][~outside])


def test_without_masks_images_stay_as_photographed(scan_copy: Path):
    shutil.rmtree(scan_copy / "mask")
    outputs = parse(scan_copy)
    assert outputs.metadata["keep_background"] is True
    assert not {"fg_mask_filenames", "background_color"} & set(outputs.metadata)
    assert "fg_mask" not in DynamicDataset(outputs)[0]


@pytest.mark.parametrize(
    ("options", "held_out"),
    [({"eval_mode": "interval", "eval_interval": 3}, [0, 3, 6]), ({"eval_mode": "list", "eval_views": (5, 1)}, [1, 5])],
)
def test_held_out_views_are_not_trained_on(scan: Path, options: dict[str, Any], held_out: list[int]):
    train, val = parse(scan, "train", **options), parse(scan, "val", **options)
    assert val.cameras.metadata["camera_id"][:, 0].tolist() == held_out
    assert [int(name) for name in val.metadata["view_names"]] == held_out
    rest = [i for i in range(NUM_VIEWS) if i not in held_out]
    assert train.cameras.metadata["camera_id"][:, 0].tolist() == rest
    assert [int(path.stem) for path in train.metadata["fg_mask_filenames"]] == rest
    everything = parse(scan)
    torch.testing.assert_close(train.cameras.camera_to_worlds, everything.cameras.camera_to_worlds[rest])
    assert "held out" in val.metadata["protocol_note"]


def rotation_degrees(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    relative = first[:, :, :3].double() @ second[:, :, :3].double().mT
    return torch.rad2deg(2 * torch.asin((relative - torch.eye(3)).norm(dim=(1, 2)) / 8**0.5))


def test_inaccurate_cameras_come_with_the_true_ones_in_their_own_frame(scan: Path):
    outputs = parse(scan, camera_file="cameras_linear_init.npz", eval_mode="list", eval_views=(2,))
    true = outputs.metadata["true_camera_to_worlds"]
    assert true.shape == (7, 3, 4) and true.dtype == torch.float32
    torch.testing.assert_close(
        rotation_degrees(outputs.cameras.camera_to_worlds, true), torch.full((7,), 2.0).double(), atol=1e-3, rtol=0
    )
    # Both through the same scale matrix, that of the inaccurate file.
    world_from_scene = outputs.metadata["world_from_scene"]
    assert float(world_from_scene[0, 0]) == pytest.approx(0.95 * ball_scan.WORLD_SCALE)
    world = true[:, :, 3] @ world_from_scene[:3, :3].T + world_from_scene[:3, 3]
    exact = parse(scan, eval_mode="list", eval_views=(2,))
    expected = ball_scan.WORLD_SCALE * exact.cameras.camera_to_worlds[:, :, 3] + torch.tensor(ball_scan.WORLD_CENTRE)
    torch.testing.assert_close(world.double(), expected.double(), atol=1e-3, rtol=0)


def test_inaccurate_cameras_give_their_poses_and_no_calibration(scan: Path, scan_copy: Path):
    path = scan_copy / "cameras_linear_init.npz"
    zoom = np.diag([1.3, 0.8, 1.0, 1.0])
    change_matrices(path, **{key: zoom @ value for key, value in np.load(path).items() if key.startswith("world_mat")})
    exact, outputs = parse(scan), parse(scan_copy, camera_file=path.name)
    for name in ("fx", "fy", "cx", "cy"):
        torch.testing.assert_close(getattr(outputs.cameras, name), getattr(exact.cameras, name), atol=1e-4, rtol=1e-5)
    poses = parse(scan, camera_file=path.name).cameras.camera_to_worlds
    torch.testing.assert_close(outputs.cameras.camera_to_worlds, poses, atol=1e-5, rtol=0)
    # Alone it is all there is.
    (scan_copy / "cameras_sphere.npz").unlink()
    alone = parse(scan_copy, camera_file=path.name).cameras
    torch.testing.assert_close(alone.fx, 1.3 * exact.cameras.fx, atol=0, rtol=1e-4)


def test_the_true_surface_is_not_told_in_another_frame(scan_copy: Path):
    (scan_copy / "mesh").mkdir()
    (scan_copy / "mesh" / "000000.ply").touch()
    assert parse(scan_copy, pose_noise_degrees=1.0).metadata["mesh_filenames"] == [scan_copy / "mesh" / "000000.ply"]
    assert "mesh_filenames" not in parse(scan_copy, camera_file="cameras_linear_init.npz").metadata


def test_inaccurate_cameras_alone(scan_copy: Path):
    (scan_copy / "cameras_sphere.npz").unlink()
    assert "true_camera_to_worlds" not in parse(scan_copy, camera_file="cameras_linear_init.npz").metadata
    with pytest.raises(InputError, match="neither cameras_sphere.npz nor cameras.npz .it has cameras_linear_init.npz"):
        parse(scan_copy)


def test_noise_is_for_training_poses_alone(scan: Path):
    options = {"pose_noise_degrees": 3.0, "pose_noise_translation": 6.0}
    clean, noisy = parse(scan), parse(scan, **options)
    true = clean.cameras.camera_to_worlds
    torch.testing.assert_close(noisy.metadata["true_camera_to_worlds"], true)
    angles = rotation_degrees(noisy.cameras.camera_to_worlds, true)
    assert 0.05 < float(angles.min()) and 1.0 < float(angles.square().mean().sqrt()) < 6.0
    # 6 mm are a twentieth of a scene unit.
    shift = (noisy.cameras.camera_to_worlds - true)[:, :, 3]
    assert 0.5 * 0.05 < float(shift.square().mean().sqrt()) < 1.5 * 0.05
    val = parse(scan, "val", **options)
    torch.testing.assert_close(val.cameras.camera_to_worlds, true, atol=0, rtol=0)
    assert "true_camera_to_worlds" not in val.metadata
    torch.testing.assert_close(parse(scan, **options).cameras.camera_to_worlds, noisy.cameras.camera_to_worlds)
    other = parse(scan, **options, pose_noise_seed=1)
    assert float((other.cameras.camera_to_worlds - noisy.cameras.camera_to_worlds).abs().max()) > 1e-2
    # A view's noise does not hang on which others are trained on.
    fewer = parse(scan, **options, eval_mode="interval", eval_interval=4)
    torch.testing.assert_close(fewer.cameras.camera_to_worlds[0], noisy.cameras.camera_to_worlds[1])


REAL = [("dtu_scan24", "auto"), ("dtu_scan65", "auto"), ("dtu_scan65", "cameras.npz")]


@pytest.mark.parametrize(("name", "camera_file"), REAL)
def test_real_scans(shared_data: Path, name: str, camera_file: str):
    scan = shared_data / "dtu" / name
    outputs = parse(scan, camera_file=camera_file)
    cameras = outputs.cameras
    assert len(cameras) == 49 and int(cameras.width[0]) == 400 and int(cameras.height[0]) == 300
    assert float(cameras.cx[0]) == pytest.approx(205.426 + 0.5, abs=1e-3)
    # Camera, calibration and frame together are the projection matrices again.
    path = scan / ("cameras_sphere.npz" if camera_file == "auto" else camera_file)
    archive = np.load(path)
    for view in (0, 20, 48):
        projection = (archive[f"world_mat_{view}"] @ archive[f"scale_mat_{view}"])[:3]
        pose = cameras.camera_to_worlds[view].double().numpy() * [1, -1, -1, 1]
        calibration = np.array(
            [
                [float(cameras.fx[view]), 0, float(cameras.cx[view]) - 0.5],
                [0, float(cameras.fy[view]), float(cameras.cy[view]) - 0.5],
                [0, 0, 1],
            ]
        )
        again = calibration @ np.concatenate([pose[:, :3].T, -pose[:, :3].T @ pose[:, 3:]], axis=1)
        again *= np.linalg.norm(projection[2, :3])
        assert np.abs(again - projection).max() < 1e-4 * np.abs(projection).max()
        pixels = np.array([[0, 0], [399, 0], [123, 217], [399, 299]])
        centre, directions = idr_rays(projection, pixels)
        rays = cameras.generate_rays(view, coords=torch.from_numpy(pixels[:, ::-1] + 0.5).float())
        np.testing.assert_allclose(rays.origins[0].numpy(), centre, atol=2e-6)
        np.testing.assert_allclose(rays.directions.numpy(), directions, atol=1e-6)


@pytest.mark.parametrize("name", ["dtu_scan24", "dtu_scan65"])
def test_masks_of_real_scans_agree_on_a_solid_at_the_middle(shared_data: Path, name: str):
    """A wrong axis or frame would leave no point that all masks call object."""
    outputs = parse(shared_data / "dtu" / name, downscale_factor=4)
    dataset = DynamicDataset(outputs)
    line = torch.linspace(-0.9, 0.9, 25)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1).reshape(-1, 3)
    points = points[points.norm(dim=-1) < 1]
    dissent, seen = torch.zeros(2, len(points), dtype=torch.long)
    for view in range(49):
        mask = dataset[view]["fg_mask"][..., 0] > 0.5
        x, y, depth = project_points(outputs.cameras[view], points)
        row, column = y.floor().long(), x.floor().long()
        inside = (depth > 0) & (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
        in_mask = mask[row.clamp(0, mask.shape[0] - 1), column.clamp(0, mask.shape[1] - 1)]
        dissent += inside & ~in_mask
        seen += inside
    # What lies beside a picture may be object; what hardly any camera sees may be anything.
    hull = points[(seen >= 25) & (dissent == 0)]
    assert 0.05 < len(hull) / len(points) < 0.6
    assert float(((hull.amin(dim=0) + hull.amax(dim=0)) / 2).norm()) < 0.35


def test_inaccurate_cameras_of_a_real_scan(shared_data: Path):
    outputs = parse(shared_data / "dtu" / "dtu_scan65", camera_file="cameras_linear_init.npz")
    angles = rotation_degrees(outputs.cameras.camera_to_worlds, outputs.metadata["true_camera_to_worlds"])
    assert 0.5 < float(angles.median()) < 5.0
    large = DTUDataParserConfig(data=shared_data / "dtu" / "dtu_scan65", camera_file="cameras_large.npz")
    with pytest.raises(InputError, match="inside the unit sphere"):
        large.setup().get_dataparser_outputs("train")
