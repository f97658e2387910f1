from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from rig_scene import write_ball_rig

from dataparsers.easyvolcap import EasyVolcapDataParserConfig
from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from nf_plugins.data.check import check_capture
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.restricted_pickle import load_restricted
from nf_plugins.data.triangulation import plane_coordinates, reprojection_errors, triangulate
from nf_plugins.errors import InputError

DISTORTION = (-0.3, 0.1, 0.004, -0.003, 0.02)


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return EasyVolcapDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball_rig(tmp_path_factory.mktemp("rig") / "ball", distortion=DISTORTION, boxes=True)


def test_outputs_of_a_scene(rig: Path) -> None:
    train, test = parse(rig), parse(rig, "test")
    assert (len(train.cameras), len(test.cameras)) == (16, 4)
    assert train.metadata["dataparser_name"] == "easyvolcap-data"
    assert train.metadata["fg_mask_source"] == "soft" and train.cameras.distortion_params is None
    data = DynamicDataset(train)[3]
    assert data["image"].shape == (32, 40, 3) and 0.05 < float(data["fg_mask"].mean()) < 0.4
    assert float(data["fg_mask"][data["fg_mask"] < 1].max()) > 0, "undistorted masks have soft edges"


@pytest.mark.parametrize("kind", ["schp", "jpg"])
def test_all_kinds_of_masks_say_the_same(rig: Path, tmp_path: Path, kind: str) -> None:
    other = write_ball_rig(tmp_path / "ball", distortion=DISTORTION, masks=kind)
    masks = [DynamicDataset(parse(scene))[5]["fg_mask"] for scene in (rig, other)]
    assert float((masks[0] - masks[1]).abs().mean()) < 0.005
    if kind == "schp":
        torch.testing.assert_close(masks[0], masks[1])


def test_boxes_come_from_what_is_asked_for(rig: Path) -> None:
    vertices, boxes = parse(rig), parse(rig, scene_box_from="vhull")
    assert (vertices.metadata["box_source"], boxes.metadata["box_source"]) == ("vertices", "vhull")
    torch.testing.assert_close(vertices.metadata["frame_boxes"], boxes.metadata["frame_boxes"])
    assert "frame_boxes" not in parse(rig, frame_boxes="whole-scene").metadata


def test_it_agrees_with_the_zju_mocap_parser(rig: Path) -> None:
    """The same calibration read by two readers of EasyMocap's files."""
    mine = parse(rig, undistort=False, scale_ratio=0.5)
    other = ZjuMocapDataParserConfig(data=rig, downscale_factor=2).setup().get_dataparser_outputs("train")
    torch.testing.assert_close(mine.cameras.camera_to_worlds, other.cameras.camera_to_worlds)
    for key in ("fx", "fy", "cx", "cy", "distortion_params"):
        torch.testing.assert_close(getattr(mine.cameras, key), getattr(other.cameras, key))
    torch.testing.assert_close(mine.metadata["frame_boxes"], other.metadata["frame_boxes"])
    torch.testing.assert_close(DynamicDataset(mine)[4]["image"], DynamicDataset(other)[4]["image"])


def test_check_has_nothing_against_it(rig: Path) -> None:
    report = check_capture(EasyVolcapDataParserConfig(data=rig, scale_ratio=0.5), "easyvolcap-data")
    assert report.warnings == []
    assert report.splits["train"].rays_in_box == 1.0


def test_an_outdoor_scene(tmp_path: Path) -> None:
    """ENeRF-Outdoor: photographs as they are, masks in bgmtv2, plates of the empty set."""
    plates = {f"{index:02d}": np.full((32, 40, 3), 99, dtype=np.uint8) for index in range(5)}
    root = write_ball_rig(tmp_path / "actor", mask_folder="bgmtv2", plates=plates)
    outputs = parse(root, background_color="keep", mask_folder="bgmtv2", scene_box=(1.0, -4, 0, 5, 0, 3))
    dataset = DynamicDataset(outputs)
    assert outputs.metadata["keep_background"] and len(outputs.metadata["background_plate_filenames"]) == 16
    assert float(dataset[0]["image"][0, 0].max()) > 0.5, "the set is to be seen"
    torch.testing.assert_close(dataset.background_plate(0), torch.full((32, 40, 3), 99 / 255))
    assert "background_plate_filenames" not in parse(root, background_plates="none").metadata


def test_other_data_are_answered(tmp_path: Path, tiny_owlii_scene: Path) -> None:
    with pytest.raises(InputError, match=r"holds no intri\.yml.*looks like Owlii"):
        parse(tiny_owlii_scene)
    with pytest.raises(InputError, match="nowhere does not exist"):
        parse(tmp_path / "nowhere")


def test_real_walker_reprojects(shared_data: Path, tmp_path: Path) -> None:
    """Joints triangulated from three cameras of the yml files alone come back to where they were detected."""
    walker = shared_data / "zju/walker"
    for name in ("intri.yml", "extri.yml", "images"):
        (tmp_path / name).symlink_to(walker / name)
    outputs = parse(
        tmp_path, undistort=False, frame_stride=10, eval_cameras=("cam03",), scene_box=(-2.0, -1, 0, 0, 1, 2)
    )
    matrix = outputs.metadata["world_from_scene"].double().numpy()
    detections = np.stack([entry["kpts2d"] for entry in load_restricted(walker / "annots.npy")["ims"][::10]])
    detections = detections.transpose(0, 2, 1, 3)[:, :, [0, 1, 3]]  # (T, J, C, 3)
    cameras = outputs.cameras[::10]
    intrinsics = cameras.get_intrinsics_matrices().double().numpy()
    poses = cameras.camera_to_worlds.double().numpy() * np.array([1.0, -1.0, -1.0, 1.0])
    rotations = poses[:, :, :3].transpose(0, 2, 1)
    centres = matrix[0, 0] * poses[:, :, 3:] + matrix[:3, 3:]
    world_to_cameras = np.concatenate([rotations, -rotations @ centres], axis=-1)
    assert cameras.distortion_params is not None
    distortions = cameras.distortion_params.double().numpy()[:, [0, 1, 4, 5, 2]]
    pixels, seen = detections[..., :2] + 0.5, np.where(detections[..., 2] >= 0.3, detections[..., 2], 0.0)
    points = triangulate(plane_coordinates(pixels, intrinsics, distortions), seen, world_to_cameras)
    errors = reprojection_errors(points, pixels, world_to_cameras, intrinsics, distortions)
    medians = [np.nanmedian(np.where(seen[..., camera] > 0, errors[..., camera], np.nan)) for camera in range(3)]
    assert max(medians) < 3.0
    undistorted = parse(
        tmp_path, frame_stride=50, eval_cameras=("cam03",), scene_box=(-2.0, -1, 0, 0, 1, 2), scale_ratio=0.5
    )
    assert DynamicDataset(undistorted)[0]["image"].shape == (240, 135, 3)


def test_camera_without_images(rig: Path, tmp_path: Path) -> None:
    scene = Path(shutil.copytree(rig, tmp_path / "ball"))
    shutil.rmtree(scene / "images/02")
    with pytest.raises(InputError, match=r"intri\.yml names the camera 02, but .*images/02 holds no images"):
        parse(scene)
