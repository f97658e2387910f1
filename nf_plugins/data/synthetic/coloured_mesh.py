"""A triangle mesh with one colour per vertex, its normals and its view-independent shading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class SurfaceTexture:
    """Colours that are evaluated at points of the surface, finer than its triangles."""

    points: np.ndarray
    """(V, 3) where the vertices are in the texture; interpolated over faces."""
    colors: Callable[[np.ndarray], np.ndarray]
    """Gives the colours (*batch, 3) in [0, 1] of texture points (*batch, 3)."""


@dataclass(frozen=True)
class ColouredMesh:
    """One frame of a moving surface."""

    vertices: np.ndarray
    """(V, 3) float64 positions."""
    faces: np.ndarray
    """(F, 3) int64 vertex indices, counter-clockwise seen from outside."""
    colors: np.ndarray
    """(V, 3) float64 colours in [0, 1]."""
    texture: SurfaceTexture | None = None
    """Gives the colours between vertices, where it is there; without it they are interpolated."""
    brightness: np.ndarray | None = None
    """(V,) what the texture's colours are multiplied with; None is 1. The vertices' own colours hold it already."""


class MovingMesh(Protocol):
    """A sequence of coloured meshes in scene units (inside the unit sphere) and its way back to the data's units."""

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        ...

    @property
    def world_from_scene(self) -> np.ndarray:
        """(4, 4) uniform scale and translation, no rotation: scene coordinates to the data's own (world) units."""
        ...

    @property
    def up(self) -> np.ndarray:
        """(3,) unit vector that points up in the scene."""
        ...

    def mesh_at(self, frame: int) -> ColouredMesh:
        """The mesh of frame 0 ... T-1 with its unshaded texture, in scene units."""
        ...


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine (4, 4) matrix to points (*batch, 3)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3): area-weighted mean of the normals of the adjacent faces; zero for unused vertices."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat_faces = faces.reshape(-1)
    normals = np.stack(
        [np.bincount(flat_faces, np.repeat(face_normals[:, axis], 3), len(vertices)) for axis in range(3)], axis=-1
    )
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)


def shade(mesh: ColouredMesh, up: np.ndarray, ambient: float = 0.6) -> ColouredMesh:
    """Colours under one lamp that is fixed in the scene, high and to the side.

    Wrapped Lambert shading: ``albedo * (ambient + (1 - ambient) * ((1 + n.l) / 2))``. It depends on the position and
    the time, not on the camera, so that a colour field without view directions can represent it exactly.
    """
    side = np.cross(up, [0.36, 0.48, 0.8])
    side = side / np.linalg.norm(side)
    light = 1.2 * up - 0.8 * side - 0.5 * np.cross(side, up)
    light = light / np.linalg.norm(light)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    brightness = ambient + (1.0 - ambient) * 0.5 * (1.0 + normals @ light)
    return replace(mesh, colors=np.clip(mesh.colors * brightness[:, None], 0.0, 1.0), brightness=brightness)


def sample_surface(mesh: ColouredMesh, num_points: int, rng: np.random.Generator) -> np.ndarray:
    """Points (num_points, 3) drawn uniformly by area from the surface."""
    corners = mesh.vertices[mesh.faces]
    doubled_areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    chosen = rng.choice(len(corners), size=num_points, p=doubled_areas / doubled_areas.sum())
    first, second = rng.random((2, num_points, 1))
    # Reflecting the far half of the unit square gives uniform barycentric coordinates.
    outside = first + second > 1.0
    first, second = np.where(outside, 1.0 - first, first), np.where(outside, 1.0 - second, second)
    a, b, c = corners[chosen, 0], corners[chosen, 1], corners[chosen, 2]
    return a + first * (b - a) + second * (c - a)
