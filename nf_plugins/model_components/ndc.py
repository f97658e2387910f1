"""Normalised device coordinates of forward-facing scenes, and pixels of world points.

Coordinates as in the appendix of NeRF (Mildenhall et al., ECCV 2020): the viewing frustum of a camera at the world's
origin that looks along -z becomes the cube [-1, 1]^3. The near plane z = -near becomes z' = -1 and infinity z' = 1. A
ray in these coordinates starts on the near plane with the parameter t = 0 and ends at infinity with t = 1, for all
cameras alike, so that samples with the same t lie on one plane of constant world z: t = 1 - near / depth, which is
affine in disparity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nf_plugins.model_components.plane_samples import PlaneSamples, sample_lengths
from nf_plugins.model_components.sample_space import FARTHEST_PARAMETER, Reach, SampleSpace

SAFE_DEPTHS = (-1.0, 0.99)
"""Range of z' whose inverse is in front of the camera: from the near plane to 200 times its distance, for losses."""

RENDERING_DEPTHS = (-1.0, 0.9999)
"""To 20000 times its distance, so far that the camera's own place does not move what is there in the image."""

DEPTH_LIMITS: dict[Reach, tuple[float, float] | None] = {
    "distances": SAFE_DEPTHS,
    "pixels": RENDERING_DEPTHS,
    "unlimited": None,
}
"""Range that z' is clamped to."""

LEAST_DEPTH = 1e-3
"""Depth in front of a camera up to which points have no pixel, in units of the near plane's distance."""
LEAST_SLOPE = 1e-3
"""Least component along -z of a unit ray that normalised device coordinates still hold."""

INVERSE_OFFSET = 1e-6
"""Keeps the inverse finite at z' = 1, where it would be infinitely far (as in the published code)."""


@dataclass(frozen=True)
class NDCFrame(SampleSpace):
    """The frustum that becomes the cube: one for all cameras of a scene, and the coordinates in the cube.

    What looks sideways or back (a camera that was turned round in the viewer) meets no plane: such rays see nothing.
    """

    height: int
    """Rows of the images."""
    width: int
    """Columns of the images."""
    focal: float
    """Focal length in pixels."""
    near: float = 1.0
    """Distance of the near plane from the world's origin, scene units."""

    def intrinsics(self, like: Tensor) -> Tensor:
        """``(fx, fy, cx, cy)`` in pixels ``(4,)`` with the principal point in the middle of the image."""
        return like.new_tensor([self.focal, self.focal, self.width / 2, self.height / 2])

    def scales(self, like: Tensor) -> Tensor:
        """Cube units per unit of the quotients ``x / depth`` and ``y / depth``, ``(2,)``."""
        return like.new_tensor([2 * self.focal / self.width, 2 * self.focal / self.height])

    def least_depth(self, reach: Reach) -> float | None:
        """A thousandth of the near plane's distance: a camera may have moved past points of the cube."""
        return None if reach == "unlimited" else LEAST_DEPTH * self.near

    def on_rays(self, origins: Tensor, directions: Tensor, ray_parameters: Tensor) -> PlaneSamples:
        """Samples whose intervals have their lengths in the cube; 0 where they lie behind their own camera."""
        possible, ahead = forward_directions(directions)
        ndc_origins, ndc_directions = ndc_rays(origins, possible, self)
        points = ndc_origins[:, None] + ray_parameters[..., None] * ndc_directions[:, None]
        # A camera beyond the near plane has planes at its back: z = -near / (1 - t) there.
        before = self.near >= -origins[:, 2:] * (1 - ray_parameters)
        lengths = sample_lengths(ray_parameters, ndc_directions) * (ahead[:, None] & before)
        return PlaneSamples(points, directions, ray_parameters, lengths)

    def world(self, points: Tensor, reach: Reach) -> Tensor:
        """See :func:`world_from_ndc`; unlimited, points beyond infinity come out behind the camera."""
        return world_from_ndc(points, self, DEPTH_LIMITS[reach])

    def distances(self, origins: Tensor, directions: Tensor, ray_parameters: Tensor) -> Tensor:
        """Distance from the origins to the planes of constant depth."""
        ndc_origins, ndc_directions = ndc_rays(origins, forward_directions(directions)[0], self)
        limited = ray_parameters.clamp(0, FARTHEST_PARAMETER)
        points = world_from_ndc(ndc_origins + limited[..., None] * ndc_directions, self)
        return (points - origins).norm(dim=-1)

    def axial_parameter(
        self, ray_parameter: Tensor, weight_sum: Tensor, directions: Tensor, camera_to_world: Tensor
    ) -> Tensor:
        """The parameter itself, which belongs to depth along the average camera's axis."""
        return ray_parameter

    def seen_motion(self, weights: Tensor, samples: PlaneSamples, flow: Tensor, origins: Tensor) -> Tensor:
        """As the average camera sees it."""
        moved = (weights[..., None] * flow).sum(-2)[..., :2]
        # The image is two units wide and two high, and its rows run downwards.
        return moved * moved.new_tensor([0.5, -0.5 * self.height / self.width])


def ndc_rays(origins: Tensor, directions: Tensor, frame: NDCFrame) -> tuple[Tensor, Tensor]:
    """Rays in normalised device coordinates, from the near plane (t = 0) to infinity (t = 1).

    Args:
        origins: ``(*batch, 3)``, world.
        directions: ``(*batch, 3)``, world, any length; z must be negative, rays that look back have no image.
        frame: The frustum.

    Returns:
        Origins with z' = -1 and directions with z' = 2, both ``(*batch, 3)``.
    """
    to_near_plane = -(frame.near + origins[..., 2:]) / directions[..., 2:]
    origins = origins + to_near_plane * directions
    scales = frame.scales(origins)
    origin_slopes = origins[..., :2] / origins[..., 2:]
    direction_slopes = directions[..., :2] / directions[..., 2:]
    inverse_depths = 2 * frame.near / origins[..., 2:]
    return (
        torch.cat([-scales * origin_slopes, 1 + inverse_depths], dim=-1),
        torch.cat([-scales * (direction_slopes - origin_slopes), -inverse_depths], dim=-1),
    )


def forward_directions(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Directions that :func:`ndc_rays` can take, and which were so from the start.

    Args:
        directions: ``(*batch, 3)``, world, unit length.

    Returns:
        The directions, straight ahead in place of those that look sideways or back, ``(*batch, 3)``; and whether a
        direction looks ahead, ``(*batch)``.
    """
    ahead = directions[..., 2] < -LEAST_SLOPE
    return torch.where(ahead[..., None], directions, directions.new_tensor([0.0, 0.0, -1.0])), ahead


def ndc_from_world(points: Tensor, frame: NDCFrame) -> Tensor:
    """World points ``(*batch, 3)`` with negative z in normalised device coordinates, same shape."""
    z = points[..., 2:]
    return torch.cat([-frame.scales(points) * points[..., :2] / z, 1 + 2 * frame.near / z], dim=-1)


def world_from_ndc(points: Tensor, frame: NDCFrame, depth_limits: tuple[float, float] | None = None) -> Tensor:
    """World points of normalised device coordinates.

    Beyond z' = 1 lies the space behind the camera. Points on the far plane (z' = 1 and up to 1e-6 before) come out
    there too, at a great distance, which leaves their pixel as it is. Points that a learned flow pushes across do harm.

    Args:
        points: ``(*batch, 3)``, NDC.
        frame: The frustum.
        depth_limits: Range that z' is clamped to, e.g. ``SAFE_DEPTHS``; None inverts as it is.

    Returns:
        ``(*batch, 3)``, world.
    """
    depth = points[..., 2:]
    if depth_limits is not None:
        depth = depth.clamp(*depth_limits)
    z = 2 * frame.near / (depth - 1 + INVERSE_OFFSET)
    return torch.cat([-points[..., :2] * z / frame.scales(points), z], dim=-1)


def project(
    world_points: Tensor, camera_to_worlds: Tensor, intrinsics: NDCFrame | Tensor, least_depth: float | None = None
) -> Tensor:
    """Pixels of world points.

    Args:
        world_points: ``(*batch, 3)``.
        camera_to_worlds: OpenGL poses ``(*batch, 3 or 4, 4)``; the batch broadcasts.
        intrinsics: ``(fx, fy, cx, cy)`` in pixels ``(*batch, 4)``, which broadcasts; or a frame, whose principal point
            is the middle of the image.
        least_depth: Points that do not lie deeper than this in front of the camera, scene units, have the pixel
            (inf, inf), without gradient. None projects all: points behind the camera come out mirrored at it, points in
            its plane are infinite.

    Returns:
        ``(*batch, 2)``: column and row in the convention of the principal point.
    """
    if isinstance(intrinsics, NDCFrame):
        intrinsics = intrinsics.intrinsics(world_points)
    rotations, centres = camera_to_worlds[..., :3, :3], camera_to_worlds[..., :3, 3]
    in_camera = ((world_points - centres)[..., None, :] @ rotations)[..., 0, :]
    depth = -in_camera[..., 2:]
    ahead = None if least_depth is None else depth > least_depth
    slopes = in_camera[..., :2] / (depth if ahead is None else torch.where(ahead, depth, 1.0))
    signs = slopes.new_tensor([1.0, -1.0])  # rows run downwards
    pixels = signs * intrinsics[..., :2] * slopes + intrinsics[..., 2:]
    return pixels if ahead is None else torch.where(ahead, pixels, torch.inf)
