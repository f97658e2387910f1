"""Contracted space of scenes in which cameras look around.

The contraction (Barron et al., *Mip-NeRF 360*, CVPR 2022) leaves the unit ball as it is and brings all the rest of the
world into the ball of radius 2, distances from the origin linear in their inverse. Unlike normalised device coordinates
it knows no direction in which everything lies, and no plane that all rays must cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nf_plugins.model_components.plane_samples import LAST_LENGTH, PlaneSamples
from nf_plugins.model_components.sample_space import FARTHEST_PARAMETER, Reach, SampleSpace

RADIUS = 2.0
"""Of infinity, contracted; sample coordinates are contracted ones divided by it."""
LEAST_REMAINDER = 1e-6
"""Least 1 - t: the last sample of a ray is a million times as far away as the first, and not infinitely."""
FARTHEST: dict[Reach, float] = {"distances": 200.0, "pixels": 2e4, "unlimited": 1e6}
"""Largest distance from the origin, in radii of the ball that is not contracted. There is nothing beyond infinity, so
that none is unlimited."""
LEAST_DEPTH_SHARE = 0.1
"""Points that moved before a camera, nearer than this part of the distance where sampling begins, have no pixel."""
LEAST_COSINE = 0.1
"""Of the angle between a ray and its camera's axis; inverse depths beyond 84 degrees are not told apart."""
LARGEST_MOTION = 1.0
"""Motion that is shown, in widths of the image."""


def contract(points: Tensor) -> Tensor:
    """World points ``(*batch, 3)`` in the ball of radius 2: x, and ``(2 - 1 / |x|) x / |x|`` where ``|x| > 1``."""
    radii = points.norm(dim=-1, keepdim=True).clamp(min=1)
    return points * ((2 - 1 / radii) / radii)


def uncontract(points: Tensor, farthest: float) -> Tensor:
    """The inverse of :func:`contract`.

    Args:
        points: ``(*batch, 3)``, contracted; anything on or outside the sphere of radius 2 counts as infinitely far.
        farthest: Largest distance of a world point from the origin, at least 1; what is farther is brought there.
    """
    norms = points.norm(dim=-1, keepdim=True).clamp(min=1)
    radii = 1 / (2 - norms.clamp(max=2 - 1 / farthest))
    return points * (radii / norms)


@dataclass(frozen=True)
class ContractedSpace(SampleSpace):
    """Halved contracted space, a ball of radius 1.

    The samples of a camera lie on shells around it, at the distances ``near / (1 - t)``. Flow is a displacement in the
    ball. Lengths of intervals are those between contracted samples, before they are halved: density belongs to a place,
    whichever camera looks at it, and a ray is as long as in normalised device coordinates, about 2.
    """

    near: float
    """Distance from each camera where sampling begins, scene units."""
    focal: float
    """Focal length in widths of the image, for motion that is shown."""

    def least_depth(self, reach: Reach = "pixels") -> float:
        """A part of the distance where sampling begins: flow may carry points behind a camera."""
        return LEAST_DEPTH_SHARE * self.near

    def on_rays(self, origins: Tensor, directions: Tensor, ray_parameters: Tensor) -> PlaneSamples:
        """Samples in all directions alike."""
        distances = self.near / (1 - ray_parameters).clamp(min=LEAST_REMAINDER)
        contracted = contract(origins[:, None] + distances[..., None] * directions[:, None])
        last = torch.full_like(distances[:, :1], LAST_LENGTH)
        lengths = torch.cat([contracted.diff(dim=-2).norm(dim=-1), last], dim=-1)
        return PlaneSamples(contracted / RADIUS, directions, ray_parameters, lengths)

    def world(self, points: Tensor, reach: Reach) -> Tensor:
        """See :func:`uncontract`."""
        return uncontract(RADIUS * points, FARTHEST[reach])

    def distances(self, origins: Tensor, directions: Tensor, ray_parameters: Tensor) -> Tensor:
        """``near / (1 - t)``, wherever the camera is."""
        return self.near / (1 - ray_parameters.clamp(0, FARTHEST_PARAMETER))

    def axial_parameter(
        self, ray_parameter: Tensor, weight_sum: Tensor, directions: Tensor, camera_to_world: Tensor
    ) -> Tensor:
        """Of ``1 - near / depth`` in place of ``1 - near / distance``; what they lack of 1 is proportional on a ray."""
        cosines = -(directions * camera_to_world[:3, 2]).sum(-1)
        return weight_sum - (weight_sum - ray_parameter) / cosines.clamp(min=LEAST_COSINE)

    def seen_motion(self, weights: Tensor, samples: PlaneSamples, flow: Tensor, origins: Tensor) -> Tensor:
        """As a camera sees it that looks along the ray, upright in the scene (y is up)."""
        ahead = samples.view_directions
        right = normalize(torch.linalg.cross(ahead, ahead.new_tensor([0.0, 1.0, 0.0]).expand_as(ahead)), dim=-1)
        down = torch.linalg.cross(ahead, right)
        offsets = self.world(samples.points + flow, "pixels") - origins[:, None]
        axes = torch.stack([right, down, ahead], dim=-2)
        in_camera = (offsets[..., None, :] * axes[:, None]).sum(-1)
        shares = self.focal * in_camera[..., :2] / in_camera[..., 2:].clamp(min=self.least_depth())
        return (weights[..., None] * shares.clamp(-LARGEST_MOTION, LARGEST_MOTION)).sum(-2)
