"""Solids whose signed distance and whose first point on a ray are both known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nf_plugins.model_components.box_collider import intersect_box

IMAGINARY_TOLERANCE = 1e-7
"""Imaginary part up to which a root counts as real."""


class Shape(Protocol):
    """A solid."""

    def signed_distance(self, points: Tensor) -> Tensor:
        """Euclidean distance to the surface, negative inside: ``(K, 3)`` to ``(K,)``."""
        ...

    def entry_distance(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Distance ``(N,)`` along rays ``(N, 3)``, unit directions, to their first point in the solid, in float64.

        0 for rays that start inside, inf for those that miss.
        """
        ...


@dataclass(frozen=True)
class Sphere:
    """A ball about the origin."""

    radius: float

    def signed_distance(self, points: Tensor) -> Tensor:
        """See :class:`Shape`."""
        return points.norm(dim=-1) - self.radius

    def entry_distance(self, origins: Tensor, directions: Tensor) -> Tensor:
        """See :class:`Shape`."""
        foot, along = _foot(origins, directions)
        squared_half_chord = self.radius**2 - foot.square().sum(-1)
        half_chord = squared_half_chord.clamp(min=0).sqrt()
        missed = (squared_half_chord <= 0) | (along + half_chord <= 0)
        return (along - half_chord).clamp(min=0).masked_fill(missed, torch.inf)


@dataclass(frozen=True)
class Torus:
    """A ring about the z axis."""

    major_radius: float
    minor_radius: float

    def signed_distance(self, points: Tensor) -> Tensor:
        """See :class:`Shape`."""
        return torch.hypot(points[:, :2].norm(dim=-1) - self.major_radius, points[:, 2]) - self.minor_radius

    def entry_distance(self, origins: Tensor, directions: Tensor) -> Tensor:
        """See :class:`Shape`. The surface is where (|p|^2 + R^2 - r^2)^2 = 4 R^2 (x^2 + y^2): four roots on a ray."""
        foot, along = _foot(origins, directions)
        directions = directions.double()
        shift = foot.square().sum(-1) + self.major_radius**2 - self.minor_radius**2
        factor = 4 * self.major_radius**2
        quadratic = 2 * shift - factor * directions[:, :2].square().sum(-1)
        linear = -2 * factor * (foot[:, :2] * directions[:, :2]).sum(-1)
        constant = shift.square() - factor * foot[:, :2].square().sum(-1)
        # The cubic term vanishes when the ray is measured from its foot. Roots are eigenvalues of the companion matrix.
        companion = torch.diag(torch.ones(3, dtype=torch.float64), -1).repeat(len(foot), 1, 1)
        companion[:, :3, 3] = -torch.stack([constant, linear, quadratic], dim=-1)
        roots = torch.linalg.eigvals(companion)
        places = along[:, None] + roots.real
        real = (roots.imag.abs() < IMAGINARY_TOLERANCE) & (places >= 0)
        entry = places.masked_fill(~real, torch.inf).amin(-1)
        return entry.masked_fill(self.signed_distance(origins.double()) <= 0, 0)


@dataclass(frozen=True)
class Box:
    """A box about the origin with its edges along the axes."""

    half_extents: tuple[float, float, float]

    def signed_distance(self, points: Tensor) -> Tensor:
        """See :class:`Shape`."""
        beyond = points.abs() - points.new_tensor(self.half_extents)
        return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)

    def entry_distance(self, origins: Tensor, directions: Tensor) -> Tensor:
        """See :class:`Shape`."""
        corner = torch.tensor(self.half_extents, dtype=torch.float64)
        near, far = intersect_box(origins.double(), directions.double(), torch.stack([-corner, corner]))
        return near.masked_fill(far <= near, torch.inf)[:, 0]


@dataclass(frozen=True)
class Posed:
    """A shape that was turned about the x and then the y axis (radians), and then moved."""

    shape: Shape
    turn: tuple[float, float] = (0.0, 0.0)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def signed_distance(self, points: Tensor) -> Tensor:
        """See :class:`Shape`."""
        return self.shape.signed_distance((points - points.new_tensor(self.centre)) @ self._rotation(points))

    def entry_distance(self, origins: Tensor, directions: Tensor) -> Tensor:
        """See :class:`Shape`."""
        origins, directions = origins.double(), directions.double()
        rotation = self._rotation(origins)
        return self.shape.entry_distance((origins - origins.new_tensor(self.centre)) @ rotation, directions @ rotation)

    def _rotation(self, like: Tensor) -> Tensor:
        generators = torch.zeros(2, 3, 3, dtype=torch.float64)
        generators[0, 2, 1] = generators[1, 0, 2] = 1
        generators = generators - generators.transpose(1, 2)
        about_x, about_y = torch.linalg.matrix_exp(generators * torch.tensor(self.turn).double()[:, None, None])
        return (about_y @ about_x).to(like)


@dataclass(frozen=True)
class Union:
    """Several shapes; inside of overlaps the signed distance is a bound only."""

    shapes: tuple[Shape, ...]

    def signed_distance(self, points: Tensor) -> Tensor:
        """See :class:`Shape`."""
        return torch.stack([shape.signed_distance(points) for shape in self.shapes]).amin(0)

    def entry_distance(self, origins: Tensor, directions: Tensor) -> Tensor:
        """See :class:`Shape`."""
        return torch.stack([shape.entry_distance(origins, directions) for shape in self.shapes]).amin(0)


def pinhole_rays(resolution: int, focal: float, distance: float) -> tuple[Tensor, Tensor]:
    """Rays of a camera on the negative z axis that looks along z, x to the right and y down.

    Args:
        resolution: Pixels of a side; the principal point is pixel (resolution/2, resolution/2), and rays go through
            whole pixel coordinates.
        focal: Focal length, pixels.
        distance: Of the camera from the origin.

    Returns:
        Origins and unit directions ``(resolution^2, 3)``, float64, row by row.
    """
    pixels = (torch.arange(resolution, dtype=torch.float64) - resolution / 2) / focal
    y, x = torch.meshgrid(pixels, pixels, indexing="ij")
    directions = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3), dim=-1)
    return torch.tensor([0.0, 0.0, -distance], dtype=torch.float64).repeat(len(directions), 1), directions


def _foot(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The point of each ray's line nearest to the origin, and its distance along the ray; float64."""
    origins, directions = origins.double(), directions.double()
    along = -(origins * directions).sum(-1)
    return origins + along[:, None] * directions, along
