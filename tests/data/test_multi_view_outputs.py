from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ball_capture import BACKDROP, RADIUS
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image
from rig_scene import centre_of, rig_poses, write_ball_rig

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.easymocap_rig import read_easymocap_rig
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.multi_view_outputs import multi_view_outputs
from nf_plugins.errors import InputError
from nf_plugins.model_components.visual_hull import project_points

DISTORTION = (-0.3, 0.1, 0.004, -0.003, 0.02)
NUM_FRAMES = 4


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training cameras and a held-out one, with distortion."""
    return write_ball_rig(tmp_path_factory.mktemp("rig") / "ball", resolution=64, distortion=DISTORTION)


@pytest.fixture
def scene(rig: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(rig, tmp_path / "ball"))


def outputs_of(root: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    told = {key: options.pop(key) for key in ("transform", "keypoints", "downscale_factor") if key in options}
    capture = read_easymocap_rig(root, mask_folder=options.get("mask_folder", "auto"))
    config = MultiViewDataParserConfig(**options)
    return multi_view_outputs(capture, config, split, dataparser_name="rig", **told)


def balls_of(outputs: DataparserOutputs) -> torch.Tensor:
    """The ball's centre at every image, scene units."""
    frames = (outputs.cameras.times[:, 0] * (NUM_FRAMES - 1)).round().long().tolist()  # type: ignore[index]
    centres = torch.tensor(np.stack([centre_of(frame, NUM_FRAMES) for frame in frames])).float()
    matrix = torch.linalg.inv(outputs.metadata["world_from_scene"])
    return centres @ matrix[:3, :3].T + matrix[:3, 3]


def distances_of_masks(outputs: DataparserOutputs) -> list[float]:
    """How far the middle of every prepared mask lies from the ball's centre seen by the camera, pixels."""
    dataset, found = DynamicDataset(outputs), []
    for index, ball in enumerate(balls_of(outputs)):
        mask = dataset[index]["fg_mask"][..., 0].double()
        rows, columns = torch.meshgrid(*(torch.arange(size) + 0.5 for size in mask.shape), indexing="ij")
        middle = torch.stack([(columns * mask).sum(), (rows * mask).sum()]) / mask.sum()
        x, y, _ = project_points(outputs.cameras[index], ball[None])
        found.append(float((middle - torch.cat([x, y])).norm()))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"undistort": False},
        {"scale_ratio": 0.5},
        {"scale_ratio": 0.375, "crop_size": (20, 22)},
        {"special_cameras": ("1", "3"), "special_scale_ratio": 0.7},
        {"undistort": False, "downscale_factor": 2},
        {"undistort": False, "scale_ratio": 0.6, "downscale_factor": 2},
    ],
    ids=str,
)
def test_cameras_fit_their_prepared_images(rig: Path, options: dict[str, Any]) -> None:
    """The silhouette of a ball that is small in the image lies about its centre, whatever is done to the image."""
    for split in ("train", "test"):
        outputs = outputs_of(rig, split, **options)
        assert max(distances_of_masks(outputs)) < 0.3
        assert (outputs.cameras.distortion_params is not None) == (options.get("undistort") is False)


def test_what_the_metadata_say(rig: Path) -> None:
    train, test = outputs_of(rig, scale_ratio=0.5), outputs_of(rig, "test", scale_ratio=0.5, eval_frame_stride=3)
    assert len(train.image_filenames) == 16 and len(test.image_filenames) == 2
    assert [path.parent.name for path in train.image_filenames[::4]] == ["00", "01", "02", "03"]
    assert [path.stem for path in test.image_filenames] == ["000000", "000003"]
    assert test.cameras.times[:, 0].tolist() == [0.0, 1.0]  # type: ignore[index]
    torch.testing.assert_close(train.metadata["frame_times"], torch.tensor([0, 1 / 3, 2 / 3, 1]))
    for key in ("frame_times", "scene_aabb", "world_from_scene", "frame_boxes"):
        torch.testing.assert_close(train.metadata[key], test.metadata[key])
    assert train.metadata["camera_names"] == ["00", "01", "02", "03", "04"]
    assert test.cameras.metadata["camera_id"].tolist() == [[4], [4]]  # type: ignore[index]
    assert train.metadata["dataparser_name"] == "rig" and train.metadata["box_source"] == "vertices"
    assert train.metadata["frame_boxes"].shape == (NUM_FRAMES, 2, 3)
    assert train.metadata["frame_boxes"].dtype == torch.float32
    assert float(train.metadata["frame_boxes"].min()) >= float(train.metadata["scene_aabb"].min()) - 1e-6
    torch.testing.assert_close(train.metadata["scene_aabb"].norm(dim=-1), torch.ones(2))
    middle = train.metadata["frame_boxes"].mean(dim=1)[[0, 3]]
    torch.testing.assert_close(middle, balls_of(test), atol=0.01, rtol=0)
    assert train.cameras.height.unique().tolist() == [32] and train.cameras.width.unique().tolist() == [40]


def test_poses_and_lenses_are_those_that_were_written(rig: Path) -> None:
    outputs = outputs_of(rig)
    matrix = outputs.metadata["world_from_scene"].double().numpy()
    for index, pose in enumerate(list(rig_poses(5).values())[:4]):
        found = outputs.cameras.camera_to_worlds[4 * index].double().numpy()
        np.testing.assert_allclose(found[:, :3], pose[:3, :3], atol=1e-6)
        np.testing.assert_allclose(matrix[0, 0] * found[:, 3] + matrix[:3, 3], pose[:3, 3], atol=1e-5)
    np.testing.assert_allclose(outputs.cameras.cx[:, 0], 41.2, atol=1e-5)
    world = torch.cat([torch.from_numpy(pose)[None, :3] for pose in list(rig_poses(5).values())[:4]]).float()
    torch.testing.assert_close(
        outputs.transform_poses_to_original_space(outputs.cameras.camera_to_worlds[::4], "opengl"), world,
        atol=1e-5, rtol=0,
    )  # fmt: skip


def test_a_motion_of_the_world(rig: Path) -> None:
    """Everything moves together: what cameras see stays the same, and boxes still hold the ball."""
    turn = np.eye(4)
    turn[:3, :3] = cv2.Rodrigues(np.array([0.3, -0.5, 1.1]))[0]
    turn[:3, 3] = (1.0, -2.0, 0.5)
    outputs = outputs_of(rig, transform=turn)
    centres = np.stack([centre_of(frame, NUM_FRAMES) for frame in range(NUM_FRAMES)])
    matrix = np.linalg.inv(outputs.metadata["world_from_scene"].double().numpy())
    balls = torch.from_numpy((centres @ turn[:3, :3].T + turn[:3, 3]) @ matrix[:3, :3].T + matrix[:3, 3]).float()
    plain = outputs_of(rig)
    for index in range(16):
        x, y, _ = project_points(outputs.cameras[index], balls[index % 4][None])
        expected = project_points(plain.cameras[index], balls_of(plain)[index][None])
        np.testing.assert_allclose([float(x), float(y)], [float(expected[0]), float(expected[1])], atol=1e-3)
    boxes, reach = outputs.metadata["frame_boxes"], RADIUS * matrix[0, 0]
    assert bool((boxes[:, 0] < balls - 0.98 * reach).all() and (boxes[:, 1] > balls + 0.98 * reach).all())
    world = outputs.transform_poses_to_original_space(outputs.cameras.camera_to_worlds[:1], "opengl")[0]
    torch.testing.assert_close(world, torch.from_numpy(rig_poses(5)["00"][:3]).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("background", ["black", "white", "keep"])
def test_backgrounds(rig: Path, background: str) -> None:
    outputs = outputs_of(rig, background_color=background, scale_ratio=0.5)
    data = DynamicDataset(outputs)[2]
    outside = data["fg_mask"][..., 0] == 0
    assert bool(outside[0, 0]) and data["image"].shape == (32, 40, 3)
    colour = {"black": [0.0] * 3, "white": [1.0] * 3, "keep": [value / 255 for value in BACKDROP]}[background]
    torch.testing.assert_close(data["image"][outside], torch.tensor(colour).expand(int(outside.sum()), 3))
    assert (outputs.alpha_color is None) == (background == "keep")
    assert outputs.metadata.get("keep_background", False) == (background == "keep")
    without = outputs_of(rig, background_color=background, mask_folder="none")
    assert "fg_mask_filenames" not in without.metadata and without.alpha_color is None
    assert "fg_mask" not in DynamicDataset(without)[0]


def test_all_images_fit_into_the_store(rig: Path) -> None:
    outputs = outputs_of(rig, special_cameras=("1",), special_scale_ratio=0.7)
    store = ImageStore(DynamicDataset(outputs))
    assert store.image_sizes.tolist() == [[64, 80]] * 4 + [[44, 56]] * 4 + [[64, 80]] * 8


def test_nerfstudios_own_reduction_comes_on_top(rig: Path) -> None:
    outputs = outputs_of(rig, scale_ratio=0.5)
    whole, half = DynamicDataset(outputs)[0], DynamicDataset(outputs, 0.5)[0]
    expected = whole["image"].reshape(16, 2, 20, 2, 3).mean(dim=(1, 3))
    torch.testing.assert_close(half["image"], expected)


def test_k3(rig: Path) -> None:
    with_k3, without = (outputs_of(rig, undistort=False, ignore_k3=value) for value in (False, True))
    assert with_k3.cameras.distortion_params[0].tolist() == pytest.approx([-0.3, 0.1, 0.02, 0, 0.004, -0.003])  # type: ignore[index]
    assert without.cameras.distortion_params[0].tolist() == pytest.approx([-0.3, 0.1, 0, 0, 0.004, -0.003])  # type: ignore[index]


def test_pictures_that_are_no_files(rig: Path) -> None:
    capture = read_easymocap_rig(rig)

    class Source:
        def image(self, path: Path) -> np.ndarray:
            return np.asarray(Image.open(rig / "images" / path))

        def mask(self, path: Path) -> np.ndarray:
            return np.asarray(Image.open(rig / "masks" / path), dtype=np.float32) / 255

    names = [[Path(path.parent.name) / path.name for path in frame] for frame in capture.images]
    named = replace(capture, images=names, masks=names, picture_source=Source(), mask_rule="any_channel_positive")
    config = MultiViewDataParserConfig(scale_ratio=0.5)
    found, expected = (
        DynamicDataset(multi_view_outputs(each, config, "train", dataparser_name="rig"))[5] for each in (named, capture)
    )
    for key in ("image", "fg_mask"):
        torch.testing.assert_close(found[key], expected[key])


def test_background_plates(rig: Path, tmp_path: Path) -> None:
    plates = {f"{index:02d}": np.full((64, 80, 3), 40 * index, dtype=np.uint8) for index in range(5)}
    root = write_ball_rig(tmp_path / "plates", resolution=64, plates=plates)
    outputs = outputs_of(root, "test", scale_ratio=0.5, background_color="keep")
    plate = DynamicDataset(outputs).background_plate(1)
    torch.testing.assert_close(plate, torch.full((32, 40, 3), 160 / 255))
    with pytest.raises(InputError, match="no background plates"):
        DynamicDataset(outputs_of(rig)).background_plate(0)
    (root / "bkgd/04/00.png").unlink()
    with pytest.raises(InputError, match="no background plate of camera 04"):
        outputs_of(root, "test")


def drop(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "mask missing": (
        lambda s: drop(s / "masks/02/000001.png"), {},
        r"masks has no mask for images/02/000001\.png \(1 of 16 are missing\).*--mask-folder none",
    ),
    "no mask at all": (lambda s: [drop(path) for path in s.glob("masks/*/*")], {}, "masks has no mask for .* nor for"),
    "no such mask folder": (lambda s: None, {"mask_folder": "matte"}, "--mask-folder matte: there is no folder"),
    "mask of another size": (
        lambda s: Image.new("L", (9, 9)).save(s / "masks/01/000002.png"), {}, "is 9x9 pixels, but its image"
    ),
    "image of another size": (
        lambda s: Image.new("RGB", (9, 9)).save(s / "images/01/000002.png"), {},
        r"images/01/000002\.png is 9x9 pixels, but camera 01 has images of 80x64",
    ),
    "camera without folder": (
        lambda s: drop(s / "images/03"), {}, r"intri\.yml names the camera 03, but .*images/03 holds no images"
    ),
    "fewer images": (lambda s: drop(s / "images/03/000003.png"), {}, "images/03 holds 3, but .*images/00 holds 4"),
    "ratio": (lambda s: None, {"scale_ratio": 1.5}, r"scale ratio of camera 00 is 1\.5 .*expected above 0"),
    "nothing left": (lambda s: None, {"scale_ratio": 0.001}, "at least a pixel left of 80x64"),
    "crop": (lambda s: None, {"crop_size": (99, 10)}, "--crop-size 99 10 does not fit"),
    "special camera": (lambda s: None, {"special_cameras": ("x",)}, "--special-cameras names x"),
    "lens": (
        lambda s: (s / "intri.yml").write_text((s / "intri.yml").read_text().replace("-0.29999999999999999", "-3.")),
        {}, r"camera 00 of .*intri\.yml is too strong to undistort.*--undistort False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_scenes_get_their_sentence(scene: Path, name: str) -> None:
    damage, options, says = BAD[name]
    damage(scene)
    with pytest.raises(InputError, match=says):
        outputs_of(scene, **options)


def test_a_strong_lens_can_be_kept(scene: Path) -> None:
    BAD["lens"][0](scene)
    assert outputs_of(scene, undistort=False).cameras.distortion_params is not None
