"""The built-in monocular scene: a textured ball that travels, spins and swells, and the static room around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh

UP = np.array([0.0, 1.0, 0.0])
RADIUS = 0.38
"""Scene units."""
FLOOR, WALL = -1.1, -2.2
"""y of the floor and z of the wall behind the subject, scene units."""
BEND = 0.6
"""Radius of the rounded corner between them."""
ROOM_CELLS = (320, 320)
"""Across and along the room's profile."""


class TravellingBall:
    """A :class:`coloured_mesh.MovingMesh` inside the unit sphere whose faces stay and whose texture sticks.

    It goes from the left to the right in an arc, spins about a tilted axis, and is longer along its way by turns, so
    that neither translation nor rotation alone explains its motion.
    """

    def __init__(self, num_frames: int) -> None:
        import trimesh

        ball = trimesh.creation.icosphere(subdivisions=5)
        self.num_frames = num_frames
        self.world_from_scene = np.eye(4)
        self.up = UP.copy()
        self._directions = np.asarray(ball.vertices, dtype=np.float64)
        self._faces = np.asarray(ball.faces, dtype=np.int64)
        self._colors = ball_texture(self._directions)

    def mesh_at(self, frame: int) -> ColouredMesh:
        """The mesh of a frame, its vertices in the same order at all times."""
        time = frame / max(self.num_frames - 1, 1)
        return ColouredMesh(
            self._directions @ _spin(1.6 * time).T * _half_lengths(time) + _centre(time), self._faces, self._colors
        )


def room(camera_distance: float) -> ColouredMesh:
    """A floor that bends up into a wall with a relief, large enough for cameras at a distance that look at it."""
    reach = camera_distance + 4.0
    across, along = np.meshgrid(
        np.linspace(-reach, reach, ROOM_CELLS[0]), np.linspace(0.0, 1.0, ROOM_CELLS[1]), indexing="ij"
    )
    arc = 0.5 * np.pi * BEND
    floor_length = camera_distance + 1.0 - WALL - BEND
    distance = along * (floor_length + arc + reach)
    on_bend = np.clip(distance - floor_length, 0.0, arc) / BEND
    on_wall = np.maximum(distance - floor_length - arc, 0.0)
    z = WALL + BEND + floor_length - np.minimum(distance, floor_length) - BEND * np.sin(on_bend)
    y = FLOOR + BEND * (1 - np.cos(on_bend)) + on_wall
    relief = 0.18 * np.sin(1.9 * across + 0.6) * np.cos(1.4 * y) * np.minimum(on_wall, 1.0)
    vertices = np.stack([across, y, z + relief], axis=-1).reshape(-1, 3)
    return ColouredMesh(vertices, _grid_faces(*ROOM_CELLS), room_texture(across.ravel(), distance.ravel()))


def ball_texture(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (V, 3) in [0, 1] of unit directions (V, 3): warm, so that the ball stands out."""
    x, y, z = directions.T
    stripes = 0.5 + 0.5 * np.sin(9.0 * x + 3.0 * np.sin(4.0 * y))
    spots = 0.5 + 0.5 * np.sin(8.0 * y) * np.cos(8.0 * z)
    return np.stack([0.75 + 0.2 * stripes, 0.2 + 0.55 * spots, 0.1 + 0.25 * stripes * spots], axis=-1)


def room_texture(across: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (V, 3) in [0, 1] by place on the room's surface, scene units: cool, of several scales."""
    coarse = 0.5 + 0.25 * (np.sin(1.7 * across + 0.4) + np.cos(1.3 * along + 0.7 * across))
    middle = 0.5 + 0.5 * np.sin(4.1 * across + 1.9 * np.sin(1.1 * along)) * np.sin(3.7 * along + 0.3)
    fine = 0.5 + 0.5 * np.sin(9.3 * along + 2.0 * np.sin(2.3 * across)) * np.cos(8.1 * across)
    return np.stack([0.1 + 0.35 * middle, 0.2 + 0.4 * coarse + 0.2 * fine, 0.3 + 0.35 * coarse + 0.3 * middle], -1)


def _centre(time: float) -> NDArray[np.float64]:
    return np.array([-0.5 + 1.0 * time, -0.15 + 0.35 * np.sin(np.pi * time), 0.25 * np.cos(np.pi * time)])


def _half_lengths(time: float) -> NDArray[np.float64]:
    stretch = 1.0 + 0.15 * np.sin(2 * np.pi * time)
    return RADIUS * np.array([stretch, 1 / np.sqrt(stretch), 1 / np.sqrt(stretch)])


def _spin(angle: float) -> NDArray[np.float64]:
    """Rotation by an angle (radians) about an axis between up and the viewer."""
    axis = np.array([0.2, 0.9, 0.3]) / np.linalg.norm([0.2, 0.9, 0.3])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Triangles (2 (rows - 1) (columns - 1), 3) of a grid of vertices, row by row."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, below = corner + 1, corner + columns
    return np.concatenate([np.stack([corner, below, right], -1), np.stack([right, below, below + 1], -1)]).astype(
        np.int64
    )
