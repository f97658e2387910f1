"""OpenCV's lens distortion as nerfstudio stores it: k1, k2, k3, k4 (radial) and p1, p2 (tangential).

nerfstudio takes it away from pixels when it makes rays. These functions put it on points that are projected.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distort(points: Tensor, distortion_params: Tensor) -> Tensor:
    """Where a lens images points, on the plane at depth 1 (x right, y down).

    Args:
        points: ``(*batch, 2)``, ``x / z`` and ``y / z``.
        distortion_params: ``(6,)``: k1, k2, k3, k4, p1, p2.

    Returns:
        ``(*batch, 2)``; times the focal lengths plus the principal point they are pixels.
    """
    k1, k2, k3, k4, p1, p2 = distortion_params.unbind(-1)
    x, y = points.unbind(-1)
    squared = x * x + y * y
    radial = 1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4)))
    cross = 2 * x * y
    return torch.stack(
        [x * radial + p1 * cross + p2 * (squared + 2 * x * x), y * radial + p2 * cross + p1 * (squared + 2 * y * y)],
        dim=-1,
    )


def largest_squared_radius(distortion_params: Tensor) -> float:
    """Up to which ``x**2 + y**2`` the radial part grows outwards.

    Further out the polynomial folds back and would image points far outside the field of view into the picture.

    Args:
        distortion_params: ``(6,)``.

    Returns:
        Smallest positive root of the derivative of ``r (1 + k1 r^2 + ...)`` in ``r^2``; infinity when there is none.
    """
    k1, k2, k3, k4 = distortion_params[:4].double().tolist()
    derivative = [9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0]
    while derivative[0] == 0:
        derivative.pop(0)
    degree = len(derivative) - 1
    if degree == 0:
        return float("inf")
    companion = torch.diag(torch.ones(degree - 1, dtype=torch.float64), -1)
    companion[0] = -torch.tensor(derivative[1:], dtype=torch.float64) / derivative[0]
    roots = torch.linalg.eigvals(companion)
    real = roots.real[(roots.imag.abs() < 1e-9 * roots.abs()) & (roots.real > 0)]
    return float(real.min()) if len(real) else float("inf")


def largest_magnification(squared_radius: Tensor, distortion_params: Tensor) -> Tensor:
    """How much larger the lens draws a small piece of the image than a lens without distortion would; an upper bound.

    Args:
        squared_radius: ``(*batch)``, ``x**2 + y**2`` where the piece is.
        distortion_params: ``(6,)``.

    Returns:
        ``(*batch)``, at least 1.
    """
    k1, k2, k3, k4, p1, p2 = distortion_params.abs().unbind(-1)
    radial = squared_radius * (3 * k1 + squared_radius * (5 * k2 + squared_radius * (7 * k3 + squared_radius * 9 * k4)))
    return 1 + radial + 8 * (p1 + p2) * squared_radius.sqrt()
