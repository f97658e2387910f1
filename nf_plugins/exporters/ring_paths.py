"""Paths around a subject: circles and spirals fitted to the ring that a capture's cameras stand on.

Poses are nerfstudio's: camera-to-world (3, 4), x right, y up and the view along -z, in scene units.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.trajectories import distinct_cameras, look_at_point, look_at_pose, perspective_cameras

FLATTEST = 0.5
"""Positions lie in a plane where they reach beyond it by at most this, per their shorter extent within."""
ROUNDEST = 0.25
"""Positions lie on a circle where they miss it by at most this, root mean square, per radius."""
LARGEST_RADIUS = 4.0
"""A circle is believed up to this radius, per mean distance of the cameras from what they look at."""


class CameraRing(NamedTuple):
    """Where the cameras of a capture stand; all float64, scene units."""

    center: Tensor
    """Of the circle (3,)."""
    axis: Tensor
    """Unit normal of its plane (3,), upwards."""
    radius: float
    """Of the circle."""
    height: float
    """Of its plane above what the cameras look at, along the axis."""
    look_at: Tensor
    """The point (3,) nearest to all optical axes."""
    up: Tensor
    """Unit (3,), what is upwards in images; the axis, unless the cameras stand side by side and look along it."""

    def azimuth_axes(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Unit axes (3,) of the plane: towards a position (3,), and a quarter of a turn onwards, to the left of the
        first seen from above."""
        offset = position.to(self.axis) - self.center
        first = offset - (offset @ self.axis) * self.axis
        if float(first.norm()) < 1e-6 * max(self.radius, 1e-6):
            first = torch.linalg.cross(self.axis, torch.eye(3).to(self.axis)[int(self.axis.abs().argmin())])
        first = first / first.norm()
        return first, torch.linalg.cross(self.axis, first)


def fit_ring(cameras: Cameras) -> CameraRing:
    """The ring of the distinct cameras.

    Its axis is the normal of the plane that fits their positions best, its circle the algebraic least-squares one in
    that plane. Positions that lie in no plane (a dome, two cameras) get the mean up direction as axis; positions on no
    circle (a wall of cameras, a short row of them) get one around the point of the plane nearest to what the cameras
    look at, with their mean distance from it.

    Raises:
        InputError: There is one camera only, or all stand at one place.
    """
    poses = distinct_cameras(cameras).camera_to_worlds.double().cpu()
    positions = poses[:, :, 3]
    middle = positions.mean(dim=0)
    offsets = positions - middle
    if len(poses) < 2 or float(offsets.norm(dim=-1).max()) < 1e-9:
        raise InputError(
            "A ring needs cameras at two places, and the split has one: use --path ring, or a camera-path file."
        )
    look_at, mean_up = look_at_point(poses), _unit(poses[:, :, 1].mean(dim=0))
    axis = _plane_normal(offsets, mean_up, backward=_unit(poses[:, :, 2].mean(dim=0)))
    in_plane = offsets - (offsets @ axis)[:, None] * axis
    fitted = _circle(in_plane, axis, distance=float((positions - look_at).norm(dim=-1).mean()))
    if fitted is None:
        towards = look_at - middle
        offset = towards - (towards @ axis) * axis
        fitted = offset, float((in_plane - offset).norm(dim=-1).mean())
    center = middle + fitted[0]
    up = axis if float(axis @ mean_up) > 0.5 else mean_up
    return CameraRing(center, axis, max(fitted[1], 1e-3), float((center - look_at) @ axis), look_at, up)


def circle_cameras(
    ring: CameraRing,
    like: Cameras,
    times: Tensor,
    degrees: tuple[float, float] = (-180.0, 180.0),
    pitch: float = 0.0,
) -> Cameras:
    """A camera on the ring that looks at what all cameras look at.

    Args:
        ring: Where.
        like: One camera, whose intrinsics are taken and whose azimuth is 0 degrees.
        times: (N,); their number is the number of poses.
        degrees: First and last azimuth, counter-clockwise seen from above. A whole number of turns stops one step
            short of its end, so that the video loops.
        pitch: Degrees by which the camera is turned downwards, where it stands.
    """
    return _around(ring, like, times, _angles(degrees, len(times)), pitch=pitch)


def spiral_cameras(
    ring: CameraRing,
    like: Cameras,
    times: Tensor,
    *,
    turns: float = 2.0,
    radius_amplitude: float = 0.2,
    height_amplitude: float = 0.3,
    pitch: float = 0.0,
) -> Cameras:
    """A camera that rises and sinks once while it goes round, and comes nearer in the middle of its way.

    At the part s of the way the radius is R (1 - a (1 - cos 2 pi s) / 2), the height above the ring h R sin 2 pi s.

    Args:
        ring: Where.
        like: One camera, whose intrinsics are taken and at whose azimuth the path begins.
        times: (N,); their number is the number of poses. The last stops one step short of the end, so that the video
            loops where the number of turns is whole.
        turns: How many times round.
        radius_amplitude: a, part of the radius by which it comes nearer.
        height_amplitude: h, part of the radius by which it rises and sinks.
        pitch: See :func:`circle_cameras`.
    """
    part = torch.arange(len(times), dtype=torch.float64) / len(times)
    radii = ring.radius * (1 - radius_amplitude * (1 - torch.cos(2 * math.pi * part)) / 2)
    heights = ring.radius * height_amplitude * torch.sin(2 * math.pi * part)
    return _around(ring, like, times, 2 * math.pi * turns * part, radii=radii, heights=heights, pitch=pitch)


def published_circle(
    center: Tensor,
    radius: float,
    num: int,
    *,
    degrees: tuple[float, float] = (-180.0, 180.0),
    up: Literal["y", "z"] = "z",
    pitch_degrees: float = 15.0,
) -> Tensor:
    """The circle that Im4D (Lin et al., SIGGRAPH Asia 2023) shows its results from.

    Cameras look straight inwards along the plane of the circle and are then pitched where they stand; none is raised.

    Args:
        center: Of the circle (3,), world units.
        radius: World units.
        num: Poses; the first and the last angle are both taken.
        degrees: First and last angle, from x towards y, or with ``up`` y from x towards z.
        up: The world's vertical axis. With y, which points down in such captures, images are upright too.
        pitch_degrees: Downwards.

    Returns:
        World-to-camera matrices (num, 3, 4), OpenCV's axes (x right, y down, z forward), float64.
    """
    angles = torch.deg2rad(torch.linspace(*degrees, num, dtype=torch.float64))
    cosine, sine, zero, one = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles), torch.ones_like(angles)
    if up == "z":
        outwards = torch.stack([cosine, sine, zero], dim=-1)
        right, down = torch.stack([-sine, cosine, zero], dim=-1), torch.stack([zero, zero, -one], dim=-1)
    else:
        outwards = torch.stack([cosine, zero, sine], dim=-1)
        right, down = torch.stack([-sine, zero, cosine], dim=-1), torch.stack([zero, one, zero], dim=-1)
    rotation = _pitched(torch.stack([right, down, -outwards], dim=-2), pitch_degrees)
    positions = center.double() + radius * outwards
    return torch.cat([rotation, -rotation @ positions[..., None]], dim=-1)


def cameras_from_world(
    world_to_cameras: Tensor, like: Cameras, times: Tensor, world_from_scene: Tensor | None = None
) -> Cameras:
    """World-to-camera matrices as cameras of the scene.

    Args:
        world_to_cameras: (N, 3, 4), OpenCV's axes, world units.
        like: One camera, whose intrinsics are taken.
        times: (N,).
        world_from_scene: Similarity (4, 4); None where the world is the scene.
    """
    rotation = world_to_cameras[:, :, :3].double().transpose(-1, -2)
    positions = -rotation @ world_to_cameras[:, :, 3:].double()
    if world_from_scene is not None:
        scene_from_world = torch.linalg.inv(world_from_scene.double().cpu())
        scale = torch.linalg.det(scene_from_world[:3, :3]).abs() ** (1 / 3)
        rotation = scene_from_world[:3, :3] / scale @ rotation
        positions = scene_from_world[:3, :3] @ positions + scene_from_world[:3, 3:]
    poses = torch.cat([rotation * rotation.new_tensor([1.0, -1.0, -1.0]), positions], dim=-1)
    return perspective_cameras(like, poses.float(), times)


def _plane_normal(offsets: Tensor, mean_up: Tensor, backward: Tensor) -> Tensor:
    """Unit normal (3,) of the plane through the origin that fits (N, 3) best; mean up where no plane does.

    It points upwards, or, where up lies in the plane, to where the cameras are seen from behind.
    """
    _, extents, directions = torch.linalg.svd(offsets, full_matrices=True)
    if len(extents) < 3 or float(extents[1]) < 1e-6 * float(extents[0]) or extents[2] > FLATTEST * extents[1]:
        return mean_up
    normal = directions[2]
    direction = mean_up if float((normal @ mean_up).abs()) > 1e-3 else backward
    return -normal if float(normal @ direction) < 0 else normal


def _circle(in_plane: Tensor, axis: Tensor, distance: float) -> tuple[Tensor, float] | None:
    """Centre (3,) and radius of the circle through points (N, 3) of the plane with this normal; None for no circle."""
    if len(in_plane) < 3:
        return None
    first = _unit(torch.linalg.cross(axis, torch.eye(3).to(axis)[int(axis.abs().argmin())]))
    basis = torch.stack([first, torch.linalg.cross(axis, first)])
    flat = in_plane @ basis.T
    system = torch.cat([2 * flat, torch.ones(len(flat), 1).to(flat)], dim=-1)
    # The normal equations' pseudo-inverse also takes points on a line, whose circle is refused below.
    solution = torch.linalg.pinv(system, rtol=1e-9) @ flat.square().sum(dim=-1)
    center = solution[:2]
    radii = (flat - center).norm(dim=-1)
    radius = float(radii.mean())
    if radius > LARGEST_RADIUS * distance or float((radii - radius).square().mean().sqrt()) > ROUNDEST * radius:
        return None
    return center @ basis, radius


def _angles(degrees: tuple[float, float], count: int) -> Tensor:
    """Angles in radians; of a whole number of turns without the last."""
    first, last = math.radians(degrees[0]), math.radians(degrees[1])
    turns = (degrees[1] - degrees[0]) / 360
    if turns != 0 and abs(turns - round(turns)) < 1e-9:
        return torch.linspace(first, last, count + 1, dtype=torch.float64)[:-1]
    return torch.linspace(first, last, count, dtype=torch.float64)


def _around(
    ring: CameraRing,
    like: Cameras,
    times: Tensor,
    angles: Tensor,
    *,
    radii: Tensor | float | None = None,
    heights: Tensor | None = None,
    pitch: float = 0.0,
) -> Cameras:
    towards, onwards = ring.azimuth_axes(like.camera_to_worlds[0, :, 3].double().cpu())
    outwards = torch.cos(angles)[:, None] * towards + torch.sin(angles)[:, None] * onwards
    lengths = torch.as_tensor(ring.radius if radii is None else radii).to(angles).expand(len(angles))
    positions = ring.center + lengths[:, None] * outwards
    if heights is not None:
        positions = positions + heights[:, None] * ring.axis
    poses = torch.stack([look_at_pose(position, ring.look_at, ring.up) for position in positions])
    # Rows of the transposed rotation are the camera's axes in OpenGL, where down is the negative second one.
    flip = poses.new_tensor([1.0, -1.0, -1.0])
    rotation = _pitched((poses[:, :, :3] * flip).transpose(-1, -2), pitch).transpose(-1, -2) * flip
    return perspective_cameras(like[:1], torch.cat([rotation, poses[:, :, 3:]], dim=-1).float(), times)


def _pitched(rotation: Tensor, degrees: float) -> Tensor:
    """World-to-camera rotations (N, 3, 3), OpenCV's axes, turned downwards about the camera's own x."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return rotation.new_tensor([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ rotation


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-12)
