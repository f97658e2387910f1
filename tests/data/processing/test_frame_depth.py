"""Depth by a network that stands in for transformers', and from files of all kinds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from nf_plugins.data.processing.frame_depth import (
    disparity_from,
    load_depth_network,
    read_depth_file,
    read_disparity_file,
    resample_known,
    resize_map,
)
from nf_plugins.errors import InputError


class Inputs(dict):
    def to(self, device: torch.device) -> Inputs:
        return self


class Brightness(torch.nn.Module):
    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(predicted_depth=pixel_values.float().mean(dim=-1))


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that knows one model, "known", whose depth is brightness."""
    module = ModuleType("transformers")

    def loader(thing: object) -> SimpleNamespace:
        def load(name: str) -> object:
            if name != "known":
                raise OSError(f"{name} is not a local folder\nand more")
            return thing

        return SimpleNamespace(from_pretrained=load)

    def processor(images: np.ndarray, return_tensors: str) -> Inputs:
        return Inputs(pixel_values=torch.from_numpy(images.copy())[None])

    module.AutoImageProcessor = loader(processor)  # type: ignore[attr-defined]
    module.AutoModelForDepthEstimation = loader(Brightness())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    return module


def test_a_network_gives_inverse_depth(transformers: ModuleType):
    image = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(load_depth_network("known")(image), image.mean(axis=-1), rtol=1e-6)
    with pytest.raises(InputError, match=r"unknown cannot be had \(unknown is not a local folder\): fetch it"):
        load_depth_network("unknown")


def test_without_transformers_that_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="transformers is not installed"):
        load_depth_network("known")


def test_maps_are_read_and_useless_ones_refused(tmp_path: Path):
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    Image.fromarray(values).save(tmp_path / "map.png")
    np.save(tmp_path / "map.npy", values[None].astype(np.float64))
    np.savez(tmp_path / "map.npz", depth=values)
    for suffix in ("png", "npy", "npz"):
        np.testing.assert_array_equal(read_depth_file(tmp_path / f"map.{suffix}"), values)
    np.save(tmp_path / "rgb.npy", np.zeros((3, 4, 3)))
    (tmp_path / "broken.npy").write_bytes(b"no")
    for name, message in (("rgb", "expected .H, W."), ("broken", "cannot be read")):
        with pytest.raises(InputError, match=message):
            read_depth_file(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("kind", ["disparity", "metric"])
def test_constant_depth_is_refused(tmp_path: Path, kind: Literal["disparity", "metric"]):
    path = tmp_path / "map.npy"
    flat = np.full((3, 4), 2.0)
    rounded = flat * (1 + 1e-8 * np.arange(12).reshape(3, 4))
    gaps = np.where(np.eye(3, 4, dtype=bool), np.nan, flat)
    unknown = {"metric": [np.where(np.eye(3, 4, dtype=bool), 0, flat)]}.get(kind, [])
    for values in (flat, rounded, gaps, *unknown):
        np.save(path, values)
        with pytest.raises(InputError, match=r"map\.npy is the same everywhere.*--depth-backend none"):
            read_disparity_file(path, kind)
    np.save(path, np.full((3, 4), np.nan if kind == "disparity" else -1.0))
    with pytest.raises(InputError, match=f"is finite.* nowhere, expected depth of some pixels: .*--depth-kind {kind}"):
        read_disparity_file(path, kind)
    np.save(path, np.where(np.eye(3, 4, dtype=bool), 0.5, 2.0))
    assert np.isfinite(read_disparity_file(path, kind)).all()


def test_metric_depth_is_inverted_and_what_is_unknown_stays_unknown():
    depth = np.full((8, 8), 4.0, dtype=np.float32)
    depth[2:4, 2:4] = 0
    depth[6, 6] = np.nan
    disparity = disparity_from(depth, "metric")
    np.testing.assert_array_equal(np.isnan(disparity), (depth == 0) | np.isnan(depth))
    np.testing.assert_allclose(disparity[np.isfinite(disparity)], 0.25)
    assert np.isnan(disparity_from(depth, "disparity")[6, 6])
    # Zero is a value of disparity: infinitely far.
    assert disparity_from(np.where(np.isnan(depth), 4, depth), "disparity")[2, 2] == 0


def test_gaps_stay_gaps_when_a_map_changes_size():
    disparity = np.full((16, 16), 0.25, dtype=np.float32)
    disparity[4:8, 4:8] = np.nan
    small = resample_known(disparity, lambda values: resize_map(values, (8, 8)))
    assert np.isnan(small[2:4, 2:4]).all() and np.isnan(small).sum() <= 16
    np.testing.assert_allclose(small[np.isfinite(small)], 0.25, rtol=1e-6)
    whole = np.nan_to_num(disparity, nan=0.25)
    assert np.isfinite(resample_known(whole, lambda values: resize_map(values, (8, 8)))).all()


def test_networks_of_metric_depth_are_refused(transformers: ModuleType, monkeypatch: pytest.MonkeyPatch):
    for key, value in (("depth_estimation_type", "metric"), ("model_type", "zoedepth")):
        monkeypatch.setattr(Brightness, "config", SimpleNamespace(**{key: value}), raising=False)
        with pytest.raises(InputError, match="known gives metric depth, expected one of inverse depth"):
            load_depth_network("known")
    monkeypatch.setattr(Brightness, "config", SimpleNamespace(depth_estimation_type="relative"), raising=False)
    assert callable(load_depth_network("known"))


def test_maps_change_size():
    ramp = np.tile(np.arange(16, dtype=np.float32), (8, 1))
    np.testing.assert_allclose(resize_map(ramp, (4, 8))[:, 1:-1], np.tile(2 * np.arange(1, 7) + 0.5, (4, 1)), atol=1e-4)
    assert resize_map(ramp, (8, 16)) is ramp
