"""A still surface field, as exporters want it."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.fields.surface_field import SurfaceField


class StillSurface:
    """Signed distance and colour of a surface that does not move.

    Args:
        field: The field.
        bounds: Lower and upper corner of the scene ``(2, 3)``, scene units.
        radius: Of the sphere that rays are traced in; beyond it nothing was learnt, so it is outside.
    """

    def __init__(self, field: SurfaceField, bounds: Tensor, radius: float) -> None:
        self.field = field
        self.bounds = bounds
        self.radius = radius

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance ``(N, 1)``, negative inside, at scene points ``(N, 3)``."""
        points = points.to(self.bounds.device)
        from_sphere = points.norm(dim=-1, keepdim=True) - self.radius
        return torch.maximum(self.field.signed_distance(points), from_sphere)

    @torch.no_grad()
    def color(self, points: Tensor) -> Tensor:
        """RGB ``(N, 3)`` in [0, 1] at scene points ``(N, 3)`` on the surface, seen along their normals."""
        points = points.to(self.bounds.device)
        geometry = self.field.geometry_and_gradient(points)
        views = -torch.nn.functional.normalize(geometry.gradient, dim=-1)
        return self.field.color(points, views, geometry.gradient, geometry.feature)
