"""Planes of features: published values, counts, borders, gradients."""

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.plane_stack import PlaneStackEncoding
from nf_plugins.fields.plane_density_field import PlaneDensityField, PlaneDensityFieldConfig, world_scale
from nf_plugins.model_components.plane_regularisers import time_plane_deviation, time_smoothness, total_variation


def wavy(shape: torch.Size, offset: float) -> torch.Tensor:
    plane, channel, row, column = torch.meshgrid(*(torch.arange(size).double() for size in shape), indexing="ij")
    return torch.sin(0.1 * plane + 0.2 * channel + 0.03 * row + 0.05 * column + offset).float()


def wavy_planes(reduce="concat") -> PlaneStackEncoding:
    encoding = PlaneStackEncoding((8, 16), 5, 2, reduce=reduce)
    with torch.no_grad():
        for planes in encoding.spatial:
            planes.copy_(wavy(planes.shape, 0.0))
        for planes in encoding.temporal:
            planes.copy_(wavy(planes.shape, 1.0))
    return encoding


def unit(point: tuple[float, float, float]) -> torch.Tensor:
    corner = torch.tensor([1.0, 2.0, 3.0])
    return ((torch.tensor(point) + corner) / (2 * corner))[None]


PUBLISHED = [
    0.293013, 0.477039, 0.362639, 0.540473, 0.529918, 0.687744, 0.950124, 0.992912, 0.953934, 0.994281, 0.994509,
    0.994801, 0.594950, 0.742676, 0.629581, 0.771309, 0.823936, 0.919992, 0.997455, 0.990680, 0.987874, 0.998557,
    0.986314, 0.933984,
]  # fmt: skip


def test_published_values_of_concatenated_planes() -> None:
    features = wavy_planes()(unit((0.25, -0.5, 1.0)), 0.3)
    assert torch.allclose(features[0], torch.tensor(PUBLISHED), atol=2e-6)


def test_points_and_times_outside_read_the_border() -> None:
    encoding = wavy_planes()
    outside = encoding(unit((5.0, 0.0, 0.0)), 1.0)
    assert torch.allclose(outside[0, :4], torch.tensor([0.439413, 0.609091, 0.370763, 0.547791]), atol=2e-6)
    assert torch.equal(encoding(unit((0.2, 0.1, 0.0)), 1.7), encoding(unit((0.2, 0.1, 0.0)), 1.0))
    assert torch.equal(encoding(unit((0.2, 0.1, 0.0)), -0.7), encoding(unit((0.2, 0.1, 0.0)), 0.0))


def test_products_and_sums_are_those_of_the_concatenated_planes() -> None:
    points, times = torch.rand(7, 3), torch.rand(7)
    separate = wavy_planes()(points, times).view(7, 2, 6, 2)
    assert torch.allclose(wavy_planes("product")(points, times), separate.prod(2).flatten(1), atol=1e-6)
    assert torch.allclose(wavy_planes("sum")(points, times), separate.sum(2).flatten(1), atol=1e-6)


def test_time_lines_are_what_points_read() -> None:
    encoding = wavy_planes()
    for time in (0.0, 0.3, 0.5, 1.0):
        lines = encoding.time_lines(time)
        cell = torch.arange(8) / 7
        read = encoding(torch.stack([cell, cell, cell], dim=-1), time)[:, 6:12].view(8, 3, 2)
        assert torch.allclose(read, lines[0].permute(2, 0, 1), atol=1e-6)


def test_initial_values() -> None:
    torch.manual_seed(0)
    concat = PlaneStackEncoding((16,), 4, 3)
    assert concat.spatial[0].abs().max() <= 0.1 and concat.temporal[0].std() > 0.05
    product = PlaneStackEncoding((16,), 4, 3, reduce="product")
    assert (
        product.spatial[0].min() >= 0.1 and product.spatial[0].max() <= 0.15 and bool((product.temporal[0] == 1).all())
    )
    wide = PlaneStackEncoding((16,), 4, 3, reduce="product", spatial_init=(0.1, 0.5))
    assert 0.4 < wide.spatial[0].max() <= 0.5


def test_one_frame_and_bad_sizes() -> None:
    still = PlaneStackEncoding((4,), 1, 2)
    assert torch.equal(still(torch.full((1, 3), 0.5), 0.0), still(torch.full((1, 3), 0.5), 1.0))
    assert time_smoothness(still) == 0 and torch.isfinite(total_variation(still))
    for sizes in ({"scales": ()}, {"temporal_resolution": 0}, {"channels": 0}, {"scales": (8, -1)}):
        with pytest.raises(InputError, match="planes"):
            PlaneStackEncoding(**{"scales": (4,), "temporal_resolution": 2, "channels": 1} | sizes)


def test_published_regularisers() -> None:
    encoding = wavy_planes()
    assert total_variation(encoding).item() == pytest.approx(4.65469e-3, abs=1e-8)
    assert time_smoothness(encoding).item() == pytest.approx(1.52482e-6, rel=1e-3)


def test_variation_without_the_time_axis_does_not_see_changes_in_time() -> None:
    encoding = PlaneStackEncoding((4,), 6, 1)
    with torch.no_grad():
        encoding.spatial[0].zero_()
        encoding.temporal[0].copy_(torch.linspace(0, 1, 6)[:, None].expand(6, 4).expand(3, 1, 6, 4))
    assert total_variation(encoding, space_axis_only=True) == 0
    assert total_variation(encoding).item() == pytest.approx(0.04)
    assert time_smoothness(encoding).item() == pytest.approx(0.0, abs=1e-12)


def test_time_planes_of_a_product_begin_without_deviation() -> None:
    encoding = PlaneStackEncoding((4,), 3, 2, reduce="product")
    assert time_plane_deviation(encoding) == 0
    with torch.no_grad():
        encoding.temporal[0].fill_(1.5)
    assert time_plane_deviation(encoding).item() == pytest.approx(0.5)
    assert time_plane_deviation(encoding, squared=True).item() == pytest.approx(0.25)


def numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_counts() -> None:
    box = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    main = PlaneDensityField(PlaneDensityFieldConfig(temporal_resolution=150), box, 300, 1.0)
    assert numbers(main.encoding) == 23_623_680 and main.encoding.out_dim == 384
    assert numbers(main.network) == 70_081
    del main
    assert numbers(PlaneStackEncoding(temporal_resolution=100)) == 21_319_680
    config = PlaneDensityFieldConfig(scales=(128,), channels=12, temporal_resolution=150)
    proposal = PlaneDensityField(config, box, 300, 1.0)
    assert numbers(proposal.encoding) == 1_281_024 and proposal.encoding.out_dim == 72
    assert numbers(proposal.network) == 30_145


def test_the_density_is_per_metre_and_its_gradient_is_bounded() -> None:
    config = PlaneDensityFieldConfig(scales=(4,), channels=2)
    box = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    field = PlaneDensityField(config, box, 3, 2.5)
    points = torch.rand(5, 3)
    expected = 2.5 * torch.exp(field.raw(points, 0.5) - 1)
    assert torch.allclose(field.density(points, 0.5), expected)
    raw = torch.tensor([[40.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(field.from_raw(raw).sum(), raw)
    assert gradient.item() == pytest.approx(2.5 * torch.exp(torch.tensor(15.0)).item(), rel=1e-5)
    assert field.encoding.temporal_resolution == 3


def test_scale_of_a_similarity() -> None:
    angle = torch.tensor(0.7)
    turned = torch.eye(4)
    turned[:2, :2] = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    turned[:3, :3] *= 1.7
    assert world_scale(turned) == pytest.approx(1.7, rel=1e-6) and world_scale(None) == 1.0
