"""Truth without the rim of its masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.evaluation.edge_truth import EdgeTruth, edge_band, edge_psnr, read_edge_truth


def write(path: Path, values: np.ndarray) -> None:
    Image.fromarray((255 * values).round().astype(np.uint8)).save(path)


def square() -> np.ndarray:
    mask = np.zeros((16, 20))
    mask[4:12, 5:15] = 1
    return mask


def test_the_rim_is_two_pixels_to_either_side() -> None:
    band = edge_band(torch.from_numpy(square())[..., None])[..., 0]
    expected = torch.zeros(16, 20, dtype=torch.bool)
    expected[2:14, 3:17] = True
    expected[6:10, 7:13] = False
    assert torch.equal(band, expected)
    assert not bool(edge_band(torch.ones(16, 20, 1)).any())  # the image's border is no rim


def test_psnr_leaves_rim_and_background_out() -> None:
    mask = torch.from_numpy(square()).bool()[..., None]
    truth = EdgeTruth(torch.full((16, 20, 3), 0.5), mask, edge_band(mask.float()))
    predicted = torch.full((16, 20, 3), 1.0)
    predicted[6:10, 7:13] = 0.6
    assert edge_psnr(predicted, truth) == pytest.approx(20.0, abs=1e-4)
    assert edge_psnr(predicted, truth._replace(edge=mask)) is None


def test_released_pictures_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (16, 20, 3)) / 255
    write(tmp_path / "0030_07_gt.png", colors)
    write(tmp_path / "0030_07_mask.png", square())
    truth = read_edge_truth(tmp_path, 30, 7, (16, 20))
    assert torch.allclose(truth.image, torch.from_numpy(colors).float(), atol=1e-6)
    assert torch.equal(truth.mask[..., 0], torch.from_numpy(square()).bool())
    assert torch.equal(truth.edge, edge_band(truth.mask.float()))
    edge = np.zeros((16, 20))
    edge[:, :9] = 1
    write(tmp_path / "0030_07_edge.png", edge)
    counted = read_edge_truth(tmp_path, 30, 7, (16, 20)).counted[..., 0]
    assert int(counted.sum()) == 8 * 6 and not bool(counted[:, :9].any())


def test_missing_and_misfitting_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .*0002_05_gt\.png"):
        read_edge_truth(tmp_path, 2, 5, (16, 20))
    write(tmp_path / "0002_05_gt.png", square())
    write(tmp_path / "0002_05_mask.png", square())
    with pytest.raises(InputError, match="is 20x16 pixels, but the run renders 10x8"):
        read_edge_truth(tmp_path, 2, 5, (8, 10))
