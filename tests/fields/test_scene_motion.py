"""The six methods as parts: published sizes, start state, what reaches which part."""

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.fields.scene_motion import SceneMotionConfig, build_scene_motion
from nf_plugins.fields.temporal_sdf_field import TemporalSDFField, TemporalSDFFieldConfig

KINDS = ("tnerf", "dynerf", "dnerf", "nerfies", "hypernerf", "ndr")


def published_field(kind: str, residual: bool = True, **options: object) -> TemporalSDFField:
    torch.manual_seed(0)
    networks = TemporalSDFFieldConfig(**({} if residual else {"residual_layers": ()}), **options)  # type: ignore
    motion = build_scene_motion(SceneMotionConfig(kind), 100, networks.num_time_frequencies)  # type: ignore
    return networks.setup(frame_times=torch.linspace(0, 1, 100), **motion._asdict())


@pytest.mark.parametrize(
    ("kind", "plain", "with_residuals", "inputs", "before_skip"),
    [
        ("tnerf", 149_201, 1_236_521, 52, 76),
        ("dynerf", 155_550, 1_177_590, 103, 25),
        ("dnerf", 266_337, 1_370_297, 39, 89),
        ("nerfies", 298_468, 1_402_428, 39, 89),
        ("hypernerf", 327_653, 1_398_333, 65, 63),
        ("ndr", 264_491, 1_335_171, 65, 63),
    ],
)
def test_published_sizes(kind: str, plain: int, with_residuals: int, inputs: int, before_skip: int) -> None:
    for residual, expected in ((False, plain), (True, with_residuals)):
        field = published_field(kind, residual)
        assert sum(parameter.numel() for parameter in field.parameters()) == expected
        assert field.sdf_network.layers[0].in_features == inputs
        assert field.sdf_network.layers[3].out_features == before_skip


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_a_sphere_for_every_method(kind: str) -> None:
    field = published_field(kind)
    field.alpha.fill_(0.0)
    directions = torch.nn.functional.normalize(torch.randn(1, 200, 3), dim=-1)
    frames = FrameBatch.from_ids(torch.tensor([30]))
    with torch.no_grad():
        centre = field.geometry(torch.zeros(1, 1, 3), frames)[0]
        outside = field.geometry(1.5 * directions, frames)[0]
    assert float(centre) < 0
    assert float(outside.min()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_distance_is_that_of_finite_differences(kind: str) -> None:
    field = published_field(kind).double()
    frames = FrameBatch.from_ids(torch.tensor([0, 99]))
    points = torch.rand(2, 4, 3, dtype=torch.float64) - 0.5
    _, _, gradient = field.geometry_with_gradient(points.clone(), frames, create_graph=False)
    step = 1e-6
    for axis in range(3):
        offset = torch.zeros(3, dtype=torch.float64)
        offset[axis] = step
        with torch.no_grad():
            ahead, behind = field.geometry(points + offset, frames)[0], field.geometry(points - offset, frames)[0]
        torch.testing.assert_close(gradient[..., axis], ((ahead - behind) / (2 * step))[..., 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_time_matters_after_the_start(kind: str) -> None:
    field = published_field(kind, residual=False)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        points = torch.rand(1, 50, 3) - 0.5
        first, last = (field.geometry(points, FrameBatch.from_ids(torch.tensor([f])))[0] for f in (0, 99))
    assert not torch.allclose(first, last)


def test_jacobian_of_a_warp() -> None:
    field = published_field("ndr").double()
    frames = FrameBatch.from_ids(torch.tensor([1, 2]))
    points = torch.rand(2, 3, 3, dtype=torch.float64)
    identity = torch.eye(3, dtype=torch.float64).expand(2, 3, 3, 3)
    torch.testing.assert_close(field.warp_jacobian(points, frames), identity)
    with pytest.raises(ValueError, match="no warp"):
        published_field("tnerf").warp_jacobian(points.float(), frames)


def test_plain_density_is_the_negated_output_and_has_no_width() -> None:
    field = published_field("tnerf", density="relu")
    distance = torch.tensor([-0.5, 0.0, 0.3])
    assert field.density(distance).tolist() == [0.5, 0.0, 0.0]
    assert field.laplace_density is None


def test_code_between_frames_is_reached_by_the_time_between() -> None:
    field = published_field("dynerf", residual=False)
    times = torch.tensor([0.25 / 99])
    frames = FrameBatch.from_times(times, field.frame_times)
    codes = field.motion_context(frames).codes
    assert codes is not None and field.codes is not None
    torch.testing.assert_close(codes[0], 0.75 * field.codes.weight[0] + 0.25 * field.codes.weight[1])


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="ambient-hidden-dim 32"):
        build_scene_motion(SceneMotionConfig("ndr", ambient_hidden_dim=32), 10, 6)
    with pytest.raises(InputError, match="warp-layers 0"):
        build_scene_motion(SceneMotionConfig("dnerf", warp_layers=0), 10, 6)
