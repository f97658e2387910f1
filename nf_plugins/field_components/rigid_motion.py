"""Rotations and rigid motions from their Lie algebras.

Closed forms of the exponential maps of SO(3) and SE(3) (Lynch & Park, *Modern Robotics*, Eqs. 3.51 and 3.88), smooth
and twice differentiable through zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALL_SQUARED_ANGLE = 1e-4
"""Below this the series in the squared angle (radians squared) is exact to double precision and has no 0 / 0."""


def skew_matrix(vector: Tensor) -> Tensor:
    """Matrix ``[w]`` with ``[w] x = w cross x``: ``(*batch, 3)`` to ``(*batch, 3, 3)``."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def angle_functions(squared_angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``sin(a) / a``, ``(1 - cos(a)) / a^2`` and ``(a - sin(a)) / a^3`` of the squared angle, any shape.

    As functions of ``a^2`` all three are smooth at zero, where their series take over.
    """
    is_small = squared_angle < SMALL_SQUARED_ANGLE
    # Both branches are evaluated and differentiated, so each receives only arguments that it can take.
    small = torch.where(is_small, squared_angle, 0.0)
    square = torch.where(is_small, 1.0, squared_angle)
    angle = square.sqrt()
    half_sine = torch.sin(angle / 2)
    return (
        torch.where(is_small, 1 - small / 6 + small**2 / 120 - small**3 / 5040, angle.sin() / angle),
        torch.where(is_small, 0.5 - small / 24 + small**2 / 720 - small**3 / 40320, 2 * half_sine**2 / square),
        torch.where(
            is_small,
            1 / 6 - small / 120 + small**2 / 5040 - small**3 / 362880,
            (angle - angle.sin()) / (angle * square),
        ),
    )


def rotate(rotation_vector: Tensor, points: Tensor) -> Tensor:
    """Rotates points by the rotation of axis-angle vectors (Rodrigues' formula).

    Args:
        rotation_vector: Axis times angle in radians, ``(*batch, 3)``.
        points: ``(*batch, 3)``.
    """
    sine, cosine, _ = angle_functions((rotation_vector**2).sum(-1, keepdim=True))
    once = torch.linalg.cross(rotation_vector, points)
    return points + sine * once + cosine * torch.linalg.cross(rotation_vector, once)


def rotation_matrix(rotation_vector: Tensor) -> Tensor:
    """Exponential of so(3): axis-angle vectors ``(*batch, 3)``, radians, to rotations ``(*batch, 3, 3)``."""
    sine, cosine, _ = angle_functions((rotation_vector**2).sum(-1)[..., None, None])
    skew = skew_matrix(rotation_vector)
    return torch.eye(3, dtype=skew.dtype, device=skew.device) + sine * skew + cosine * skew @ skew


def screw_translation(rotation_vector: Tensor, translation: Tensor) -> Tensor:
    """Translation part of the exponential of a twist: ``(I + (1 - cos a)/a^2 [w] + (a - sin a)/a^3 [w]^2) v``.

    Args:
        rotation_vector: ``w``, ``(*batch, 3)``, radians.
        translation: ``v``, ``(*batch, 3)``.
    """
    _, first, second = angle_functions((rotation_vector**2).sum(-1, keepdim=True))
    once = torch.linalg.cross(rotation_vector, translation)
    return translation + first * once + second * torch.linalg.cross(rotation_vector, once)


def transform(rotation_vector: Tensor, translation: Tensor, points: Tensor) -> Tensor:
    """Moves points by the exponential of the twist ``(w, v)`` of se(3) (Park et al., Nerfies, Eq. 7).

    Args:
        rotation_vector: ``w``, ``(*batch, 3)``, radians.
        translation: ``v``, ``(*batch, 3)``, units of the points.
        points: ``(*batch, 3)``.
    """
    return rotate(rotation_vector, points) + screw_translation(rotation_vector, translation)


def transform_matrix(rotation_vector: Tensor, translation: Tensor) -> Tensor:
    """Exponential of se(3) as homogeneous matrices ``(*batch, 4, 4)``; arguments as in :func:`transform`."""
    top = torch.cat(
        [rotation_matrix(rotation_vector), screw_translation(rotation_vector, translation)[..., None]], dim=-1
    )
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1
    return torch.cat([top, bottom], dim=-2)
