"""Signed distances of points to a triangle mesh, negative inside, by libigl.

The distance comes from an exact search in a tree of boxes, the sign from the generalised winding number (Jacobson et
al. 2013; fast form: Barill et al. 2018), which counts overlapping parts as one solid and degrades gently where a mesh
has holes. libigl's own combination of both is not used: with the fast winding number it scales the distance by how far
the approximate number is from a whole one, which is off by parts in a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nf_plugins.errors import InputError

SignRule = Literal["closed", "winding"]
"""``closed`` refuses meshes with holes, ``winding`` closes them where the winding number falls to a half."""


@dataclass(frozen=True)
class EdgeReport:
    """What keeps a mesh from having an inside."""

    open_edges: int
    """Edges that belong to an odd number of faces: borders of holes."""
    inconsistent_edges: int
    """Other edges whose faces do not run along it in opposite directions: neighbours that face different sides."""

    @property
    def is_closed(self) -> bool:
        """Whether every face continues at each of its edges, on the same side."""
        return self.open_edges == 0 and self.inconsistent_edges == 0


def check_edges(vertices: np.ndarray, faces: np.ndarray) -> EdgeReport:
    """Count the edges at which a mesh is not closed. Vertices at exactly the same place count as one.

    Args:
        vertices: (V, 3).
        faces: (F, 3) vertex indices.
    """
    _, place = np.unique(vertices, axis=0, return_inverse=True)
    corners = place.reshape(-1)[faces].astype(np.int64)
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    forward = edges[:, 0] < edges[:, 1]
    keys = edges.min(axis=1) * len(vertices) + edges.max(axis=1)
    _, edge, count = np.unique(keys, return_inverse=True, return_counts=True)
    net = np.bincount(edge.reshape(-1), np.where(forward, 1, -1))
    is_open = count % 2 == 1
    return EdgeReport(int(is_open.sum()), int((~is_open & (net != 0)).sum()))


def require_closed(vertices: np.ndarray, faces: np.ndarray, name: str) -> None:
    """The mesh has an inside.

    Raises:
        InputError: It has holes, or neighbouring faces are oriented differently; the sentence names it as ``name``.
    """
    report = check_edges(vertices, faces)
    if report.is_closed:
        return
    problems = []
    if report.open_edges:
        problems.append(f"{report.open_edges} open edges")
    if report.inconsistent_edges:
        problems.append(f"{report.inconsistent_edges} edges between faces that face different sides")
    raise InputError(
        f"{name} is not watertight ({' and '.join(problems)}), so it has no inside and no signed distance: close it, "
        "or give --sign winding, which takes the generalised winding number and closes holes by it."
    )


class MeshSignedDistance:
    """Signed distance to one mesh, in its own units. A mesh that is oriented inwards is turned.

    Args:
        vertices: (V, 3).
        faces: (F, 3) vertex indices.
        sign: ``closed`` requires a watertight mesh; ``winding`` takes any. For watertight meshes both give the same.
        name: What error messages call the mesh.

    Raises:
        InputError: The mesh is not watertight and ``sign`` is ``closed``; libigl is not installed.
    """

    def __init__(
        self, vertices: np.ndarray, faces: np.ndarray, sign: SignRule = "closed", name: str = "The mesh"
    ) -> None:
        try:
            import igl
        except ImportError as error:
            raise InputError(
                f"Signed distances need the package libigl, which cannot be imported here ({error}); install it with "
                "`pip install libigl`."
            ) from error
        if sign == "closed":
            require_closed(vertices, faces, name)
        self._vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self._faces = np.ascontiguousarray(faces, dtype=np.int64)
        if _signed_volume(self._vertices, self._faces) < 0:
            self._faces = np.ascontiguousarray(self._faces[:, ::-1])
        self._tree = igl.AABB()
        self._tree.init(self._vertices, self._faces)
        self._winding_number = igl.fast_winding_number

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Signed distances (N,) float64 of points (N, 3)."""
        if len(points) == 0:
            return np.zeros(0)
        points = np.ascontiguousarray(points, dtype=np.float64)
        squared_distance, _, _ = self._tree.squared_distance(self._vertices, self._faces, points)
        inside = np.asarray(self._winding_number(self._vertices, self._faces, points)) > 0.5
        distance = np.sqrt(squared_distance)
        return np.where(inside, -distance, distance)


def _signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Six times the volume between the faces and the mean vertex, negative for faces that look inwards."""
    corners = (vertices - vertices.mean(axis=0))[faces]
    return float(np.einsum("ni,ni->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])))
