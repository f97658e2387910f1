from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ball_scan import write_ball_scan
from PIL import Image

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from dataparsers.dtu import DTUDataParserConfig
from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset, area_average


def owlii(scene: Path, scale_factor: float = 1.0, **options) -> DynamicDataset:
    outputs = OwliiDataParserConfig(data=scene, **options).setup().get_dataparser_outputs("train")
    return DynamicDataset(outputs, scale_factor)


@pytest.mark.parametrize(("background", "value"), [("white", 1.0), ("black", 0.0)])
def test_image_is_laid_on_the_background(tiny_owlii_scene: Path, tiny_dnerf_scene: Path, background: str, value: float):
    rgba_outputs = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene, background_color=background)  # type: ignore[arg-type]
    rgba = DynamicDataset(rgba_outputs.setup().get_dataparser_outputs("train"))
    for dataset in (owlii(tiny_owlii_scene, background_color=background), rgba):
        data = dataset[2]
        assert data["image_idx"] == 2
        assert data["image"].shape == (24, 24, 3)
        assert data["fg_mask"].shape == (24, 24, 1)
        assert data["image"].dtype == data["fg_mask"].dtype == torch.float32
        outside = data["fg_mask"][..., 0] == 0
        assert 0.5 < outside.float().mean() < 1
        assert bool((data["image"][outside] == value).all())
        raw = torch.from_numpy(np.array(Image.open(dataset.image_filenames[2]))[..., :3])
        torch.testing.assert_close(data["image"][~outside], raw[~outside] / 255)
        as_bytes = dataset.get_data(2, "uint8")["image"]
        assert as_bytes.dtype == torch.uint8
        assert bool((as_bytes[~outside] == raw[~outside]).all())


def test_background_is_kept_where_that_is_asked_for(tmp_path: Path):
    outputs = DTUDataParserConfig(
        data=write_ball_scan(tmp_path / "scan", 2, 24), background_color="keep", downscale_factor=2
    )
    dataset = DynamicDataset(outputs.setup().get_dataparser_outputs("train"))
    data = dataset[1]
    raw = torch.from_numpy(np.array(Image.open(dataset.image_filenames[1]))).float() / 255
    torch.testing.assert_close(data["image"], raw.reshape(12, 2, 12, 2, 3).mean(dim=(1, 3)))
    mask = torch.from_numpy(np.array(Image.open(dataset.metadata["fg_mask_filenames"][1]))[..., :1]).float() / 255
    torch.testing.assert_close(data["fg_mask"], mask.reshape(12, 2, 12, 2, 1).mean(dim=(1, 3)))
    assert dataset.get_data(1, "uint8")["image"].dtype == torch.uint8


def test_colours_outside_the_mask_do_not_bleed_in(tmp_path: Path, tiny_dnerf_scene: Path):
    outputs = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene, downscale_factor=2, background_color="black")
    outputs = outputs.setup().get_dataparser_outputs("train")
    rgba = np.zeros((24, 24, 4), dtype=np.uint8)
    rgba[..., 1] = 255  # green everywhere, but transparent there
    rgba[:, :11] = (255, 0, 0, 255)  # red, ends inside a pixel of the reduced image
    Image.fromarray(rgba).save(tmp_path / "edge.png")
    outputs.image_filenames[0] = tmp_path / "edge.png"
    data = DynamicDataset(outputs)[0]
    assert data["image"].shape == (12, 12, 3)
    assert data["fg_mask"][4, 5, 0] == 0.5
    assert data["image"][4, 5].tolist() == [0.5, 0, 0]


@pytest.mark.parametrize(
    ("scale_factor", "downscale_factor", "size"), [(1.0, 5, 4), (0.5, 1, 12), (0.5, 2, 6), (0.4, 1, 9)]
)
def test_reduced_images_and_cameras_agree(
    tiny_owlii_scene: Path, scale_factor: float, downscale_factor: int, size: int
):
    full = owlii(tiny_owlii_scene)
    small = owlii(tiny_owlii_scene, scale_factor, downscale_factor=downscale_factor)
    assert small.image_size(1) == (size, size)
    for key in ("image", "fg_mask", "depth"):
        assert small[1][key].shape[:2] == (size, size)
    scale = scale_factor / downscale_factor
    torch.testing.assert_close(small.cameras.fx, full.cameras.fx * scale)
    torch.testing.assert_close(small.cameras.cy, full.cameras.cy * scale)
    # The centre of the mask is the same point of the image plane.
    x = []
    for dataset in (small, full):
        mask = dataset[1]["fg_mask"][..., 0]
        column = (mask.sum(0) * (torch.arange(len(mask)) + 0.5)).sum() / mask.sum()
        x.append((column - dataset.cameras.cx[1, 0]) / dataset.cameras.fx[1, 0])
    assert abs(float(x[0] - x[1])) < 0.01


def test_area_average_is_the_mean_over_the_area():
    image = torch.arange(35.0).reshape(5, 7, 1)
    reduced = area_average(image, 0.5, (2, 3))
    assert reduced[1, 2, 0] == image[2:4, 4:6].mean()
    reduced = area_average(image, 0.4, (2, 2))  # each covers 2.5 x 2.5
    expected = (image[:2, :2].sum() + 0.5 * (image[2, :2].sum() + image[:2, 2].sum()) + 0.25 * image[2, 2]) / 6.25
    torch.testing.assert_close(reduced[0, 0], expected, rtol=1e-5, atol=1e-5)


def test_depth_meets_the_ball(tiny_owlii_scene: Path, ball_centre_at):
    dataset = owlii(tiny_owlii_scene)
    for index in (1, 9):
        depth = dataset[index]["depth"][..., 0]
        inside = depth > 0
        assert bool((inside == (dataset[index]["fg_mask"][..., 0] > 0)).all())
        rays = dataset.cameras.generate_rays(index)
        points = rays.origins + rays.directions * depth[..., None]
        centre = torch.from_numpy(ball_centre_at(float(dataset.cameras.times[index]))).float()
        distance = (points - centre).norm(dim=-1)[inside]
        assert float((distance - 0.4).abs().max()) < 1e-3


def test_z_depth_becomes_ray_distance(tiny_owlii_scene: Path):
    ray, z = owlii(tiny_owlii_scene), owlii(tiny_owlii_scene, depth_convention="z")
    camera = ray.cameras[1]
    assert float(camera.cx) != 12.0
    inside = ray[1]["depth"] > 0
    ratio = (z[1]["depth"] / ray[1]["depth"].clamp_min(1e-6))[..., 0]
    x = (torch.arange(24) + 0.5 - camera.cx) / camera.fx
    y = (torch.arange(24) + 0.5 - camera.cy) / camera.fy
    norm = torch.sqrt(x[None, :] ** 2 + y[:, None] ** 2 + 1)
    torch.testing.assert_close(ratio[inside[..., 0]], norm[inside[..., 0]])


def set_depth(scene: Path, depth: np.ndarray, camera: str = "cam_train_1") -> None:
    """Replaces a camera's depth images, in world units (a scene unit is two of them)."""
    for path in (scene / camera / "depth").iterdir():
        Image.fromarray(np.round(1000 * depth).astype(np.uint16)).save(path)


@pytest.mark.parametrize(("convention", "flat"), [("z", True), ("ray", False)])
def test_constant_depth_is_a_plane_as_z_and_a_sphere_as_ray_distance(owlii_scene, convention: str, flat: bool):
    scene = owlii_scene()
    set_depth(scene, np.full((24, 24), 5.0))
    dataset = owlii(scene, depth_convention=convention, train_cameras=("cam_train_1",))
    rays = dataset.cameras.generate_rays(2)
    points = rays.origins + rays.directions * dataset[2]["depth"]
    pose = dataset.cameras.camera_to_worlds[2]
    along_axis = (points - pose[:, 3]) @ -pose[:, 2]
    from_centre = (points - pose[:, 3]).norm(dim=-1)
    constant, varying = (along_axis, from_centre) if flat else (from_centre, along_axis)
    torch.testing.assert_close(constant, torch.full((24, 24), 2.5), atol=1e-3, rtol=0)
    assert float(varying.max() - varying.min()) > 0.05


def test_z_of_a_ball_meets_the_ball(owlii_scene, ball_centre_at):
    """The tiny scene's ray distances, divided by the length of the rays: z, read as such, gives the ball again."""
    scene = owlii_scene()
    dataset = owlii(scene, train_cameras=("cam_train_1",))
    camera = dataset.cameras[0]
    x = (np.arange(24) + 0.5 - float(camera.cx)) / float(camera.fx)
    y = (np.arange(24) + 0.5 - float(camera.cy)) / float(camera.fy)
    norms = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    for path in (scene / "cam_train_1" / "depth").iterdir():
        values = np.asarray(Image.open(path)) / norms
        Image.fromarray(np.round(values).astype(np.uint16)).save(path)
    z = owlii(scene, depth_convention="z", train_cameras=("cam_train_1",))
    depth = z[3]["depth"]
    inside = depth[..., 0] > 0
    rays = z.cameras.generate_rays(3)
    points = (rays.origins + rays.directions * depth)[inside]
    centre = torch.from_numpy(ball_centre_at(float(z.cameras.times[3]))).float()
    assert float(((points - centre).norm(dim=-1) - 0.4).abs().max()) < 2e-3


def test_zero_depth_stays_unknown_in_either_convention(owlii_scene):
    scene = owlii_scene()
    depth = np.full((24, 24), 5.0)
    depth[:12] = 0.0
    set_depth(scene, depth)
    for convention in ("z", "ray"):
        values = owlii(scene, depth_convention=convention, train_cameras=("cam_train_1",))[0]["depth"]
        assert bool((values[:12] == 0).all()) and bool((values[12:] > 2.4).all())


def test_z_depth_of_a_distorted_camera_is_a_plane(owlii_scene):
    scene = owlii_scene()
    set_depth(scene, np.full((24, 24), 5.0))
    outputs = OwliiDataParserConfig(data=scene, depth_convention="z", train_cameras=("cam_train_1",)).setup()
    outputs = outputs.get_dataparser_outputs("train")
    outputs.cameras.distortion_params = torch.tensor([-0.3, 0.1, 0.0, 0.0, 0.01, -0.02]).repeat(6, 1)
    dataset = DynamicDataset(outputs)
    rays = dataset.cameras.generate_rays(2)
    pose = dataset.cameras.camera_to_worlds[2]
    along_axis = (rays.directions * dataset[2]["depth"]) @ -pose[:, 2]
    torch.testing.assert_close(along_axis, torch.full((24, 24), 2.5), atol=1e-3, rtol=0)


def test_reduced_depth_ignores_unknown_pixels(tiny_owlii_scene: Path):
    full, small = owlii(tiny_owlii_scene), owlii(tiny_owlii_scene, downscale_factor=2)
    smallest = full[1]["depth"][full[1]["depth"] > 0].min()
    known = small[1]["depth"] > 0
    assert bool(known.any())
    assert bool((small[1]["depth"][known] >= smallest).all())
    assert bool((small[1]["fg_mask"][known] >= 0.5).all())
