"""Images that the model renders at and between frames; losses and checkpoints are in test_nsff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monocular_scene import NUM_FRAMES, write_monocular_scene
from nerfstudio.cameras.cameras import CameraType
from nsff_pipeline import make_pipeline, model_of

OUTPUTS = {
    "rgb": 3, "rgb_dynamic": 3, "rgb_static": 3, "depth": 1, "accumulation": 1, "blend_weight": 1, "dynamicness": 1,
    "scene_flow_rgb": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monocular_scene(tmp_path_factory.mktemp("scenes") / "monocular")


def camera_at(pipeline: Any, coordinate: float) -> Any:
    camera = pipeline.datamanager.train_dataset.cameras[0:1]
    camera.times = torch.tensor([[coordinate / (NUM_FRAMES - 1)]])
    return camera


@pytest.fixture
def shown(scene: Path) -> Any:
    """In evaluation, with weights far enough from their start that times differ."""
    pipeline = make_pipeline(scene)
    with torch.no_grad():
        for parameter in model_of(pipeline).field.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    pipeline.eval()
    return pipeline


def test_images_have_all_outputs_without_gradient_and_change_with_time(shown: Any) -> None:
    images = [shown.model.get_outputs_for_camera(camera_at(shown, coordinate)) for coordinate in (1.0, 1.3, 3.0)]
    height, width = shown.datamanager.train_dataset.image_size(0)
    for image in images:
        assert list(image)[0] == "rgb"
        assert {name: value.shape for name, value in image.items()} == {
            name: (height, width, channels) for name, channels in OUTPUTS.items()
        }
        assert all(bool(value.isfinite().all()) and not value.requires_grad for value in image.values())
        assert all(
            float(value.min()) >= 0 and float(value.max()) <= 1.0001 for name, value in image.items() if name != "depth"
        )
    for name in ("rgb", "rgb_dynamic"):
        assert not torch.allclose(images[0][name], images[2][name], atol=1e-4)
    assert torch.equal(images[0]["rgb_static"], images[2]["rgb_static"])


def test_at_a_frame_the_splatted_image_is_the_ordinary_one(shown: Any) -> None:
    model = model_of(shown)
    camera = camera_at(shown, 2.0)
    ordinary = model.get_outputs_for_camera(camera)
    model.between._select(camera)
    view = model.between._look(camera)
    key_time = model.between.key_time(view, 2)
    for name, value in key_time.outputs.items():
        torch.testing.assert_close(value, ordinary[name], atol=1e-6, rtol=1e-5)
    splatted = model.between.composite(view, key_time, None, 0.0)
    torch.testing.assert_close(splatted.rgb, ordinary["rgb"], atol=1e-5, rtol=0)
    torch.testing.assert_close(splatted.accumulation, ordinary["accumulation"][..., 0], atol=1e-5, rtol=0)
    shortly_after = model.get_outputs_for_camera(camera_at(shown, 2.001))["rgb"]
    assert float((shortly_after - ordinary["rgb"]).abs().mean()) < 0.01


def test_slow_motion_renders_every_key_time_once(shown: Any) -> None:
    model = model_of(shown)
    times = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5]
    for time in times:
        image = model.get_outputs_for_camera(camera_at(shown, time))
    assert model.between.num_renders == 4
    alone = make_pipeline(shown.datamanager.config.data)  # type: ignore[arg-type]
    alone.model.load_state_dict(model.state_dict())
    alone.eval()
    torch.testing.assert_close(alone.model.get_outputs_for_camera(camera_at(alone, 2.5))["rgb"], image["rgb"])
    other = camera_at(shown, 2.5)
    other.camera_to_worlds = other.camera_to_worlds + 0.01
    model.get_outputs_for_camera(other)
    assert model.between.num_renders == 6
    with torch.no_grad():
        model.field.scene_flow.bias.add_(0.1)
    model.get_outputs_for_camera(other)
    assert model.between.num_renders == 8
    model.train()
    assert model.between._view is None


def test_the_network_can_be_asked_between_frames(scene: Path) -> None:
    pipeline = make_pipeline(scene, between_frames="network")
    pipeline.eval()
    pipeline.model.get_outputs_for_camera(camera_at(pipeline, 1.5))
    assert model_of(pipeline).between.num_renders == 0


def test_cameras_that_are_no_pinholes_ask_the_network(shown: Any) -> None:
    model = model_of(shown)
    wide, bent, plain = (camera_at(shown, 1.5) for _ in range(3))
    wide.camera_type = torch.full_like(wide.camera_type, CameraType.EQUIRECTANGULAR.value)
    bent.distortion_params = torch.tensor([[0.1, 0, 0, 0, 0, 0]])
    plain.distortion_params = torch.zeros(1, 6)
    for camera in (wide, bent):
        image = model.get_outputs_for_camera(camera)
        assert model.between.num_renders == 0
        assert all(bool(value.isfinite().all()) for value in image.values())
    model.get_outputs_for_camera(plain)
    assert model.between.num_renders == 2


@pytest.mark.parametrize("coordinate", [2.0, 1.5])
def test_rays_that_look_back_see_nothing(shown: Any, coordinate: float) -> None:
    model = model_of(shown)
    camera = camera_at(shown, coordinate)
    # Turned by 60 degrees and very wide: one side of the image looks straight ahead, the other one back.
    angle = torch.tensor(60.0).deg2rad()
    camera.fx, camera.fy = camera.fx / 6, camera.fy / 6
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    camera.camera_to_worlds = torch.cat([turn[None], torch.zeros(1, 3, 1)], dim=-1)
    image = model.get_outputs_for_camera(camera)
    directions = camera.generate_rays(camera_indices=0, keep_shape=True).directions
    back = directions[..., 2] > -1e-3
    assert 0 < int(back.sum()) < back.numel()
    assert all(bool(value.isfinite().all()) for value in image.values())
    assert float(image["accumulation"][~back].max()) > 0
    if coordinate == 2.0:
        for name in ("rgb", "accumulation", "rgb_dynamic", "rgb_static"):
            assert float(image[name][back].abs().max()) == 0, name
    assert float(image["accumulation"][back].median()) == 0 and float(image["rgb"][back].median()) == 0
    # Nor are they pushed into what the others see.
    model.between._select(camera)
    view = model.between._look(camera)
    key_time = model.between.key_time(view, 2)
    splatted = model.between.composite(view, key_time, None, 0.0)
    well_ahead = directions[..., 2] < -0.05
    torch.testing.assert_close(splatted.rgb[well_ahead], key_time.outputs["rgb"][well_ahead], atol=1e-3, rtol=0)


def test_weights_made_in_inference_mode_have_key_times(scene: Path) -> None:
    with torch.inference_mode():
        pipeline = make_pipeline(scene)
    pipeline.eval()
    assert next(pipeline.model.parameters()).is_inference()
    for time in (1.25, 1.5):
        pipeline.model.get_outputs_for_camera(camera_at(pipeline, time))
    assert model_of(pipeline).between.num_renders == 2
