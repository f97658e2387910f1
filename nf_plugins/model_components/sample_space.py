"""The coordinates in which samples of rays are placed and scene flow is measured, and their way to the world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from nf_plugins.model_components.plane_samples import PlaneSamples, plane_parameters

Reach = Literal["distances", "pixels", "unlimited"]
"""How far from the scene world points may lie: so near that their distances mean something; so far that the limit moves
no pixel; anywhere, as published."""

FARTHEST_PARAMETER = 0.995
"""Rendered depths end at 200 times the distance where sampling begins."""


class SampleSpace(ABC):
    """Coordinates that hold the visible world up to infinity in about [-1, 1]^3.

    All rays have a parameter t in [0, 1] from where sampling begins to infinity, which is affine in disparity.
    """

    @abstractmethod
    def least_depth(self, reach: Reach) -> float | None:
        """Depth in front of a camera, scene units, up to which moved points have no pixel; None gives all one."""

    @abstractmethod
    def on_rays(self, origins: Tensor, directions: Tensor, ray_parameters: Tensor) -> PlaneSamples:
        """Samples of world rays ``(R, 3)``, directions of unit length, at parameters ``(R, K)``."""

    @abstractmethod
    def world(self, points: Tensor, reach: Reach) -> Tensor:
        """World points of sample coordinates ``(*batch, 3)``; what lies beyond the limit is brought to it."""

    @abstractmethod
    def distances(self, origins: Tensor, directions: Tensor, ray_parameters: Tensor) -> Tensor:
        """Distance along rays ``(*batch, 3)`` at parameters ``(*batch)``, scene units, at most that at 0.995."""

    @abstractmethod
    def axial_parameter(
        self, ray_parameter: Tensor, weight_sum: Tensor, directions: Tensor, camera_to_world: Tensor
    ) -> Tensor:
        """Rendered parameters in a form that is affine in the inverse of depth along the camera's axis.

        Args:
            ray_parameter: Sum of weights times ray parameters ``(R,)``.
            weight_sum: Sum of weights ``(R,)``.
            directions: Unit directions of the rays in the world ``(R, 3)``.
            camera_to_world: Of the camera that all rays are of, ``(3, 4)``, OpenGL.
        """

    @abstractmethod
    def seen_motion(self, weights: Tensor, samples: PlaneSamples, flow: Tensor, origins: Tensor) -> Tensor:
        """Expected motion in an image ``(R, 2)``, to the right and downwards, in shares of the image's width.

        Args:
            weights: Of the samples ``(R, K)``.
            samples: On R rays.
            flow: Their displacement, sample coordinates ``(R, K, 3)``.
            origins: Of the rays in the world ``(R, 3)``.
        """

    def place_samples(self, origins: Tensor, directions: Tensor, num_samples: int, *, jitter: bool) -> PlaneSamples:
        """Samples of world rays, even in disparity.

        Args:
            origins: ``(R, 3)``, world.
            directions: ``(R, 3)``, world, unit length.
            num_samples: Samples of each ray.
            jitter: See :func:`~nf_plugins.model_components.plane_samples.plane_parameters`.
        """
        return self.on_rays(origins, directions, plane_parameters(len(origins), num_samples, origins, jitter))
