"""Gradients by automatic differentiation and by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.field_components.spatial_gradient import analytic_gradient, numerical_derivatives, stencil_offsets

MATRIX = torch.tensor([[1.0, 0.3, -0.2], [0.3, -0.5, 0.4], [-0.2, 0.4, 2.0]], dtype=torch.float64)
VECTOR = torch.tensor([0.2, -1.0, 0.5], dtype=torch.float64)


def quadratic(points: Tensor) -> Tensor:
    return (0.5 * (points @ MATRIX * points).sum(-1) + points @ VECTOR + 3)[:, None]


def test_axes_are_exact_for_polynomials_of_second_degree() -> None:
    points = torch.randn(20, 3, dtype=torch.float64)
    derivatives = numerical_derivatives(quadratic, points, quadratic(points), 0.1, "axes")
    torch.testing.assert_close(derivatives.gradient, points @ MATRIX + VECTOR)
    torch.testing.assert_close(derivatives.laplacian, MATRIX.trace().expand(20, 1))


def test_tetrahedron_is_exact_for_planes_and_its_laplacian_for_second_degree() -> None:
    points = torch.randn(20, 3, dtype=torch.float64)
    plane = numerical_derivatives(lambda x: x @ VECTOR[:, None], points, points @ VECTOR[:, None], 0.1, "tetrahedron")
    torch.testing.assert_close(plane.gradient, VECTOR.expand(20, 3))
    curved = numerical_derivatives(quadratic, points, quadratic(points), 0.1, "tetrahedron")
    torch.testing.assert_close(curved.laplacian, MATRIX.trace().expand(20, 1))


@pytest.mark.parametrize(("stencil", "order"), [("axes", 2), ("tetrahedron", 1)])
def test_errors_shrink_with_the_step(stencil: str, order: int) -> None:
    points = torch.randn(50, 3, dtype=torch.float64) + 2

    def function(x: Tensor) -> Tensor:
        return torch.sin(x).prod(-1, keepdim=True)

    exact = points.clone().requires_grad_()
    truth = analytic_gradient(function(exact), exact, create_graph=False)
    errors = [
        (numerical_derivatives(function, points, function(points), step, stencil).gradient - truth).abs().max()  # type: ignore[arg-type]
        for step in (0.02, 0.01)
    ]
    assert float(errors[0] / errors[1]) == pytest.approx(2**order, rel=0.1)


def test_analytic_gradient_keeps_its_graph_when_asked() -> None:
    points = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    gradient = analytic_gradient(quadratic(points), points, create_graph=True)
    torch.testing.assert_close(gradient, points @ MATRIX + VECTOR)
    (second,) = torch.autograd.grad(gradient[:, 0].sum(), points)
    torch.testing.assert_close(second, MATRIX[0].expand(5, 3))


@pytest.mark.parametrize("stencil", ["axes", "tetrahedron"])
def test_neighbours_lie_evenly_around(stencil: str) -> None:
    offsets = stencil_offsets(stencil)  # type: ignore[arg-type]
    torch.testing.assert_close(offsets.sum(0), torch.zeros(3))
    torch.testing.assert_close(offsets.norm(dim=-1), torch.ones(len(offsets)))
    torch.testing.assert_close(offsets.T @ offsets, torch.eye(3) * len(offsets) / 3)
