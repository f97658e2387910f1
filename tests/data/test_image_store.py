from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.data import image_store
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore


@pytest.fixture(scope="module")
def dataset(tiny_owlii_scene: Path) -> DynamicDataset:
    return DynamicDataset(OwliiDataParserConfig(data=tiny_owlii_scene).setup().get_dataparser_outputs("train"))


@pytest.fixture(scope="module")
def store(dataset: DynamicDataset) -> ImageStore:
    return ImageStore(dataset)


def test_gather_gives_the_pixels_of_the_dataset(dataset: DynamicDataset, store: ImageStore):
    generator = torch.Generator().manual_seed(0)
    indices = (torch.rand(200, 3, generator=generator) * torch.tensor([18, 24, 24])).long()
    gathered = store.gather(indices)
    assert set(gathered) == {"image", "fg_mask", "depth"} == set(store.keys)
    for key, values in gathered.items():
        expected = torch.stack([dataset[int(i)][key][r, c] for i, r, c in indices])
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)
        assert values.dtype == torch.float32
    assert set(store.gather(indices, keys=("fg_mask",))) == {"fg_mask"}


def test_whole_images_and_bytes(dataset: DynamicDataset, store: ImageStore):
    torch.testing.assert_close(store.image("depth", 7), dataset[7]["depth"])
    assert store.num_bytes == 18 * 24 * 24 * (3 + 1 + 4)


def test_foreground_index(dataset: DynamicDataset, store: ImageStore):
    offsets, flat = store.foreground_offsets, store.foreground_flat
    assert offsets.shape == (19,)
    assert offsets[0] == 0
    assert offsets[-1] == len(flat)
    for index in range(18):
        expected = torch.nonzero(dataset[index]["fg_mask"].flatten() > 0.5)[:, 0]
        assert flat[offsets[index] : offsets[index + 1]].tolist() == expected.tolist()


def test_foreground_index_with_an_empty_mask(tiny_dnerf_scene: Path, tmp_path: Path):
    outputs = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene).setup().get_dataparser_outputs("train")
    Image.new("RGBA", (24, 24)).save(tmp_path / "nothing.png")
    for index in (0, 3, 5):
        outputs.image_filenames[index] = tmp_path / "nothing.png"
    store = ImageStore(DynamicDataset(outputs))
    counts = store.foreground_offsets.diff()
    assert (counts == 0).tolist() == [True, False, False, True, False, True]
    image = torch.repeat_interleave(torch.arange(6), counts)
    indices = torch.stack([image, store.foreground_flat // 24, store.foreground_flat % 24], dim=-1)
    assert bool((store.gather(indices)["fg_mask"] > 0.5).all())


def test_mixed_resolutions(tiny_dnerf_scene: Path, tmp_path: Path):
    outputs = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene).setup().get_dataparser_outputs("train")
    rgba = Image.new("RGBA", (10, 7), (0, 0, 0, 0))
    rgba.putpixel((9, 6), (255, 0, 0, 255))
    rgba.putpixel((0, 1), (0, 255, 0, 255))
    rgba.save(tmp_path / "small.png")
    outputs.image_filenames[2] = tmp_path / "small.png"
    outputs.cameras.height[2], outputs.cameras.width[2] = 7, 10
    store = ImageStore(DynamicDataset(outputs))
    assert store.image_sizes[2].tolist() == [7, 10]
    pixels = store.gather(torch.tensor([[2, 6, 9], [2, 1, 0], [2, 0, 0]]))["image"]
    assert pixels.tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert store.image("image", 3).shape == (24, 24, 3)
    start, end = store.foreground_offsets[2:4]
    assert store.foreground_flat[start:end].tolist() == [10, 69]


def test_without_masks(tiny_dnerf_scene: Path):
    outputs = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene).setup().get_dataparser_outputs("train")
    del outputs.metadata["fg_mask_filenames"]
    outputs.alpha_color = None
    store = ImageStore(DynamicDataset(outputs))
    assert store.keys == ("image",)
    assert len(store.foreground_flat) == len(store.foreground_offsets) == 0


def test_memory_is_announced_and_warned_about(
    dataset: DynamicDataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(image_store, "available_bytes", lambda device: 10)
    ImageStore(dataset, name="training")
    out = " ".join(capsys.readouterr().out.split())
    assert "Loading 18 training images (image, fg_mask, depth)" in out
    assert "Warning" in out
    assert "--downscale-factor" in out
