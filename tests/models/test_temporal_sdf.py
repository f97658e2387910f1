"""The temporal signed-distance model: time scale, sizes, loss, pictures, surfaces, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor, nn

from nf_plugins.data.mesh_frames import Mesh, MeshFrames
from nf_plugins.data.mesh_point_sampler import MeshPointSampler, MeshPointSamplerConfig
from nf_plugins.data.point_bundle import point_bundle
from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh import extract_mesh
from nf_plugins.exporters.signed_distance_grid import GridSettings
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.fields.coordinate_field import CoordinateFieldConfig
from nf_plugins.models.temporal_sdf import TemporalSDFModel, TemporalSDFModelConfig, network_time

RADIUS = 0.5
SMALL = CoordinateFieldConfig(hidden_dim=32, num_hidden_layers=3, residual_layers=(1, 2), residual_rank=(3,))


def ball_frames(num_frames: int = 4) -> MeshFrames:
    meshes = []
    for time in np.linspace(0, 1, num_frames):
        ball = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS)
        ball.apply_translation([0.5 * (time - 0.5), 0, 0])
        meshes.append(Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32), "ball"))
    return MeshFrames(tuple(meshes), (False,) * num_frames, np.eye(4))


def metadata(num_frames: int = 4, **more: Any) -> dict[str, Any]:
    times = torch.linspace(0, 1, num_frames)
    frames = ball_frames(min(num_frames, 8))
    return {"frame_times": times, "sequence_times": times, "mesh_sequence": frames, **more}


def make_model(config: TemporalSDFModelConfig | None = None, **given: Any) -> TemporalSDFModel:
    config = config or TemporalSDFModelConfig(field=SMALL)
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return config.setup(scene_box=box, num_train_data=1, metadata={**metadata(), **given})


class BallField(nn.Module):
    """The truth in place of the network: takes (t, x, y, z) as the network does."""

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames

    def forward(self, coordinates: Tensor, frames: FrameBatch) -> Tensor:
        frame = (coordinates[..., :1] / 2 + 0.5) * (self.num_frames + 2)
        centre = 0.5 * (frame / (self.num_frames - 1) - 0.5)
        offset = torch.cat([coordinates[..., 1:2] - centre, coordinates[..., 2:]], -1)
        return offset.norm(dim=-1, keepdim=True) - RADIUS


def true_model(**given: Any) -> TemporalSDFModel:
    model = make_model(**given)
    model.field = BallField(len(model.sequence_times))  # type: ignore[assignment]
    return model.eval()


def camera(time: float, size: int = 40) -> Cameras:
    pose = torch.eye(4)[:3]
    pose[2, 3] = 3.0
    return Cameras(
        camera_to_worlds=pose[None], fx=40.0, fy=40.0, cx=size / 2, cy=size / 2, width=size, height=size,
        times=torch.tensor([[time]]),
    )  # fmt: skip


def test_time_coordinate_is_the_published_one() -> None:
    """Sheet of the method: from -1 at the first frame to (T - 4) / (T + 2) at the last."""
    values = network_time(torch.arange(10.0), 10)
    assert float(values[0]) == -1 and float(values[9]) == pytest.approx((10 - 4) / (10 + 2))
    torch.testing.assert_close(values, 2 * (torch.arange(10.0) / 12 - 0.5))


def test_network_sees_the_true_frame_of_held_out_times() -> None:
    seen: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, coordinates: Tensor, frames: FrameBatch) -> Tensor:
            seen.append(coordinates)
            assert frames.frame_ids.tolist() == [0, 1, 2] and frames.coordinates.tolist() == [0, 0.5, 2]
            return coordinates[..., :1]

    model = make_model(frame_times=torch.tensor([0, 0.5, 1.0]), sequence_times=torch.linspace(0, 1, 5))
    model.field = Recorder()  # type: ignore[assignment]
    points = torch.rand(3, 2, 3)
    model.signed_distance(points, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(seen[0][..., 1:], points)
    torch.testing.assert_close(seen[0][:, 0, 0], 2 * (torch.tensor([0.0, 1, 4]) / 7 - 0.5))


@pytest.mark.parametrize(
    ("width", "rank", "count"),
    [(128, 0, 50_305), (128, 5, 297_565), (128, 40, 2_028_385), (256, 0, 198_913), (256, 10, 2_167_993)],
)
def test_sizes_are_the_published_ones(width: int, rank: int, count: int) -> None:
    field = CoordinateFieldConfig(hidden_dim=width, residual_layers=(1, 2, 3) if rank else (), residual_rank=(rank,))
    model = make_model(TemporalSDFModelConfig(field=field), **metadata(100))
    assert sum(parameter.numel() for parameter in model.get_param_groups()["fields"]) == count


def test_without_coefficients_residual_layers_change_nothing() -> None:
    torch.manual_seed(0)
    model = make_model()
    plain = make_model(TemporalSDFModelConfig(field=CoordinateFieldConfig(
        hidden_dim=32, num_hidden_layers=3, residual_layers=())))  # fmt: skip
    shared = {name: value for name, value in model.field.state_dict().items() if name in plain.field.state_dict()}
    plain.field.load_state_dict(shared)
    points, times = torch.rand(4, 50, 3) * 2 - 1, torch.linspace(0, 1, 4)
    assert not torch.allclose(model.signed_distance(points, times), plain.signed_distance(points, times), atol=1e-4)
    for layer in model.field.modules():
        if isinstance(layer, ResFieldLinear):
            nn.init.zeros_(layer.coefficients)
    torch.testing.assert_close(model.signed_distance(points, times), plain.signed_distance(points, times))


def test_points_in_a_bundle_give_their_distances_and_the_closed_loss() -> None:
    model = true_model()
    points = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0.75, 0, 0], [-0.25, 0, 0]])
    times = torch.tensor([[0.5], [0.5], [1.0], [0.0]])
    outputs = model(point_bundle(points, times))
    torch.testing.assert_close(outputs["signed_distance"], torch.tensor([[-0.5], [0.0], [0.0], [-0.5]]))
    truth = torch.tensor([[-0.5], [0.1], [0.0], [-0.4]])
    losses = model.get_loss_dict(outputs, {"signed_distance": truth})
    assert float(losses["mape_loss"]) == pytest.approx((0.1 / 0.11 + 0.1 / 0.41) / 4)
    metrics = model.get_metrics_dict(outputs, {"signed_distance": truth})
    assert float(metrics["surface_error"]) == pytest.approx(0, abs=1e-7)
    assert float(metrics["distance_error"]) == pytest.approx(0.2 / 3)


@pytest.mark.parametrize("time", [0.0, 0.6])
def test_pictures_show_the_closed_form(time: float) -> None:
    model, view = true_model(), camera(time)
    outputs = model.get_outputs_for_camera(view)
    rays = view.generate_rays(camera_indices=0, keep_shape=True)
    offset = rays.origins - torch.tensor([0.5 * (time - 0.5), 0, 0])
    half_b = (rays.directions * offset).sum(-1, keepdim=True)
    root = half_b.square() - offset.square().sum(-1, keepdim=True) + RADIUS**2
    depth = -half_b - root.clamp(min=0).sqrt()
    normal = (offset + depth * rays.directions) / RADIUS
    hit = outputs["accumulation"] > 0
    clear = root.abs() > 1e-3
    assert torch.equal(hit[clear], (root > 0)[clear]) and 0.05 < hit.float().mean() < 0.5
    inside = hit & clear
    torch.testing.assert_close(outputs["depth"][inside], depth[inside], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        outputs["normal"][inside[..., 0]], normal[inside[..., 0]], atol=2e-3, rtol=0
    )  # single precision at grazing incidence
    expected = torch.where(hit, (outputs["normal"] + 1) / 2, 1.0)
    torch.testing.assert_close(outputs["rgb"], expected)
    assert torch.equal(outputs["rgb"], outputs["normal_rgb"]) and list(outputs)[0] == "rgb"
    assert (outputs["depth"][~hit] == 0).all() and (outputs["normal"][~hit[..., 0]] == 0).all()


def test_rays_of_different_times_in_one_bundle() -> None:
    model = true_model(background_color=torch.zeros(3))
    origins = torch.tensor([[-0.6, 0, 3.0], [-0.6, 0, 3.0], [0.6, 0, 3.0]])
    bundle = RayBundle(
        origins=origins,
        directions=torch.tensor([[0.0, 0, -1]]).expand(3, 3),
        pixel_area=torch.ones(3, 1),
        times=torch.tensor([[0.0], [1.0], [1.0]]),
    )
    outputs = model(bundle)
    assert outputs["accumulation"][:, 0].tolist() == [1, 0, 1]
    assert outputs["rgb"][1].tolist() == [0, 0, 0]
    assert float(outputs["normal"][0, 0]) == pytest.approx(-0.7, abs=1e-3)
    bundle.times = None
    with pytest.raises(InputError, match="carry no time"):
        model(bundle)


def test_surface_is_exported_whole_and_coloured_by_its_normals() -> None:
    surface = true_model().surface_at(1.0)
    mesh = extract_mesh(surface, GridSettings(resolution=32, block_size=4))
    assert mesh.is_watertight
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - [0.25, 0, 0], axis=-1), RADIUS, atol=2e-3)
    expected = ((mesh.vertices - [0.25, 0, 0]) / RADIUS + 1) / 2 * 255
    assert np.abs(mesh.visual.vertex_colors[:, :3] - expected).max() < 2.5  # type: ignore[union-attr]
    low, high = surface.bounds.tolist()
    assert low == pytest.approx([-1.025] * 3) and high == pytest.approx([1.025] * 3)


def test_training_outputs_carry_gradients_and_pictures_none() -> None:
    model = make_model().train()
    outputs = model(point_bundle(torch.rand(8, 3), torch.linspace(0, 1, 4).repeat_interleave(2)[:, None]))
    assert outputs["signed_distance"].requires_grad
    model.get_loss_dict(outputs, {"signed_distance": torch.zeros(8, 1)})["mape_loss"].backward()
    assert all(parameter.grad is not None for parameter in model.get_param_groups()["fields"])
    assert not any(value.requires_grad for value in model.get_outputs_for_camera(camera(0.3)).values())


def test_error_falls_on_a_moving_ball() -> None:
    torch.manual_seed(0)
    sequence = ball_frames()
    model = make_model(TemporalSDFModelConfig(field=replace(SMALL, omega=10.0)), mesh_sequence=sequence).train()
    config = MeshPointSamplerConfig(points_per_step=1024, clip_sdf=0.1, pool_size=1024, refresh_size=512)
    sampler = MeshPointSampler(config, sequence.meshes, "closed", seed=0)
    optimizer = torch.optim.Adam(model.get_param_groups()["fields"], lr=2e-3)
    times = model.frame_times.repeat_interleave(sampler.points_per_frame)[:, None]
    errors = []
    for step in range(150):
        points, distance = sampler.sample(step)
        batch = {"signed_distance": distance.flatten(0, 1)}
        outputs = model(point_bundle(points.flatten(0, 1), times))
        loss = model.get_loss_dict(outputs, batch)["mape_loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(model.get_metrics_dict(outputs, batch)["distance_error"]))
    # Predicting 0 everywhere, which the loss favours at first, would leave the mean distance.
    assert np.mean(errors[-10:]) < 0.7 * float(distance[distance != 0].abs().mean())
    picture = model.eval().get_outputs_for_camera(camera(1.0))["accumulation"]
    truth = true_model().get_outputs_for_camera(camera(1.0))["accumulation"]
    assert float((picture == truth).float().mean()) > 0.9


def test_meshes_are_required_and_other_checkpoints_refused() -> None:
    model = make_model()
    assert model.get_training_callbacks(None) == []  # type: ignore[arg-type]
    without = make_model(mesh_sequence=None, dataparser_name="owlii-data")
    with pytest.raises(InputError, match=r"needs meshes .* owlii-data did not give .*: mesh-sequence-data"):
        without.get_training_callbacks(None)  # type: ignore[arg-type]
    faster = make_model(TemporalSDFModelConfig(field=CoordinateFieldConfig(
        hidden_dim=32, num_hidden_layers=3, residual_layers=(1, 2), residual_rank=(3,), omega=20.0)))  # fmt: skip
    with pytest.raises(InputError, match="omega"):
        faster.load_state_dict(model.state_dict())
    make_model().load_state_dict(model.state_dict())


def test_hash_grid_learns_too() -> None:
    field = CoordinateFieldConfig(
        network="hash_grid", residual_layers=(), hash_num_levels=3, hash_log2_table_size=8, implementation="torch"
    )
    model = make_model(TemporalSDFModelConfig(field=field)).train()
    outputs = model(point_bundle(torch.rand(8, 3) * 2 - 1, torch.linspace(0, 1, 4).repeat_interleave(2)[:, None]))
    outputs["signed_distance"].sum().backward()
    assert any(float(parameter.grad.abs().max()) > 0 for parameter in model.field.parameters())  # type: ignore[union-attr]
    assert model.eval().get_outputs_for_camera(camera(0.5, size=8))["normal"].isfinite().all()
