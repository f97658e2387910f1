"""Where rays cross a sphere about the origin."""

from __future__ import annotations

import torch
from torch import Tensor


def intersect_sphere(origins: Tensor, directions: Tensor, radius: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Interval of each ray that lies in a ball about the scene's origin.

    Args:
        origins: Ray origins ``(*batch, 3)``, scene units; may lie inside the ball.
        directions: Unit directions ``(*batch, 3)``.
        radius: Of the ball, scene units.

    Returns:
        Near and far distance along the ray ``(*batch,)``, both at least 0, and which rays cross the ball, bool
        ``(*batch,)``. Rays that pass it or leave it behind miss: their distances are 0. Those that only touch it fall
        to either side, by rounding.
    """
    along = -(origins * directions).sum(-1)
    discriminant = along.square() - (origins.square().sum(-1) - radius**2)
    half_chord = discriminant.clamp(min=0).sqrt()
    near, far = (along - half_chord).clamp(min=0), (along + half_chord).clamp(min=0)
    hits = (discriminant > 0) & (far > 0)
    nothing = torch.zeros_like(near)
    return torch.where(hits, near, nothing), torch.where(hits, far, nothing), hits
