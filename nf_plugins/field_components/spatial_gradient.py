"""Gradients of a signed distance with respect to the point: by automatic differentiation, or by finite differences.

Finite differences (Li et al., *Neuralangelo*, CVPR 2023, Sec. 3.1) need no second derivatives of the encoding, reach
beyond the grid cell that a point lies in, and give the Laplacian too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Stencil = Literal["axes", "tetrahedron"]
"""``axes``: two points along each axis, six in all; ``tetrahedron``: its four corners, a third less work, but mixed
second derivatives leak into the gradient in proportion to the step."""


class NumericalDerivatives(NamedTuple):
    """What differences of neighbouring values say."""

    gradient: Tensor
    """``(N, 3)``."""
    laplacian: Tensor
    """``(N, 1)``."""


def analytic_gradient(values: Tensor, points: Tensor, *, create_graph: bool) -> Tensor:
    """Gradient ``(N, 3)`` of values ``(N, 1)`` with respect to the points ``(N, 3)`` that they were computed from.

    Args:
        values: One per point, each a function of its own point alone.
        points: They require gradients.
        create_graph: Keep the graph, so that losses of the gradient reach the parameters.
    """
    (gradient,) = torch.autograd.grad(values, points, torch.ones_like(values), create_graph=create_graph)
    return gradient


def numerical_derivatives(
    function: Callable[[Tensor], Tensor], points: Tensor, values: Tensor, step: float, stencil: Stencil = "axes"
) -> NumericalDerivatives:
    """Gradient and Laplacian from values at neighbouring points; with ``axes`` exact for polynomials of second degree.

    Args:
        function: Points ``(M, 3)`` to values ``(M, 1)``.
        points: ``(N, 3)``.
        values: The function at the points ``(N, 1)``.
        step: Distance of the neighbours, in the unit of the points.
        stencil: Which neighbours.
    """
    offsets = stencil_offsets(stencil).to(points)
    neighbours = function((points[:, None] + step * offsets).reshape(-1, 3)).view(len(points), len(offsets))
    # The offsets d sum to 0 and the sum of d d^T is c I: one c inverts both expansions.
    scale = float((offsets**2).sum()) / 3
    gradient = neighbours @ offsets / (scale * step)
    laplacian = 2 * (neighbours.sum(1, keepdim=True) - len(offsets) * values) / (scale * step**2)
    return NumericalDerivatives(gradient, laplacian)


def stencil_offsets(stencil: Stencil) -> Tensor:
    """Unit vectors to the neighbours ``(4 or 6, 3)``."""
    if stencil == "axes":
        return torch.cat([torch.eye(3), -torch.eye(3)])
    corners = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    return corners / 3**0.5
