"""The colours of one surface on another: what changes, what does not, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ball_pipeline import BallPipeline
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.appearance_transfer import appearance_of
from nf_plugins.exporters.rendering import render_frame
from nf_plugins.exporters.trajectories import look_at_pose
from nf_plugins.field_components.view_encoding import ViewEncodingConfig
from nf_plugins.fields.surface_field import SurfaceFieldConfig
from nf_plugins.models.idr import IDRModelConfig
from nf_plugins.models.neus_surface import NeuSSurfaceModelConfig

SMALL = SurfaceFieldConfig(
    num_layers=2, hidden_dim=48, skip_layer=1, feature_dim=8, color_num_layers=1, color_hidden_dim=16
)
METHODS: dict[str, Any] = {
    "idr": IDRModelConfig(sdf_field=SMALL),
    "neus": NeuSSurfaceModelConfig(sdf_field=SMALL, num_samples=8, num_importance_samples=8, num_upsample_steps=1),
}


def pipeline(method: str, seed: int, **field_options: Any) -> Any:
    torch.manual_seed(seed)
    config = replace(METHODS[method], sdf_field=replace(SMALL, **field_options))
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model = config.setup(scene_box=box, num_train_data=1, metadata={}).eval()
    return SimpleNamespace(model=model, device=torch.device("cpu"))


def outputs_of(run: Any) -> dict[str, Tensor]:
    position, up = torch.tensor([0.5, -2.5, 1.0]), torch.tensor([0.0, 0.0, 1.0])
    pose = look_at_pose(position, torch.zeros(3), up)[None]
    camera = Cameras(pose, fx=20.0, fy=20.0, cx=6.0, cy=6.0, width=12, height=12)
    return render_frame(run, camera)


@pytest.mark.parametrize(("geometry", "appearance"), [("idr", "idr"), ("neus", "neus"), ("idr", "neus")])
def test_the_colour_alone_changes_and_comes_back(geometry: str, appearance: str) -> None:
    shape, colours = pipeline(geometry, 1), pipeline(appearance, 2)
    before = outputs_of(shape)
    with appearance_of(colours, shape) as mixed:
        during = outputs_of(mixed)
        vertex_colours = mixed.model.surface_at(0.0).color(torch.eye(3))
    after = outputs_of(shape)
    assert 0.05 < float((before["accumulation"] > 0.5).float().mean()) < 0.95
    assert not torch.equal(during["rgb"], before["rgb"])
    for name in ("depth", "normal", "normal_rgb", "accumulation"):
        assert torch.equal(during[name], before[name]), name
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    assert not torch.equal(vertex_colours, shape.model.surface_at(0.0).color(torch.eye(3)))
    background = before["accumulation"][..., 0] == 0
    assert torch.equal(during["rgb"][background], before["rgb"][background])


def test_colours_are_those_of_the_other_network_at_the_own_surface() -> None:
    shape, colours = pipeline("idr", 1), pipeline("idr", 2, view_encoding=ViewEncodingConfig(kind="sh"))
    points = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.manual_seed(0)), dim=-1) * 0.5
    geometry = shape.model.field.geometry_and_gradient(points)
    arguments = (points, torch.nn.functional.normalize(-points, dim=-1), geometry.gradient, geometry.feature)
    with appearance_of(colours, shape):
        found = shape.model.field.color(*arguments)
    torch.testing.assert_close(found, colours.model.field.color(*arguments))
    assert not torch.allclose(found, shape.model.field.color(*arguments))


def test_an_error_within_leaves_the_geometry_with_its_own_colours() -> None:
    shape = pipeline("idr", 1)
    before = outputs_of(shape)["rgb"]
    with pytest.raises(RuntimeError), appearance_of(pipeline("idr", 2), shape):
        raise RuntimeError
    assert torch.equal(outputs_of(shape)["rgb"], before) and "color" not in vars(shape.model.field)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_dim": 16}, "sdf-field.feature-dim is 8 in runs/a and 16 in runs/b"),
        ({"color_inputs": "no_normal"}, "sdf-field.color-inputs is idr in runs/a and no_normal in runs/b"),
    ],
)
def test_networks_that_do_not_fit_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with (
        pytest.raises(InputError, match=rf"geometry of runs/a .* appearance of runs/b: {message}"),
        appearance_of(pipeline("idr", 2, **options), pipeline("idr", 1), "runs/b", "runs/a"),
    ):
        pass


def test_other_methods_have_no_appearance_to_give() -> None:
    with (
        pytest.raises(InputError, match=r"runs/b is a run of BallModel, expected one whose geometry and colour"),
        appearance_of(BallPipeline(), pipeline("idr", 1), "runs/b", "runs/a"),
    ):
        pass
