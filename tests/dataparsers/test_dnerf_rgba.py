from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from nf_plugins.errors import InputError


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return DNeRFRGBADataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


def test_outputs_of_a_whole_scene(tiny_dnerf_scene: Path):
    train = parse(tiny_dnerf_scene)
    assert len(train.image_filenames) == len(train.cameras) == 6
    assert train.metadata["fg_mask_filenames"] == train.image_filenames
    assert train.metadata["fg_mask_source"] == "alpha"
    assert train.mask_filenames is None
    for split in ("train", "val", "test"):
        outputs = parse(tiny_dnerf_scene, split)
        torch.testing.assert_close(outputs.metadata["frame_times"], torch.arange(6) / 5)
        assert all(path.parent.name == split for path in outputs.image_filenames)
        assert float(outputs.cameras.times.min()) >= 0
        assert float(outputs.cameras.times.max()) <= 1
        rotation = outputs.cameras.camera_to_worlds[:, :, :3]
        torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(rotation)))
        # The writer stands 3 scene units away and calls them 4.5 world units.
        torch.testing.assert_close(
            outputs.cameras.camera_to_worlds[..., 3].norm(dim=-1), torch.full((len(rotation),), 3.0)
        )
    torch.testing.assert_close(train.metadata["world_from_scene"].diagonal(), torch.tensor([1.5, 1.5, 1.5, 1.0]))


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_centre_of_the_mask_is_where_the_ball_is(
    tiny_dnerf_scene: Path, ball_centre_at: Callable[[float], np.ndarray], factor: int
):
    outputs = parse(tiny_dnerf_scene, downscale_factor=factor)
    assert int(outputs.cameras.height[0]) == 24 // factor
    for index in range(6):
        rows, columns = np.nonzero(np.asarray(Image.open(outputs.image_filenames[index]))[..., 3])
        coords = torch.tensor([[rows.mean() + 0.5, columns.mean() + 0.5]]).float() / factor
        rays = outputs.cameras.generate_rays(index, coords=coords)
        centre = torch.from_numpy(ball_centre_at(float(outputs.cameras.times[index]))).float()
        assert float(torch.linalg.cross(centre - rays.origins[0], rays.directions[0]).norm()) < 0.03


def test_scene_named_lego_is_evaluated_on_val(dnerf_scene: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    scene = dnerf_scene("lego")
    outputs = parse(scene, "test")
    assert all(path.parent.name == "val" for path in outputs.image_filenames)
    assert "another pose" in outputs.metadata["protocol_note"]
    assert "another pose" in capsys.readouterr().out
    forced = parse(scene, "test", eval_split="test")
    assert all(path.parent.name == "test" for path in forced.image_filenames)
    other = parse(dnerf_scene("ball"), "test", eval_split="val")
    assert all(path.parent.name == "val" for path in other.image_filenames)


def test_stray_files_and_given_suffixes_do_no_harm(dnerf_scene: Callable[..., Path]):
    scene = dnerf_scene()
    (scene / "train" / "r_999.png").write_text("stray")
    (scene / ".DS_Store").touch()
    path = scene / "transforms_train.json"
    path.write_text(path.read_text().replace("r_003", "r_003.png"))
    assert len(parse(scene).image_filenames) == 6


def test_without_alpha_there_are_no_masks(dnerf_scene: Callable[..., Path]):
    scene = dnerf_scene()
    for path in scene.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path)
    outputs = parse(scene)
    assert "fg_mask_filenames" not in outputs.metadata
    assert outputs.alpha_color is None


def edit(scene: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    path = scene / f"transforms_{split}.json"
    contents = json.loads(path.read_text())
    change(contents)
    path.write_text(json.dumps(contents))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def set_in_frame_2(key: str, value: Any) -> Callable[[Path], object]:
    return lambda scene: edit(scene, lambda contents: contents["frames"][2].__setitem__(key, value))


BAD_SCENES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no transforms": (lambda s: (s / "transforms_train.json").unlink(), "transforms_train.json does not exist"),
    "no JSON": (lambda s: (s / "transforms_train.json").write_text("{"), "transforms_train.json is no valid JSON"),
    "image missing": (lambda s: (s / "train/r_002.png").unlink(), "train/r_002.png does not exist"),
    "truncated image": (lambda s: truncate(s / "train/r_002.png"), "train/r_002.png cannot be read"),
    "NaN": (
        set_in_frame_2("transform_matrix", [[float("nan")] * 4] * 4),
        "transform_matrix of frame 2 of .*transforms_train.json holds NaN",
    ),
    "singular": (
        set_in_frame_2("transform_matrix", [[0.0] * 4] * 4),
        "transform_matrix of frame 2 of .* is no camera pose",
    ),
    "ragged": (
        set_in_frame_2("transform_matrix", [[1.0], [2.0, 3.0]]),
        "transform_matrix of frame 2 of .* has the shape",
    ),
    "time above 1": (
        set_in_frame_2("time", 1.5),
        r"time of frame 2 of .*transforms_train.json is 1.5, expected one in",
    ),
    "time below 0": (set_in_frame_2("time", -0.5), r"time of frame 2 of .* is -0.5"),
    "time a word": (set_in_frame_2("time", "noon"), "time of frame 2 of .* is 'noon'"),
    "no times": (
        lambda s: edit(s, lambda c: [frame.pop("time") for frame in c["frames"]]),
        "has no time.*use blender-data",
    ),
    "one time": (
        lambda s: edit(s, lambda c: [frame.__setitem__("time", 0.0) for frame in c["frames"]]),
        "transforms_train.json has 1 frame",
    ),
    "no frames": (lambda s: edit(s, lambda c: c["frames"].clear()), "transforms_train.json has no frames"),
    "no angle": (lambda s: edit(s, lambda c: c.pop("camera_angle_x")), "transforms_train.json lacks 'camera_angle_x'"),
    "alpha in some": (
        lambda s: Image.open(s / "train/r_002.png").convert("RGB").save(s / "train/r_002.png"),
        "train/r_002.png has no alpha channel",
    ),
}


@pytest.mark.parametrize("name", BAD_SCENES)
def test_bad_scenes_get_their_sentence(dnerf_scene: Callable[..., Path], name: str):
    damage, says = BAD_SCENES[name]
    scene = dnerf_scene()
    damage(scene)
    with pytest.raises(InputError, match=says):
        parse(scene)


def test_missing_empty_and_other_folders(tmp_path: Path, tiny_owlii_scene: Path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        parse(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is empty"):
        parse(tmp_path)
    with pytest.raises(InputError, match="use owlii-data"):
        parse(tiny_owlii_scene)


@pytest.mark.parametrize(
    ("scene", "counts"), [("lego", (50, 11, 11)), ("bouncingballs", (150, 20, 20)), ("hellwarrior", (100, 20, 20))]
)
def test_real_scenes(shared_data: Path, scene: str, counts: tuple[int, int, int]):
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        outputs = parse(shared_data / "dnerf" / scene, split)
        assert len(outputs.image_filenames) == count
        assert "fg_mask_filenames" in outputs.metadata
        rotation = outputs.cameras.camera_to_worlds[:, :, :3]
        torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
