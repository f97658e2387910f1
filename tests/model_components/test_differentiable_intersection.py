"""Derivatives of traced surface points against those of closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nf_plugins.data.synthetic.analytic_shapes import Torus
from nf_plugins.model_components.differentiable_intersection import differentiable_intersection


def rays(count: int = 24, offset: float = 0.3) -> tuple[Tensor, Tensor]:
    """Origins around (0, 0, -2) and unit directions to places near the origin, float64."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, count, 3, generator=generator, dtype=torch.float64) - 0.5
    origins = torch.tensor([0.0, 0.0, -2.0], dtype=torch.float64) + offset * noise[0]
    return origins, torch.nn.functional.normalize(offset * noise[1] - origins, dim=-1)


def exact_points(origins: Tensor, directions: Tensor, radius: Tensor) -> Tensor:
    """Where lines with directions of any length enter a ball about the origin."""
    squared, mixed = directions.square().sum(-1), (origins * directions).sum(-1)
    root = (mixed.square() - squared * (origins.square().sum(-1) - radius.square())).sqrt()
    return origins - ((mixed + root) / squared)[:, None] * directions


def implicit_points(
    distance_function: Callable[[Tensor], Tensor], origins: Tensor, directions: Tensor, distance: Tensor
) -> Tensor:
    """Surface points as a model makes them: values and gradients at the traced places, then the intersection."""
    points = origins + distance[:, None] * directions
    values = distance_function(points)
    (gradient,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    return differentiable_intersection(origins, directions, distance, values[:, None], gradient)


class ImplicitBall(torch.autograd.Function):
    """Exact points forward and the derivatives of the implicit ones backward, so that differences can check them."""

    @staticmethod
    def forward(ctx: Any, origins: Tensor, directions: Tensor, radius: Tensor) -> Tensor:
        ctx.save_for_backward(origins, directions, radius)
        return exact_points(origins, directions, radius)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            origins, directions, radius = (value.detach().requires_grad_() for value in ctx.saved_tensors)
            with torch.no_grad():
                distance = ((exact_points(origins, directions, radius) - origins) * directions).sum(-1)
                distance = distance / directions.square().sum(-1)
            points = implicit_points(lambda at: at.norm(dim=-1) - radius, origins, directions, distance)
            return torch.autograd.grad(points, [origins, directions, radius], grads[0])


def test_gradcheck_by_radius_camera_centre_and_direction() -> None:
    origins, directions = rays(6)
    radius = torch.tensor(0.5, dtype=torch.float64)
    inputs = [value.requires_grad_() for value in (origins, directions, radius)]
    assert torch.autograd.gradcheck(ImplicitBall.apply, inputs)


def test_closed_forms_on_a_sphere() -> None:
    origins, directions = rays()
    points = exact_points(origins, directions, torch.tensor(0.5).double())
    distance = ((points - origins) * directions).sum(-1)
    origins, radius = origins.requires_grad_(), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    implicit = implicit_points(lambda at: at.norm(dim=-1) - radius, origins, directions, distance)
    torch.testing.assert_close(implicit, points, atol=1e-15, rtol=0)
    assert torch.equal(implicit, origins + distance[:, None] * directions)
    normals = points / 0.5
    slope = (normals * directions).sum(-1)
    for axis in range(3):
        by_centre, by_radius = torch.autograd.grad(implicit[:, axis].sum(), [origins, radius], retain_graph=True)
        expected = torch.eye(3, dtype=torch.float64)[axis] - directions[:, axis, None] * normals / slope[:, None]
        torch.testing.assert_close(by_centre, expected)
        torch.testing.assert_close(by_radius, (directions[:, axis] / slope).sum())
    # Moving the centre slides the point over the surface: never along the normal.
    jacobian = torch.eye(3, dtype=torch.float64) - directions[:, :, None] * normals[:, None] / slope[:, None, None]
    assert (normals[:, None] @ jacobian).abs().max() < 1e-12


def test_derivatives_of_a_torus_are_those_of_finite_differences() -> None:
    origins, directions = rays(offset=0.9)
    torus = Torus(0.5, 0.3)
    hit = torus.entry_distance(origins, directions).isfinite()
    origins, directions = origins[hit], directions[hit]
    assert len(origins) > 8
    distance = torus.entry_distance(origins, directions)
    leaf = origins.clone().requires_grad_()
    implicit = implicit_points(torus.signed_distance, leaf, directions, distance)
    step = 1e-5
    for axis in range(3):
        offset = step * torch.eye(3, dtype=torch.float64)[axis]
        ends = [at + torus.entry_distance(at, directions)[:, None] * directions
                for at in (origins + offset, origins - offset)]  # fmt: skip
        for output in range(3):
            (gradient,) = torch.autograd.grad(implicit[:, output].sum(), leaf, retain_graph=True)
            expected = (ends[0] - ends[1])[:, output] / (2 * step)
            torch.testing.assert_close(gradient[:, axis], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("slope", "used"), [(-1e-6, -1e-2), (1e-6, 1e-2), (0.0, -1e-2), (0.5, 0.5), (-0.3, -0.3)])
def test_grazing_rays_keep_finite_gradients_and_their_sign(slope: float, used: float) -> None:
    value = torch.zeros(1, requires_grad=True)
    directions = torch.tensor([[1.0, 0.0, 0.0]])
    points = differentiable_intersection(
        torch.zeros(1, 3), directions, torch.ones(1), value, torch.tensor([[slope, 1.0, 0.0]])
    )
    assert points.tolist() == [[1, 0, 0]]
    points[0, 0].backward()
    assert value.grad is not None and value.grad.item() == pytest.approx(-1 / used)


def test_traced_distance_and_gradient_are_constants_and_no_rays_are_fine() -> None:
    distance, gradient = torch.ones(2, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    values = torch.zeros(2, 1, requires_grad=True)
    directions = torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 1)
    points = differentiable_intersection(torch.zeros(2, 3), directions, distance, values, gradient)
    grads = torch.autograd.grad(points.sum(), [distance, gradient, values], allow_unused=True)
    assert grads[0] is None and grads[1] is None and (grads[2] == -1).all()
    nothing = torch.zeros(0, 3)
    assert differentiable_intersection(nothing, nothing, nothing[:, 0], nothing[:, :1], nothing).shape == (0, 3)
