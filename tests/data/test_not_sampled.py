"""nerfstudio's masks, pixels that must not be sampled, from the file to the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_capture import LENS, write_capture
from PIL import Image

from dataparsers.nerfstudio_time import NerfstudioTimeDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.pixel_samplers import DynamicPixelSamplerConfig


def half_known(folder: Path, with_foreground: bool) -> DynamicDataset:
    """A capture whose left half must not be sampled."""
    write_capture(folder, mask=with_foreground)
    known = np.zeros((LENS.height, LENS.width), dtype=np.uint8)
    known[:, LENS.width // 2 :] = 255
    Image.fromarray(known).save(folder / "known.png")
    contents = json.loads((folder / "transforms.json").read_text())
    for frame in contents["frames"]:
        frame["mask_path"] = "known.png"
    (folder / "transforms.json").write_text(json.dumps(contents))
    config = NerfstudioTimeDataParserConfig(data=folder, mask_meaning="not_sampled")
    return DynamicDataset(config.setup().get_dataparser_outputs("train"))


@pytest.mark.parametrize(
    ("strategy", "with_foreground"),
    [("uniform", True), ("uniform", False), ("foreground_balanced", True), ("frame_balanced", True)],
)
def test_masked_pixels_are_never_drawn(tmp_path: Path, strategy: str, with_foreground: bool):
    dataset = half_known(tmp_path / "scene", with_foreground)
    store = ImageStore(dataset)
    config = DynamicPixelSamplerConfig(strategy=strategy, silhouette_fraction=0.5)  # type: ignore[arg-type]
    frame_ids = (dataset.cameras.times[:, 0] * 3).round().long()  # type: ignore[index]
    sampler = config.setup(store=store, frame_ids=frame_ids, num_rays_per_batch=600)
    torch.manual_seed(0)
    indices = sampler.sample_indices()
    assert int(indices[:, 2].min()) >= LENS.width // 2
    assert set(indices[:, 0].tolist()) == set(range(len(dataset)))


def test_a_reduced_pixel_is_known_when_all_of_it_is(tmp_path: Path):
    half_known(tmp_path / "scene", True)
    config = NerfstudioTimeDataParserConfig(data=tmp_path / "scene", mask_meaning="not_sampled", downscale_factor=3)
    mask = DynamicDataset(config.setup().get_dataparser_outputs("train"))[0]["mask"][..., 0]
    assert mask.shape == (LENS.height // 3, LENS.width // 3)
    assert mask[0].tolist() == [False] * 7 + [True] * 6
