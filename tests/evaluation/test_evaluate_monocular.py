"""Protocols of monocular videos: which images, which means, what is written down."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monocular_pipeline import monocular_config, monocular_pipeline
from monocular_scene import write_monocular_scene
from nerfacto_run import nerfacto_config, nerfacto_pipeline
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.evaluation import evaluate_monocular as evaluate_module
from nf_plugins.evaluation.dataset_images import image_identity
from nf_plugins.evaluation.evaluate_monocular import evaluate_monocular, plain_means, protocol_images
from nf_plugins.evaluation.monocular_metrics import MONOCULAR_METRICS


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The NVIDIA Dynamic Scene set's 12 cameras at 24 times, tiny."""
    root = tmp_path_factory.mktemp("scenes") / "rig"
    return write_monocular_scene(root, num_frames=24, height=8, width=10, num_rig_cameras=12, priors=False)


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    """One moving camera, two held-out ones; 5 frames."""
    return write_monocular_scene(tmp_path / "moving", height=12, width=14, priors=False)


def pairs(dataset: Any, num_frames: int) -> list[tuple[int, int]]:
    """Frame and camera of every image."""
    times, cameras = dataset.cameras.times[:, 0], dataset.cameras.metadata["camera_id"][:, 0]
    return [(round(float(t) * (num_frames - 1)), int(c)) for t, c in zip(times, cameras, strict=True)]


def test_264_images_of_the_published_protocol_none_of_them_trained_on(rig: Path) -> None:
    pipeline = monocular_pipeline(monocular_config(rig))
    named, dataset, _ = protocol_images(pipeline.datamanager)
    found = pairs(dataset, 24)
    assert named == "nsff" and len(found) == 24 * 11 == 264
    assert found == [(frame, camera) for frame in range(24) for camera in range(12) if camera != frame % 12]


def test_twelve_images_of_the_first_camera_by_name_or_by_the_runs_option(rig: Path) -> None:
    expected = [(frame, 0) for frame in range(12)]
    by_name = protocol_images(monocular_pipeline(monocular_config(rig)).datamanager, "dynamic-nerf")
    config = monocular_config(rig, eval_protocol="dynamic-nerf")
    pipeline = monocular_pipeline(config)
    of_run = protocol_images(pipeline.datamanager)
    for named, dataset, _ in (by_name, of_run):
        assert named == "dynamic-nerf" and pairs(dataset, 24) == expected
    result = evaluate_monocular(pipeline, config, 3)
    protocol = result["protocol"]
    assert result["num_images"] == protocol["num_images"] == 12 and result["num_trained_on"] == 1
    assert protocol["name"] == "dynamic-nerf" and protocol["filmed_by"] == "cameras in turns"
    assert protocol["eight_bits"] is True and "DynamicNeRF" in protocol["protocol_note"]


@pytest.mark.parametrize(
    ("trained_with", "protocol", "num_trained_on"),
    [
        ("training-frames", "nsff", 0),
        ("training-frames", "dynamic-nerf", 1),
        ("held-out-frames", "nsff", 0),
        ("held-out-frames", "dynamic-nerf", 0),  # frame 0 is held out
        ("nsff", "dynamic-nerf", 1),
    ],
)
def test_what_a_rig_was_trained_on_does_not_depend_on_the_protocol_that_it_was_trained_with(
    rig: Path, trained_with: Any, protocol: Any, num_trained_on: int
) -> None:
    config = monocular_config(rig, eval_protocol=trained_with)
    _, dataset, trained = protocol_images(monocular_pipeline(config).datamanager, protocol)
    identities = (image_identity(dataset, index) for index in range(len(dataset)))
    found = [(i["camera_id"], round(i["time"] or 0.0, 6)) in trained for i in identities]
    assert sum(found) == num_trained_on and len(trained) == (24 - 3 if trained_with == "held-out-frames" else 24)


def test_metrics_of_a_known_error(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = monocular_config(moving)
    pipeline = monocular_pipeline(config)
    for name in ("00001/cam01.png", "00004/cam02.png"):
        Image.fromarray(np.zeros((12, 14), dtype=np.uint8)).save(moving / "mv_masks" / name)
    dataset = protocol_images(pipeline.datamanager).dataset
    truths = iter([dataset[index]["image"] for index in range(len(dataset))])
    masks = iter([dataset[index]["motion_mask"] for index in range(len(dataset))])

    def almost_right(camera: Any) -> dict[str, torch.Tensor]:
        truth = next(truths)
        error = torch.where(next(masks) > 0, 0.2, 0.1)
        return {"rgb": torch.where(truth > 0.5, truth - error, truth + error)}

    monkeypatch.setattr(pipeline.model, "get_outputs_for_camera", almost_right)
    result = evaluate_monocular(pipeline, config, 7)
    assert result["num_images"] == 10 and result["num_trained_on"] == 0 and result["num_empty_masks"] == 2
    assert result["mean"]["psnr_dynamic"] == pytest.approx(-20 * np.log10(0.2), abs=1e-4)
    assert result["images"][2]["psnr"] == pytest.approx(20, abs=1e-4)  # nothing moves in it
    assert result["images"][2]["psnr_dynamic"] is None
    assert result["mean"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in result["images"]]))
    assert result["mean"]["lpips"] is None and result["not_finite"] == {}
    assert result["protocol"]["filmed_by"] == "one moving camera" and result["protocol"]["eight_bits"] is False
    json.dumps(result, allow_nan=False)


def test_a_stride_is_named_and_the_mode_restored(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_module, "flow_accuracy", lambda pipeline, stride: {"image_stride": stride})
    config = monocular_config(moving)
    pipeline = monocular_pipeline(config).train()
    result = evaluate_monocular(pipeline, config, 7, image_stride=4)
    assert pipeline.training and result["num_images"] == 3
    assert result["protocol"]["image_stride"] == 4 and result["protocol"]["num_images"] == 3
    assert result["optical_flow"] == {"image_stride": 4}


def test_means_leave_out_what_is_not_finite() -> None:
    rows = [dict.fromkeys(MONOCULAR_METRICS, value) for value in (1.0, float("inf"), None, 4.0)]
    assert set(plain_means(rows).values()) == {2.5}


def test_runs_that_no_protocol_fits_are_refused(tmp_path: Path) -> None:
    scene = write_monocular_scene(tmp_path / "bare", height=8, width=10, num_held_out=0, priors=False)
    for option in ("training-frames", "held-out-frames"):
        datamanager = monocular_pipeline(monocular_config(scene, eval_protocol=option)).datamanager
        with pytest.raises(InputError, match=f"--eval-protocol {option}.*--protocol nsff or dynamic-nerf"):
            protocol_images(datamanager)
    with pytest.raises(InputError, match="has no mv_images"):
        protocol_images(datamanager, "nsff")
    with pytest.raises(InputError, match="know no protocol of monocular videos"):
        protocol_images(SimpleNamespace(dataparser=SimpleNamespace(config=object())))


def test_a_static_method_of_nerfstudio_is_measured_too(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = nerfacto_config(moving)
    pipeline = nerfacto_pipeline(config, monkeypatch)
    losses = pipeline.get_train_loss_dict(0)[1]
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert "motion_mask" not in pipeline.datamanager.eval_dataset[0]
    result = evaluate_monocular(pipeline, config, 1)
    protocol = result["protocol"]
    assert (protocol["method"], protocol["name"], protocol["mask_source"]) == ("nerfacto", "nsff", "motion masks")
    assert result["num_images"] == 10 and result["num_trained_on"] == result["num_empty_masks"] == 0
    for name in ("psnr", "psnr_dynamic", "ssim_range1", "ssim_range1_dynamic"):
        assert np.isfinite(result["mean"][name])
    monkeypatch.setattr(pipeline.model, "get_outputs_for_camera", lambda camera: {"rgb": torch.full((12, 14, 3), 0.5)})
    dataset = protocol_images(pipeline.datamanager).dataset
    item = dataset[3]
    error = (item["image"] - 0.5).square()[item["motion_mask"][..., 0] > 0].mean()
    found = evaluate_monocular(pipeline, config, 1)["images"][3]
    assert found["psnr_dynamic"] == pytest.approx(float(-10 * error.log10()), abs=1e-4) != found["psnr"]


def test_views_of_another_size_are_no_matter_to_a_run_that_did_not_read_them(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the views of the NVIDIA Dynamic Scene set are larger than the video."""
    for path in [*(moving / "mv_images").rglob("*.png"), *(moving / "mv_masks").rglob("*.png")]:
        with Image.open(path) as image:
            image.resize((42, 36), Image.Resampling.NEAREST).save(path)
    config = nerfacto_config(moving, camera_res_scale_factor=0.5, eval_protocol="training-frames")
    pipeline = nerfacto_pipeline(config, monkeypatch)
    for losses in (pipeline.get_train_loss_dict(0)[1], pipeline.get_eval_loss_dict(0)[1]):
        assert all(bool(loss.isfinite()) for loss in losses.values())
    result = evaluate_monocular(pipeline, config, 1, "nsff")
    assert result["num_images"] == 10 and result["protocol"]["resolution"] == [7, 6]
    assert result["protocol"]["downscale"] == 2 and np.isfinite(result["mean"]["psnr_dynamic"])
