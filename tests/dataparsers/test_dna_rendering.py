from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from rig_scene import write_ball_rig
from smc_scene import write_smc_ball

from dataparsers.dna_rendering import DnaRenderingDataParser, DnaRenderingDataParserConfig
from dataparsers.easyvolcap import EasyVolcapDataParserConfig
from nf_plugins.data.dna_rig import read_dna_rig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.errors import InputError

DISTORTION = (-0.3, 0.1, 0.004, -0.003, 0.02)
ROWS = np.array([[-0.0004, 1.1, 3.0], [0.0003, 0.9, -2.0], [0.001, 0.7, 5.0]])


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    options = {"scale_ratio": 1.0, "crop_size": None, "eval_frame_stride": 1, **options}
    return DnaRenderingDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dna") / "0013_01"
    return write_smc_ball(root, distortion=DISTORTION, color_calibration=ROWS, large_cameras=("03", "04"))


def test_it_agrees_with_the_same_scene_in_easyvolcaps_layout(scene: Path, tmp_path: Path) -> None:
    extracted = write_ball_rig(tmp_path / "ball", distortion=DISTORTION)
    options: dict[str, Any] = {"background_color": "white", "scene_box_from": "masks"}
    easy = EasyVolcapDataParserConfig(data=extracted, **options).setup().get_dataparser_outputs("train")
    for outputs, tolerance in ((parse(scene), 1.5 / 255), (parse(extracted, scene_box_from="masks"), 1e-6)):
        torch.testing.assert_close(outputs.cameras.camera_to_worlds, easy.cameras.camera_to_worlds)
        torch.testing.assert_close(outputs.cameras.fx, easy.cameras.fx)
        torch.testing.assert_close(outputs.cameras.cx, easy.cameras.cx)
        torch.testing.assert_close(outputs.metadata["world_from_scene"], easy.metadata["world_from_scene"])
        for index in (0, 7):
            data, expected = DynamicDataset(outputs)[index], DynamicDataset(easy)[index]
            torch.testing.assert_close(data["image"], expected["image"], rtol=0, atol=tolerance)
            torch.testing.assert_close(data["fg_mask"], expected["fg_mask"])


def test_colours_are_corrected_unless_told_otherwise(scene: Path) -> None:
    images = [
        DynamicDataset(parse(scene, color_correction=kind, mask_folder="none", scene_box=(0, -4, 0, 6, 1, 3)))[2][
            "image"
        ]
        for kind in ("clip", "none", "range")
    ]
    assert float((images[0] - images[1]).abs().mean()) > 0.01
    assert float((images[0] - images[2]).abs().mean()) > 0.01


def test_published_preparation_and_split() -> None:
    config = DnaRenderingDataParserConfig()
    assert (config.scale_ratio, config.special_scale_ratio, config.crop_size) == (0.5, 0.375, (900, 600))
    assert (config.num_frames, config.eval_frame_stride, config.background_color) == (150, 20, "white")


def test_cameras_of_12_megapixels_and_published_views_are_found(scene: Path) -> None:
    capture = read_dna_rig(scene)
    parser: DnaRenderingDataParser = DnaRenderingDataParserConfig(data=scene).setup()
    assert parser.configured(capture).special_cameras == () and parser.configured(capture).eval_cameras == ()
    lenses = [replace(lens, width=4096, height=3000) if row > 2 else lens for row, lens in enumerate(capture.lenses)]
    assert parser.configured(replace(capture, lenses=lenses)).special_cameras == ("03", "04")
    many = replace(capture, camera_names=[f"{row:02d}" for row in range(60)], lenses=capture.lenses * 12)
    assert parser.configured(many).eval_cameras == ("11", "25", "37", "57")
    outputs = parse(scene, special_cameras=("03:",), special_scale_ratio=0.5, train_views="all")
    assert outputs.cameras.width.flatten().tolist() == [40] * 12 + [20] * 8
    assert DynamicDataset(outputs)[-1]["image"].shape == (16, 20, 3)


def test_images_need_no_files_and_are_shared_by_copies(scene: Path) -> None:
    outputs = parse(scene, "test", num_frames=2)
    assert [path.name for path in outputs.image_filenames] == ["000000.png", "000001.png"]
    source = outputs.metadata["picture_source"]
    assert copy.deepcopy(outputs.metadata)["picture_source"] is source
    assert outputs.metadata["box_source"] == "masks"
    data = DynamicDataset(outputs).get_data(1, "uint8")
    assert data["image"].dtype == torch.uint8 and 0.05 < float(data["fg_mask"].mean()) < 0.4


def test_point_clouds_place_a_box_at_every_frame(tmp_path: Path) -> None:
    root = write_smc_ball(tmp_path / "a", num_cameras=3, num_frames=3)
    (root / "pointcloud_denoise").mkdir()
    for frame, path in enumerate(sorted((root / "mesh").glob("*.ply")), start=1):
        (root / "pointcloud_denoise" / f"{frame:05d}.ply").write_bytes(path.read_bytes())
    outputs = parse(root, box_padding=0.0)
    assert outputs.metadata["box_source"] == "points" and outputs.metadata["frame_boxes"].shape == (3, 2, 3)
    boxes = outputs.metadata["frame_boxes"] * outputs.metadata["world_from_scene"][0, 0]
    assert boxes.mean(dim=1).diff(dim=0)[:, 0].tolist() == pytest.approx([0.3, 0.3], abs=1e-5)
    assert "frame_boxes" not in parse(root, scene_box_from="masks").metadata


def test_bad_scenes(scene: Path, tmp_path: Path) -> None:
    root = write_smc_ball(tmp_path / "a", num_cameras=3, num_frames=2)
    (root / "a_annots.smc").rename(tmp_path / "b.smc")
    with pytest.raises(InputError, match=r"a\.smc comes without .*a_annots\.smc.*--annotations"):
        parse(root)
    assert len(parse(root, annotations=tmp_path / "b.smc").cameras) == 4
    with h5py.File(tmp_path / "b.smc", "a") as file:
        del file["Mask/1/mask/1"]
    with pytest.raises(InputError, match=r"has no mask for .*01/000001\.png \(1 of 4 are missing\)"):
        parse(root, annotations=tmp_path / "b.smc")
    with h5py.File(tmp_path / "b.smc", "a") as file:
        del file["Camera_Parameter/01"]
    with pytest.raises(InputError, match="no Camera_Parameter of camera 01"):
        parse(root, annotations=tmp_path / "b.smc")
    with pytest.raises(InputError, match="holds no NAME.smc"):
        parse(tmp_path / "a" / "mesh")
    with pytest.raises(InputError, match="lie in no folder"):
        parse(scene, mask_folder="schp")
    with pytest.raises(InputError, match="--crop-size"):
        DnaRenderingDataParserConfig(data=scene, eval_frame_stride=1).setup().get_dataparser_outputs("train")
