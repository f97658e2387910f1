"""Camera rigs around a subject at the origin, and conversions between camera conventions.

Camera-to-world matrices are (4, 4). OpenGL axes (nerfstudio, Blender): x right, y up, the camera looks along -z.
OpenCV axes: x right, y down, the camera looks along +z. Pixel centres lie at half-integers: the first is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera's image size, focal lengths and principal point, in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def matrix(self) -> np.ndarray:
        """The (3, 3) calibration matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def square_intrinsics(resolution: int, field_of_view: float) -> Intrinsics:
    """A square image whose horizontal and vertical opening angle is ``field_of_view`` (radians)."""
    focal = 0.5 * resolution / np.tan(0.5 * field_of_view)
    return Intrinsics(resolution, resolution, focal, focal, 0.5 * resolution, 0.5 * resolution)


def swap_opengl_opencv(camera_to_worlds: np.ndarray) -> np.ndarray:
    """Camera-to-world (*batch, 4, 4) from OpenGL to OpenCV axes, or back: the same operation."""
    return camera_to_worlds * np.array([1.0, -1.0, -1.0, 1.0])


def look_at(position: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """OpenGL camera-to-world (4, 4) of a camera at ``position`` that looks at ``target`` and keeps ``up`` upright."""
    backward = np.asarray(position, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    backward = backward / np.linalg.norm(backward)
    right = np.cross(up, backward)
    right = right / np.linalg.norm(right)
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3] = np.stack([right, np.cross(backward, right), backward], axis=1)
    camera_to_world[:3, 3] = position
    return camera_to_world


def sphere_position(azimuth: float, elevation: float, distance: float, up: np.ndarray) -> np.ndarray:
    """Position (3,) on a sphere around the origin; angles in radians, the elevation counted from the ground plane."""
    up = np.asarray(up, dtype=np.float64)
    first = np.roll(up, 1)  # for an axis-aligned up vector, cyclic neighbours are the other two axes
    first = first - up * (first @ up)
    first = first / np.linalg.norm(first)
    second = np.cross(up, first)
    level = np.cos(azimuth) * first + np.sin(azimuth) * second
    return distance * (np.cos(elevation) * level + np.sin(elevation) * up)


def ring_cameras(
    num_cameras: int,
    distance: float,
    up: np.ndarray,
    start_azimuth: float = 0.0,
    elevations: tuple[float, ...] = (0.1, 0.6),
) -> np.ndarray:
    """Cameras (num_cameras, 4, 4), OpenGL, evenly on a ring, their elevations (radians) taken in turns."""
    return np.stack(
        [
            look_at(
                sphere_position(
                    start_azimuth + 2.0 * np.pi * i / num_cameras, elevations[i % len(elevations)], distance, up
                ),
                np.zeros(3),
                up,
            )
            for i in range(num_cameras)
        ]
    )


def circling_camera(
    num_frames: int, distance: float, up: np.ndarray, start_azimuth: float = 0.0, elevation: float = 0.35
) -> np.ndarray:
    """Poses (num_frames, 4, 4), OpenGL, of one camera that goes once round the subject during the sequence."""
    azimuths = start_azimuth + 2.0 * np.pi * np.arange(num_frames) / num_frames
    return np.stack(
        [look_at(sphere_position(azimuth, elevation, distance, up), np.zeros(3), up) for azimuth in azimuths]
    )


def hemisphere_cameras(num_cameras: int, distance: float, up: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cameras (num_cameras, 4, 4), OpenGL, drawn at random from the upper hemisphere (elevations up to 70 degrees).

    One of them per time is a monocular capture whose camera jumps, as in the D-NeRF scenes.
    """
    azimuths = rng.uniform(0.0, 2.0 * np.pi, num_cameras)
    elevations = np.arcsin(rng.uniform(0.0, np.sin(np.deg2rad(70.0)), num_cameras))
    return np.stack(
        [
            look_at(sphere_position(azimuth, elevation, distance, up), np.zeros(3), up)
            for azimuth, elevation in zip(azimuths, elevations, strict=True)
        ]
    )


def spiral_cameras(
    num_cameras: int,
    distance: float,
    up: np.ndarray,
    start_azimuth: float = 0.0,
    elevations: tuple[float, float] = (-0.35, 1.15),
) -> np.ndarray:
    """Cameras (num_cameras, 4, 4), OpenGL, evenly on the part of a sphere between two elevations (radians).

    They follow a spiral that turns by the golden angle from one to the next and rises by equal heights.
    """
    low, high = np.sin(elevations)
    heights = low + (high - low) * (np.arange(num_cameras) + 0.5) / num_cameras
    azimuths = start_azimuth + np.pi * (3.0 - np.sqrt(5.0)) * np.arange(num_cameras)
    return np.stack(
        [
            look_at(sphere_position(azimuth, elevation, distance, up), np.zeros(3), up)
            for azimuth, elevation in zip(azimuths, np.arcsin(heights), strict=True)
        ]
    )


def swaying_camera(
    camera_to_world: np.ndarray, num_frames: int, sway: float, up: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Poses (num_frames, 4, 4), OpenGL, of a hand-held camera that swings around a place and looks at the origin.

    Args:
        camera_to_world: (4, 4) pose in the middle.
        sway: largest angle to the side, radians, seen from the origin; half of it upwards and downwards.
        rng: draws phases and rates (about one swing during the sequence).
    """
    times = np.linspace(0.0, 1.0, num_frames)
    rates, phases = rng.uniform(0.7, 1.4, 2), rng.random(2)
    sideways, upwards = np.array([[sway], [0.5 * sway]]) * np.sin(
        2 * np.pi * (rates[:, None] * times + phases[:, None])
    )
    position = camera_to_world[:3, 3]
    right = np.cross(up, position)
    right = right / np.linalg.norm(right)
    poses = []
    for side, lift in zip(sideways, upwards, strict=True):
        lifted = np.cos(lift) * position - np.sin(lift) * np.cross(right, position)
        level = (lifted @ up) * up
        turned = level + np.cos(side) * (lifted - level) + np.sin(side) * np.cross(up, lifted)
        poses.append(look_at(turned, np.zeros(3), up))
    return np.stack(poses)
