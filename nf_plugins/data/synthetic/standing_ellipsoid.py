"""The simplest subject: an ellipsoid that stands still, whose surface is known in closed form."""

from __future__ import annotations

import numpy as np

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.synthetic.mesh_sequence import position_texture

SEMI_AXES = np.array([0.85, 0.55, 0.45])
"""Scene units, along the columns of ``AXES``."""
_TILT, _TURN = np.deg2rad(25.0), np.deg2rad(40.0)
AXES = np.array(
    [[np.cos(_TURN), -np.sin(_TURN), 0.0], [np.sin(_TURN), np.cos(_TURN), 0.0], [0.0, 0.0, 1.0]]
) @ np.array([[np.cos(_TILT), 0.0, np.sin(_TILT)], [0.0, 1.0, 0.0], [-np.sin(_TILT), 0.0, np.cos(_TILT)]])
"""A rotation: directions of the semi-axes as columns, along no axis of the scene."""
WORLD_FROM_SCENE = np.array(
    [[200.0, 0.0, 0.0, -30.0], [0.0, 200.0, 0.0, 20.0], [0.0, 0.0, 200.0, 640.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Scene coordinates to world units, millimetres as in DTU."""


class StandingEllipsoid:
    """An ellipsoid about the origin: a :class:`coloured_mesh.MovingMesh` of one frame.

    Its mesh's vertices lie on the surface; between them the faces are up to 3e-4 scene units below it.
    """

    num_frames = 1

    def __init__(self) -> None:
        self.world_from_scene = WORLD_FROM_SCENE.copy()
        self.up = np.array([0.0, 0.0, 1.0])

    def mesh_at(self, frame: int) -> ColouredMesh:
        """The mesh, whatever the frame, in scene units."""
        import trimesh

        ball = trimesh.creation.icosphere(subdivisions=5)
        vertices = np.asarray(ball.vertices) * SEMI_AXES @ AXES.T
        return ColouredMesh(vertices, np.asarray(ball.faces, dtype=np.int64), position_texture(vertices))


def implicit_value(points: np.ndarray) -> np.ndarray:
    """Below 0 inside, 0 on the surface, above outside: points (N, 3) in scene units to (N,)."""
    return np.linalg.norm(points @ AXES / SEMI_AXES, axis=-1) - 1.0
