"""OpenCV's lens distortion as nerfstudio stores it: k1, k2, k3, k4 (radial) and p1, p2 (tangential).

nerfstudio takes it away from pixels when it makes rays. These functions put it on points that are projected, and take
it away in double precision where more than rays depends on it.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNDISTORTION_STEPS = 60
UNDISTORTION_TOLERANCE = 1e-11
"""On the plane at depth 1; times a focal length of thousands of pixels still no error that counts."""


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


def undistort(points: Tensor, distortion_params: Tensor) -> tuple[Tensor, Tensor]:
    """What a lens images at the given points: the inverse of :func:`distort`, by Newton's method with damping.

    Args:
        points: ``(*batch, 2)``, on the plane at depth 1 as the lens images them.
        distortion_params: ``(6,)``: k1, k2, k3, k4, p1, p2.

    Returns:
        The points without distortion ``(*batch, 2)``, and where they were found ``(*batch)``, bool. Both are computed
        in float64. Beyond the rim of what the distortion describes, where the polynomial folds back, there are none;
        what stands there instead is finite.
    """
    params, targets = distortion_params.double(), points.reshape(-1, 2).double()
    limit = largest_squared_radius(params)
    # Within the rim the lens is one to one, so no step may lead out of it.
    radii = targets.norm(dim=-1, keepdim=True)
    found = targets * (0.9 * limit**0.5 / radii.clamp(min=1e-12)).clamp(max=1.0)
    residuals = distort(found, params) - targets
    damping = torch.ones(len(targets), dtype=torch.float64, device=targets.device)
    for _ in range(UNDISTORTION_STEPS):
        open_ = torch.nonzero(residuals.norm(dim=-1) > UNDISTORTION_TOLERANCE)[:, 0]
        if not len(open_):
            break
        before, error = found[open_], residuals[open_]
        candidates = before - damping[open_, None] * _newton_step(before, error, params)
        new_error = distort(candidates, params) - targets[open_]
        better = (new_error.norm(dim=-1) < error.norm(dim=-1)) & (candidates.square().sum(-1) < limit)
        found[open_] = torch.where(better[:, None], candidates, before)
        residuals[open_] = torch.where(better[:, None], new_error, error)
        damping[open_] = torch.where(better, (2 * damping[open_]).clamp(max=1.0), damping[open_] / 2)
    tolerance = UNDISTORTION_TOLERANCE + 1e-14 * radii[:, 0]
    converged = (residuals.norm(dim=-1) <= tolerance) & (found.square().sum(-1) < limit)
    converged &= _determinant(_jacobian(found, params)) > 0
    return found.reshape(points.shape), converged.reshape(points.shape[:-1])


def _newton_step(points: Tensor, errors: Tensor, params: Tensor) -> Tensor:
    """The Jacobian's inverse times the errors ``(R, 2)``."""
    xx, xy, yy = _jacobian(points, params)
    x, y = errors.unbind(-1)
    return torch.stack([yy * x - xy * y, xx * y - xy * x], dim=-1) / _determinant((xx, xy, yy))[:, None]


def _jacobian(points: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of :func:`distort` at points ``(R, 2)``: of x by x, of either by the other, of y by y."""
    k1, k2, k3, k4, p1, p2 = params.unbind(-1)
    x, y = points.unbind(-1)
    squared = x * x + y * y
    radial = 1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4)))
    slope = 2 * (k1 + squared * (2 * k2 + squared * (3 * k3 + squared * 4 * k4)))
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
    yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
    return xx, slope * x * y + 2 * p1 * x + 2 * p2 * y, yy


def _determinant(jacobian: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    xx, xy, yy = jacobian
    return xx * yy - xy * xy


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
