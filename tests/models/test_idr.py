"""The IDR model on rays towards a ball whose truth is known."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from small_surface import small_surface
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.models.idr import COLLAPSE_STEPS, IDRModel, IDRModelConfig

METADATA = {"fg_mask_filenames": ["mask.png"], "scene_aabb": torch.tensor([[-1.0] * 3, [1.0] * 3])}
NUM_CAMERAS = 4


def small_model(kind: str = "posenc", metadata: dict[str, Any] | None = None, **options: Any) -> IDRModel:
    torch.manual_seed(0)
    field = small_surface(kind, num_layers=3, hidden_dim=96)
    config = IDRModelConfig(sdf_field=field, **options)
    return config.setup(
        scene_box=SceneBox(aabb=METADATA["scene_aabb"]),  # type: ignore[arg-type]
        num_train_data=NUM_CAMERAS,
        metadata={**METADATA, **(metadata or {})},
    )


def rays_towards_origin(num_rays: int = 64, with_mask: bool = True) -> tuple[RayBundle, dict[str, Tensor]]:
    """Rays from distance 3 that pass the origin within 0.9; those within 0.45 are in the mask."""
    generator = torch.Generator().manual_seed(1)
    origins = 3 * torch.nn.functional.normalize(torch.randn(num_rays, 3, generator=generator), dim=-1)
    sideways = torch.linalg.cross(origins, torch.randn(num_rays, 3, generator=generator))
    offset = torch.linspace(0, 0.9, num_rays)[:, None]
    targets = offset * torch.nn.functional.normalize(sideways, dim=-1)
    bundle = RayBundle(
        origins=origins,
        directions=torch.nn.functional.normalize(targets - origins, dim=-1),
        pixel_area=torch.ones(num_rays, 1),
        camera_indices=(torch.arange(num_rays) % NUM_CAMERAS)[:, None],
    )
    mask = (offset < 0.45).float()
    if with_mask:
        bundle.metadata["fg_mask"] = mask
    return bundle, {"image": torch.full((num_rays, 3), 0.3), "fg_mask": mask}


def test_training_outputs_and_losses() -> None:
    model = small_model().train()
    bundle, batch = rays_towards_origin()
    outputs = model(bundle)
    assert bool(outputs["on_surface"].any()) and bool((outputs["on_surface"] <= (batch["fg_mask"][:, 0] > 0.5)).all())
    # 32 random points and 64 of the rays.
    assert outputs["eikonal_gradient"].shape == (96, 3)
    assert bool((outputs["rgb"][~outputs["on_surface"]] == 1).all())
    losses = model.get_loss_dict(outputs, batch)
    assert set(losses) == {"rgb_loss", "eikonal_loss", "mask_loss"}
    sum(losses.values()).backward()  # type: ignore[union-attr]
    gradients = [parameter.grad for parameter in model.field.parameters_of("networks")]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    metrics = model.get_metrics_dict(outputs, batch)
    assert "psnr_fg" in metrics and 0 <= float(metrics["mask_iou"]) <= 1 and bool(metrics["psnr_fg"].isfinite())


def test_the_surface_that_is_hit_is_where_the_distance_is_zero() -> None:
    model = small_model().eval()
    bundle, _ = rays_towards_origin(with_mask=False)
    with torch.no_grad():
        outputs = model(bundle)
    hit = outputs["accumulation"][:, 0] > 0
    assert bool(hit.any()) and not bool(hit.all())
    points = bundle.origins[hit] + outputs["depth"][hit] * bundle.directions[hit]
    assert float(model.field.signed_distance(points).abs().max()) < 1e-3
    torch.testing.assert_close(outputs["normal"][hit].norm(dim=-1), torch.ones(int(hit.sum())))
    # The ball faces its cameras.
    assert bool(((outputs["normal"][hit] * bundle.directions[hit]).sum(-1) < 0).all())
    for name in ("depth", "normal"):
        assert float(outputs[name][~hit].abs().max()) == 0
    assert bool((outputs["rgb"][~hit] == 1).all()) and list(outputs)[0] == "rgb"


def test_evaluation_batches_have_the_colour_loss() -> None:
    model = small_model().eval()
    bundle, batch = rays_towards_origin()
    with torch.no_grad():
        outputs = model(bundle)
    losses = model.get_loss_dict(outputs, batch)
    counted = (outputs["accumulation"][:, 0] > 0) & (batch["fg_mask"][:, 0] > 0.5)
    expected = 2 * (outputs["rgb"] - batch["image"])[counted].abs().sum() / len(counted)
    assert list(losses) == ["rgb_loss"] and float(losses["rgb_loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_distances_keep_their_dependence_on_the_cameras() -> None:
    """One pass serves eikonal term and distances: its derivative by the camera must be that of a second pass."""
    model = small_model(camera_optimizer=CameraOptimizerConfig(mode="SO3xR3", trans_l2_penalty=0, rot_l2_penalty=0))
    model.train()
    bundle, batch = rays_towards_origin(16)
    torch.manual_seed(5)
    outputs = model(bundle)
    pose = model.camera_optimizer.pose_adjustment
    (found,) = torch.autograd.grad(outputs["signed_distance"].sum(), pose, retain_graph=True)
    rays, _ = rays_towards_origin(16)
    rays = model.refined_rays(rays)
    # Silhouette points are looked for at random places.
    torch.manual_seed(5)
    again = model.trace(rays.origins, rays.directions, batch["fg_mask"][:, 0] > 0.5).distance[:, None]
    (expected,) = torch.autograd.grad(model.field.signed_distance(rays.origins + again * rays.directions).sum(), pose)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    losses = model.get_loss_dict(outputs, batch)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert pose.grad is not None and float(pose.grad.abs().sum(0).min()) > 0


def test_a_step_of_colour_towards_the_image_helps() -> None:
    model = small_model().train()
    bundle, batch = rays_towards_origin()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        fresh, _ = rays_towards_origin()
        losses = model.get_loss_dict(model(fresh), batch)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        values.append({name: float(loss) for name, loss in losses.items()})
    assert sum(values[-1].values()) < 0.7 * sum(values[0].values())


def test_masks_are_needed() -> None:
    model = small_model(metadata={"fg_mask_filenames": None, "dataparser_name": "some-data"})
    with pytest.raises(InputError, match="needs foreground masks .* some-data .* dtu-data.* Or train hashmod-neus"):
        model.get_training_callbacks(None)  # type: ignore[arg-type]


def test_masks_must_travel_with_the_rays() -> None:
    bundle, _ = rays_towards_origin(8, with_mask=False)
    with pytest.raises(InputError, match="ray-metadata-keys fg_mask"):
        small_model().train()(bundle)


def test_moving_scenes_are_refused() -> None:
    model = small_model(metadata={"frame_times": torch.tensor([0.0, 1.0]), "dataparser_name": "owlii-data"})
    with pytest.raises(InputError, match="stands still.*owlii-data has 2 times.*resfields-tnerf"):
        model.get_training_callbacks(None)  # type: ignore[arg-type]


def test_mixed_precision() -> None:
    model = small_model("hash").train()
    bundle, batch = rays_towards_origin(32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.get_loss_dict(model(bundle), batch)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        model.eval()
        with torch.no_grad():
            outputs = model(rays_towards_origin(32, with_mask=False)[0])
    assert outputs["rgb"].dtype == torch.float32 and bool(outputs["rgb"].isfinite().all())


@pytest.mark.parametrize(("kind", "other"), [("posenc", "fourier"), ("hash", "nffb"), ("nffb", "stylemod-nffb")])
def test_checkpoints_of_another_encoding_are_refused(kind: str, other: str) -> None:
    with pytest.raises(InputError, match="another method or size.*encoding"):
        small_model(kind).load_state_dict(small_model(other).state_dict())


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("posenc", "max_octave", 3.5),
        ("hash", "bound", 0.7),
        ("hash", "interpolation", "smoothstep"),
        ("nffb", "nffb_frequency", 30.0),
    ],
)
def test_so_are_those_whose_encoding_means_something_else(kind: str, option: str, value: Any) -> None:
    model, other = small_model(kind), small_model(kind)
    encoding = replace(model.config.sdf_field.encoding, **{option: value})
    other.config = replace(other.config, sdf_field=replace(other.config.sdf_field, encoding=encoding))
    with pytest.raises(InputError, match=f"encoding.{option} = {value}"):
        model.load_state_dict(other.state_dict())


def test_checkpoint_round_trip() -> None:
    model, fresh = small_model("hash"), small_model("hash")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    points = torch.rand(5, 3)
    torch.testing.assert_close(fresh.field.signed_distance(points), model.field.signed_distance(points))


def test_refined_cameras_agree_with_refined_rays() -> None:
    model = small_model(camera_optimizer=CameraOptimizerConfig(mode="SO3xR3", trans_l2_penalty=0, rot_l2_penalty=0))
    with torch.no_grad():
        model.camera_optimizer.pose_adjustment.normal_(std=0.1)
    poses = torch.eye(4)[:3].repeat(NUM_CAMERAS, 1, 1)
    poses[:, :, 3] = torch.randn(NUM_CAMERAS, 3)
    cameras = Cameras(poses, fx=20.0, fy=20.0, cx=8.0, cy=8.0, width=16, height=16)
    refined = model.refined_cameras(cameras)
    assert torch.equal(cameras.camera_to_worlds, poses)
    model.train()
    for index in range(NUM_CAMERAS):
        coordinates = torch.tensor([[3.5, 7.5], [12.5, 1.5]])
        bundle = cameras.generate_rays(torch.full((2, 1), index), coordinates)
        expected = model.refined_rays(bundle)
        found = refined.generate_rays(torch.full((2, 1), index), coordinates)
        torch.testing.assert_close(found.origins, expected.origins)
        torch.testing.assert_close(found.directions, expected.directions)
    assert small_model().refined_cameras(cameras) is cameras


def test_sharpness_follows_the_step_alone() -> None:
    model = small_model(mask_alpha_milestones=(10, 20))
    values = []
    for step in (0, 9, 10, 25):
        model.update_to_step(step)
        values.append(model.mask_alpha)
    assert values == [50, 50, 100, 200]


def test_a_lost_surface_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model().train()
    with torch.no_grad():
        model.field.geometry_network.layers[-1].bias += 10  # type: ignore[union-attr,operator]
    bundle, batch = rays_towards_origin(8)
    outputs = model(bundle)
    assert not bool(outputs["on_surface"].any())
    losses = model.get_loss_dict(outputs, batch)
    # The silhouettes still pull.
    assert float(losses["rgb_loss"]) == 0 and float(losses["mask_loss"]) > 0
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for _ in range(COLLAPSE_STEPS):
        model._tell_of_collapse(False)
    assert capsys.readouterr().out.count("No ray within a mask") == 1


def test_curvature_with_both_kinds_of_gradient() -> None:
    for gradient in ("analytic", "numerical"):
        model = small_model(loss_coefficients={"rgb": 1.0, "eikonal": 0.1, "mask": 100.0, "curvature": 1e-3})
        model.field.config.gradient = gradient  # type: ignore[assignment]
        model.train()
        bundle, batch = rays_towards_origin(16)
        losses = model.get_loss_dict(model(bundle), batch)
        assert float(losses["curvature_loss"].detach()) > 0


def test_exported_surface_ends_at_the_sphere() -> None:
    model = small_model()
    surface = model.surface_at(0.5)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.9, 0.9]])
    distances = surface.signed_distance(points)
    assert float(distances[0]) < 0 and float(distances[1]) >= 0.9 * 3**0.5 - 1 - 1e-6
    assert surface.color(points).shape == (2, 3)
