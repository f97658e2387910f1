import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.field_heads import FieldHeadNames

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.hyper_coordinates import EncodedTime
from nf_plugins.field_components.sdf_network import SDFNetwork
from nf_plugins.fields.temporal_sdf_field import TemporalSDFField, TemporalSDFFieldConfig

PUBLISHED_RESIDUAL = (1, 2, 3, 4, 5, 6, 7)


def published_field(residual_layers: tuple[int, ...], num_frames: int = 100) -> TemporalSDFField:
    torch.manual_seed(0)
    config = TemporalSDFFieldConfig(residual_layers=residual_layers)
    hyper = EncodedTime(num_frames, config.num_time_frequencies)
    return config.setup(frame_times=torch.linspace(0, 1, num_frames), hyper=hyper)


@pytest.mark.parametrize(("layers", "count"), [((), 149_201), (PUBLISHED_RESIDUAL, 1_236_521)])
def test_published_parameter_counts(layers: tuple[int, ...], count: int) -> None:
    assert sum(parameter.numel() for parameter in published_field(layers).parameters()) == count


def test_published_layer_shapes() -> None:
    shapes = [tuple(layer.weight.shape) for layer in published_field(()).sdf_network.layers]
    assert shapes == [(128, 52), (128, 128), (128, 128), (76, 128), *[(128, 128)] * 4, (129, 128)]


def test_starts_as_a_sphere_at_every_time() -> None:
    field = published_field(PUBLISHED_RESIDUAL)
    field.alpha.zero_()
    directions = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    radii = torch.linspace(0.02, 1.2, 60)
    points = (directions[:, None] * radii[:, None]).reshape(1, -1, 3)
    for frame in (0, 50, 99):
        signed_distance, _ = field.geometry(points, FrameBatch.from_ids(torch.tensor([frame])))
        inside = (signed_distance.view(500, 60) < 0).float()
        radius = (inside.cumprod(1).sum(1) * (radii[1] - radii[0])).mean().item()
        assert 0.3 < radius < 0.65


def test_other_input_columns_start_at_zero() -> None:
    network = SDFNetwork(39, 13)
    assert not network.layers[0].weight[:, 3:].any()
    assert not network.layers[4].weight[:, 76 + 3 :].any() and network.layers[4].weight[:, :79].any()


def test_gradient_of_the_distance_is_correct_and_twice_differentiable() -> None:
    config = TemporalSDFFieldConfig(num_layers=3, hidden_dim=64, skip_layer=2, feature_dim=4, residual_layers=(1, 2))
    field = config.setup(frame_times=torch.linspace(0, 1, 3), hyper=EncodedTime(3, 2)).double()
    frames = FrameBatch(torch.tensor([0, 2]), torch.tensor([0.0, 2.0], dtype=torch.float64))
    points = torch.rand(2, 5, 3, dtype=torch.float64)
    _, _, gradient = field.geometry_with_gradient(points.clone(), frames, create_graph=True)
    step = 1e-5
    for axis in range(3):
        offset = torch.zeros(3, dtype=torch.float64)
        offset[axis] = step
        difference = field.geometry(points + offset, frames)[0] - field.geometry(points - offset, frames)[0]
        assert torch.allclose(gradient[..., axis], difference[..., 0] / (2 * step), atol=1e-6)
    ((gradient.norm(dim=-1) - 1) ** 2).mean().backward()
    layer = field.sdf_network.layers[1]
    assert layer.basis.grad.abs().sum() > 0 and layer.coefficients.grad.abs().sum() > 0


def test_too_narrow_a_network_is_named() -> None:
    with pytest.raises(InputError, match="hidden-dim 32"):
        SDFNetwork(39, 13, hidden_dim=32)


def test_two_frames_differ_through_residuals_and_through_time() -> None:
    points = torch.rand(2, 5, 3)
    points[1] = points[0]
    for layers in ((), PUBLISHED_RESIDUAL):
        field = published_field(layers)
        torch.nn.init.normal_(field.sdf_network.layers[0].weight, std=0.1)
        first, second = field.geometry(points, FrameBatch.from_ids(torch.tensor([3, 60])))[0]
        assert not torch.allclose(first, second, atol=1e-4)


def test_the_nerfstudio_interface_equals_grouped_evaluation() -> None:
    field = published_field(PUBLISHED_RESIDUAL, num_frames=5)
    bundle = RayBundle(
        origins=torch.rand(6, 3) - 0.5,
        directions=torch.nn.functional.normalize(torch.randn(6, 3), dim=-1),
        pixel_area=torch.ones(6, 1),
        times=torch.tensor([0.0, 0.5, 0.5, 1.0, 0.25, 0.5])[:, None],
    )
    edges = torch.linspace(0, 1, 4).expand(6, 4)[..., None]
    samples = bundle.get_ray_samples(edges[:, :-1], edges[:, 1:])
    outputs = field(samples)
    for ray in range(6):
        frames = FrameBatch.from_times(bundle.times[ray], field.frame_times)
        signed_distance, feature = field.geometry(samples.frustums.get_positions()[ray : ray + 1], frames)
        assert torch.allclose(outputs[FieldHeadNames.DENSITY][ray], field.density(signed_distance)[0], atol=1e-5)
        assert torch.allclose(outputs[FieldHeadNames.RGB][ray], field.color(feature)[0], atol=1e-5)


def test_marching_cubes_of_the_host_need_a_default_time() -> None:
    field = published_field(())
    with pytest.raises(InputError, match="default-time"):
        field.forward_geonetwork(torch.zeros(2, 3))
    field.default_time = 0.5
    assert field.forward_geonetwork(torch.zeros(2, 3)).shape == (2, 129)


@pytest.mark.parametrize("factorisation", ["none", "cp", "loe", "vm_attention", "vm_noweight", "resnet"])
def test_every_factorisation_reaches_the_distance_network(factorisation: str) -> None:
    config = TemporalSDFFieldConfig(
        num_layers=3, hidden_dim=32, feature_dim=8, skip_layer=2, residual_layers=(1, 2), residual_rank=3,
        residual_factorisation=factorisation, num_position_frequencies=2,
    )  # fmt: skip
    field = config.setup(frame_times=torch.linspace(0, 1, 5))
    frames = FrameBatch.from_ids(torch.tensor([0, 3]))
    points = torch.rand(2, 6, 3) - 0.5
    torch.cat(field.geometry_with_gradient(points, frames, create_graph=True), -1).square().sum().backward()
    residuals = [p for name, p in field.sdf_network.named_parameters() if name.split(".")[-1] not in ("weight", "bias")]
    assert residuals
    for parameter in residuals:
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_ranks_may_differ_between_layers_and_none_may_be_zero() -> None:
    sizes = {"num_layers": 3, "hidden_dim": 64, "skip_layer": 2, "num_position_frequencies": 2}
    field = TemporalSDFFieldConfig(residual_layers=(1, 2), residual_rank=(3, 5), **sizes).setup(
        frame_times=torch.linspace(0, 1, 4)
    )
    assert [len(field.sdf_network.layers[layer].basis) for layer in (1, 2)] == [3, 5]
    for layers, rank, message in (
        ((1, 2), 0, "take the layer out"),
        ((1, 1), 3, "twice"),
        ((1, 2), (1, 2, 3), "one per"),
    ):
        with pytest.raises(InputError, match=message):
            TemporalSDFFieldConfig(residual_layers=layers, residual_rank=rank, **sizes).setup(
                frame_times=torch.linspace(0, 1, 4)
            )
