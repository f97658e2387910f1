"""Photographs of a coloured mesh: colours, foreground mask, ray-distance depth and normals by casting rays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nf_plugins.data.synthetic.cameras import Intrinsics
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, vertex_normals
from nf_plugins.errors import InputError

Projection = Literal["perspective", "orthographic"]


@dataclass(frozen=True)
class RenderedView:
    """One photograph. Where nothing is hit, colour, depth and normal are zero."""

    rgb: np.ndarray
    """(H, W, 3) uint8 colour of the surface, not mixed with any background."""
    alpha: np.ndarray
    """(H, W) float32 in [0, 1]: covered part of the pixel."""
    mask: np.ndarray
    """(H, W) bool: the ray through the pixel centre hits the surface."""
    depth: np.ndarray
    """(H, W) float32 distance along the unit ray through the pixel centre, in the mesh's units; 0 = no surface."""
    normal: np.ndarray
    """(H, W, 3) float32 interpolated unit vertex normal."""


@dataclass(frozen=True)
class _Hits:
    rays: np.ndarray
    faces: np.ndarray
    barycentric: np.ndarray
    distance: np.ndarray


def pixel_rays(
    intrinsics: Intrinsics, camera_to_world: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions (N, 3) of the rays through continuous pixel coordinates (N, 2), x before y.

    Args:
        camera_to_world: (4, 4), OpenGL axes.
    """
    x = (pixels[:, 0] - intrinsics.cx) / intrinsics.fx
    y = (pixels[:, 1] - intrinsics.cy) / intrinsics.fy
    directions = np.stack([x, -y, -np.ones_like(x)], axis=-1) @ camera_to_world[:3, :3].T
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.broadcast_to(camera_to_world[:3, 3], directions.shape).copy(), directions


def orthographic_rays(
    intrinsics: Intrinsics, camera_to_world: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`pixel_rays` without perspective: all rays are parallel, focal lengths are pixels per unit of length."""
    x = (pixels[:, :1] - intrinsics.cx) / intrinsics.fx
    y = (pixels[:, 1:] - intrinsics.cy) / intrinsics.fy
    right, up, backward, position = camera_to_world[:3].T
    return position + x * right - y * up, np.broadcast_to(-backward, (len(pixels), 3)).copy()


RAYS_OF: dict[Projection, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "perspective": pixel_rays,
    "orthographic": orthographic_rays,
}


class MeshRayCaster:
    """Casts rays at one mesh; built once per frame, used for every camera.

    Args:
        mesh: the surface; its colours are drawn as they are (see :func:`coloured_mesh.shade`).

    Raises:
        InputError: the ray backend embreex is not installed.
    """

    def __init__(self, mesh: ColouredMesh) -> None:
        try:
            from trimesh.ray.ray_pyembree import RayMeshIntersector
        except ImportError as error:
            raise InputError(
                f"The ray caster needs the package embreex, which cannot be imported here ({error}); "
                "install it with `pip install embreex`."
            ) from error
        import trimesh

        self.mesh = mesh
        self._normals = vertex_normals(mesh.vertices, mesh.faces)
        self._intersector = RayMeshIntersector(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> _Hits:
        """First hits of rays (N, 3). Distances come from the hit triangle's plane in double precision."""
        first_faces = self._intersector.intersects_first(origins, directions)
        rays = np.flatnonzero(first_faces >= 0)
        faces = first_faces[rays]
        a, b, c = (self.mesh.vertices[self.mesh.faces[faces, corner]] for corner in range(3))
        edge_b, edge_c, offset = b - a, c - a, origins[rays] - a
        # Möller and Trumbore's solution of a + u edge_b + v edge_c = origin + distance * direction.
        p = np.cross(directions[rays], edge_c)
        determinant = (p * edge_b).sum(-1)
        determinant = np.where(np.abs(determinant) < 1e-30, 1e-30, determinant)
        q = np.cross(offset, edge_b)
        u = np.clip((offset * p).sum(-1) / determinant, 0.0, 1.0)
        v = np.clip((directions[rays] * q).sum(-1) / determinant, 0.0, 1.0 - u)
        distance = (edge_c * q).sum(-1) / determinant
        return _Hits(rays, faces, np.stack([1.0 - u - v, u, v], axis=-1), distance)

    def render(
        self,
        intrinsics: Intrinsics,
        camera_to_world: np.ndarray,
        supersampling: int = 2,
        projection: Projection = "perspective",
    ) -> RenderedView:
        """Photograph the mesh.

        Args:
            intrinsics: The camera; without perspective its focal lengths are pixels per unit of length.
            camera_to_world: (4, 4), OpenGL axes.
            supersampling: s x s rays per pixel are averaged for colour and alpha. Mask, depth and normal always come
                from the ray through the pixel centre. Colours are averaged over hits alone.
            projection: Whether rays spread from the camera's place or are parallel.
        """
        rays_through = RAYS_OF[projection]
        height, width = intrinsics.height, intrinsics.width
        rows, columns = np.divmod(np.arange(height * width), width)
        pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
        hits = self.cast(*rays_through(intrinsics, camera_to_world, pixels + 0.5))

        mask = np.zeros(height * width, dtype=bool)
        mask[hits.rays] = True
        depth = np.zeros(height * width, dtype=np.float32)
        depth[hits.rays] = hits.distance
        normal = np.zeros((height * width, 3), dtype=np.float32)
        normals = self._interpolate(self._normals, hits)
        normal[hits.rays] = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)

        color_sum = np.zeros((height * width, 3))
        hit_count = np.zeros(height * width)
        color_sum[hits.rays] = self._colors(hits)
        hit_count[hits.rays] = 1.0
        alpha = hit_count.copy()
        if supersampling > 1:
            near = np.flatnonzero(_grow(mask.reshape(height, width)).reshape(-1))
            steps = (np.arange(supersampling) + 0.5) / supersampling
            shifts = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
            subpixels = (pixels[near, None, :] + shifts).reshape(-1, 2)
            owners = np.repeat(near, len(shifts))
            hits = self.cast(*rays_through(intrinsics, camera_to_world, subpixels))
            colors = self._colors(hits)
            fine_count = np.bincount(owners[hits.rays], minlength=height * width)
            fine_sum = np.stack(
                [np.bincount(owners[hits.rays], colors[:, i], height * width) for i in range(3)], axis=-1
            )
            alpha = fine_count / len(shifts)
            # A pixel whose centre alone is hit keeps the centre's colour.
            color_sum = np.where(fine_count[:, None] > 0, fine_sum, color_sum)
            hit_count = np.where(fine_count > 0, fine_count, hit_count)
        rgb = np.round(255.0 * color_sum / np.maximum(hit_count, 1.0)[:, None]).astype(np.uint8)
        return RenderedView(
            rgb=rgb.reshape(height, width, 3),
            alpha=alpha.astype(np.float32).reshape(height, width),
            mask=mask.reshape(height, width),
            depth=depth.reshape(height, width),
            normal=normal.reshape(height, width, 3),
        )

    def _colors(self, hits: _Hits) -> np.ndarray:
        texture, brightness = self.mesh.texture, self.mesh.brightness
        if texture is None:
            return self._interpolate(self.mesh.colors, hits)
        colors = texture.colors(self._interpolate(texture.points, hits))
        if brightness is None:
            return colors
        return np.clip(colors * self._interpolate(brightness[:, None], hits), 0.0, 1.0)

    def _interpolate(self, per_vertex: np.ndarray, hits: _Hits) -> np.ndarray:
        return (per_vertex[self.mesh.faces[hits.faces]] * hits.barycentric[..., None]).sum(axis=1)


def _grow(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight-neighbourhood."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for row in range(3):
        for column in range(3):
            grown |= padded[row : row + height, column : column + width]
    return grown
