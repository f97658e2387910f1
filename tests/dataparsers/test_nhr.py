from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_capture import RADIUS
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from rig_scene import centre_of, write_ball_rig

from dataparsers.nhr import NhrDataParserConfig, gravity_transform


def parse(root: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return NhrDataParserConfig(data=root, **options).setup().get_dataparser_outputs(split)


def test_published_matrices() -> None:
    basketball = [
        [0.90630779, -0.07338689, 0.41619774],
        [0.42261826, 0.1573787, -0.89253894],
        [0, 0.98480775, 0.17364818],
    ]
    np.testing.assert_allclose(gravity_transform("basketball")[:3, :3], basketball, atol=1e-8)
    np.testing.assert_allclose(gravity_transform("basketball")[:3, 3], [2, -5.13, 2.85])
    sport = gravity_transform("sport")
    np.testing.assert_allclose(sport[:3, :3] @ sport[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(sport[:3, 3], [0, -3.88852744, 2.16014765])
    assert sport[1, 1] == pytest.approx(np.cos(np.radians(80))) and sport[2, 1] == pytest.approx(0.98480775)


@pytest.mark.parametrize("name", ["sport_1_easymocap", "basketball_easymocap", "dance"])
def test_the_folders_name_tells_the_scene(tmp_path: Path, name: str) -> None:
    pattern = "{}.npy" if "sport" in name else "{:06d}.npy"
    root = write_ball_rig(
        tmp_path / name, num_frames=12, masks="schp" if "sport" in name else "jpg", vertices_pattern=pattern
    )
    outputs, plain = parse(root), parse(root, scene="none")
    matrix = np.eye(4) if name == "dance" else gravity_transform(name.split("_", maxsplit=1)[0])
    assert outputs.metadata["dataparser_name"] == "nhr-data"
    world = outputs.metadata["world_from_scene"].double().numpy()
    boxes = world[0, 0] * outputs.metadata["frame_boxes"].double().numpy() + world[:3, 3]
    centres = np.stack([centre_of(frame, 12) for frame in range(12)]) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(boxes.mean(axis=1), centres, atol=0.02)
    np.testing.assert_allclose(boxes[:, 1] - boxes[:, 0], 2 * (RADIUS + 0.1), atol=0.06)
    turned = plain.cameras.camera_to_worlds[:, :, :3].double()
    torch.testing.assert_close(
        outputs.cameras.camera_to_worlds[:, :, :3].double(), torch.from_numpy(matrix[:3, :3]) @ turned,
        atol=1e-5, rtol=0,
    )  # fmt: skip
    assert outputs.cameras.height.unique().tolist() == [16], "half the size"
    assert len(parse(root, "test").image_filenames) == 2, "every tenth frame of the last camera"


def test_published_evaluation_cameras(tmp_path: Path) -> None:
    root = write_ball_rig(tmp_path / "sport", num_cameras=48, num_frames=2, resolution=8, masks="none")
    test = parse(root, "test", eval_frame_stride=1)
    assert test.cameras.metadata["camera_id"][::2, 0].tolist() == [18, 28, 37, 46]  # type: ignore[index]
    assert len(parse(root).image_filenames) == 44 * 2
    assert parse(root, "test", eval_cameras=("3",)).cameras.metadata["camera_id"].unique().tolist() == [3]  # type: ignore[index]
