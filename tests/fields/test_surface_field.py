"""The surface field with every encoding."""

from __future__ import annotations

import pytest
import torch
from small_surface import small_surface

from nf_plugins.fields.surface_field import SurfaceField

KINDS = ("posenc", "fourier", "hash", "nffb", "stylemod-nffb")


def small_field(kind: str = "posenc", **options: object) -> SurfaceField:
    torch.manual_seed(0)
    return small_surface(kind, **options).setup()


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_a_sphere_around_the_origin_with_any_encoding(kind: str) -> None:
    field = small_field(kind)
    directions = torch.nn.functional.normalize(torch.randn(32, 3), dim=-1)
    inside, outside = field.signed_distance(0.2 * directions), field.signed_distance(0.9 * directions)
    # Narrow networks start as a lopsided ball.
    assert bool((inside < 0).all()) and float(outside.mean()) > 0.05
    assert bool((outside - inside > 0.2).all())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_matches_differences_once_the_encoding_speaks(kind: str) -> None:
    field = small_field(kind).double()
    with torch.no_grad():
        for layer in field.geometry_network.layers:
            layer.parametrizations.weight.original1 += 0.1 * torch.randn_like(layer.parametrizations.weight.original1)  # type: ignore[union-attr,operator]
        for name, parameter in field.encoding.named_parameters():
            if name.endswith("table"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    points = 0.7 * (2 * torch.rand(10, 3, dtype=torch.float64) - 1)
    gradient = field.geometry_and_gradient(points).gradient
    step = 1e-6
    for axis in range(3):
        offset = step * torch.eye(3, dtype=torch.float64)[axis]
        difference = (field.signed_distance(points + offset) - field.signed_distance(points - offset)) / (2 * step)
        torch.testing.assert_close(gradient[:, axis : axis + 1], difference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_the_gradient_reach_every_parameter_of_the_geometry(kind: str) -> None:
    field = small_field(kind)
    with torch.no_grad():
        for layer in field.geometry_network.layers:
            layer.parametrizations.weight.original1 += 0.01 * torch.randn_like(layer.parametrizations.weight.original1)  # type: ignore[union-attr,operator]
    points = 0.7 * (2 * torch.rand(300, 3) - 1)
    ((field.geometry_and_gradient(points).gradient.norm(dim=-1) - 1) ** 2).mean().backward()
    for name, parameter in field.encoding.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name


def test_no_grad_and_inference_mode_give_the_same_plain_values() -> None:
    field = small_field()
    points = torch.rand(5, 3)
    with_graph = field.geometry_and_gradient(points)
    assert with_graph.gradient.requires_grad
    with torch.no_grad():
        plain = field.geometry_and_gradient(points)
    with torch.inference_mode():
        inferred = field.geometry_and_gradient(points.clone())
    for part in (plain, inferred):
        assert not part.gradient.requires_grad and not part.signed_distance.requires_grad
        torch.testing.assert_close(part.gradient, with_graph.gradient.detach())


def test_numerical_gradients_follow_the_analytic_ones_and_bring_a_laplacian() -> None:
    analytic, numerical = small_field(), small_field(gradient="numerical", numerical_step=1e-3).double()
    points = torch.rand(20, 3, dtype=torch.float64) - 0.5
    truth = analytic.double().geometry_and_gradient(points)
    found = numerical.geometry_and_gradient(points)
    torch.testing.assert_close(found.gradient, truth.gradient, atol=1e-2, rtol=1e-2)
    assert truth.laplacian is None and found.laplacian is not None and found.laplacian.shape == (20, 1)


def test_cached_weights_do_not_change_values() -> None:
    field = small_field()
    points = torch.rand(5, 3)
    expected = field.signed_distance(points)
    with torch.no_grad(), field.cached_weights():
        torch.testing.assert_close(field.signed_distance(points), expected.detach())


def test_export_asks_for_distance_first() -> None:
    field = small_field()
    points = torch.rand(5, 3)
    output = field.forward_geonetwork(points)
    assert output.shape == (5, 17)
    torch.testing.assert_close(output[:, :1], field.signed_distance(points))


def test_colour_sees_the_way_to_the_camera() -> None:
    field = small_field(num_layers=2, skip_layer=1)
    points, views, normals = (
        torch.rand(4, 3),
        torch.nn.functional.normalize(torch.randn(4, 3), dim=-1),
        torch.rand(4, 3),
    )
    feature = torch.rand(4, 16)
    expected = field.color_network(points, field.view_encoding(-views), normals, feature)
    torch.testing.assert_close(field.color(points, views, normals, feature), expected)
