"""A mesh with cubic cells in a box along the object's principal axes, as IDR extracts it (Yariv et al. 2020).

A coarse mesh says where the object is and how it lies. The fine grid then fits the object and not the scene: a thin,
tilted object gets as many cells across its shortest side as were asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh import mesh_from_grid, vertex_colors, why_empty
from nf_plugins.exporters.signed_distance_grid import GridSettings, signed_distance_grid
from nf_plugins.exporters.surface import SurfaceAtTime

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class PrincipalAxesSettings:
    """The values of HashModFFBanks-IDR; IDR itself takes 512 for the fine resolution."""

    resolution: int = 400
    """Grid points along the shortest side of the padded box."""
    coarse_resolution: int = 100
    """Cells along the longest side of the scene box for the coarse mesh."""
    padding: float = 0.2
    """Scene units by which the box of the coarse mesh is widened on every side."""
    num_samples: int = 10_000
    """Points on the coarse mesh whose principal axes are taken."""
    seed: int = 0
    """Of these points."""

    def __post_init__(self) -> None:
        if self.resolution < 2 or self.coarse_resolution < 2:
            raise InputError(
                f"The mesh resolution must be at least 2, found {self.resolution} (coarse {self.coarse_resolution})."
            )


class RotatedSurface:
    """A surface in another orthonormal frame: x_scene = axes x + centre.

    Beyond the surface's own bounds, where nothing was trained, everything is outside.

    Args:
        surface: In scene units.
        axes: Rotation (3, 3) whose columns are the new axes.
        centre: Scene position (3,) of the new origin.
        bounds: Box (2, 3) in the new frame.
        boundary_margin: Scene units by which the surface's own bounds are shrunk.
    """

    def __init__(
        self, surface: SurfaceAtTime, axes: np.ndarray, centre: np.ndarray, bounds: np.ndarray, boundary_margin: float
    ) -> None:
        device = surface.bounds.device
        self.surface = surface
        self.axes = torch.as_tensor(axes, dtype=torch.float32, device=device)
        self.centre = torch.as_tensor(centre, dtype=torch.float32, device=device)
        self._bounds = torch.as_tensor(bounds, dtype=torch.float32, device=device)
        self._scene_box = surface.bounds + boundary_margin * surface.bounds.new_tensor([[1.0], [-1.0]])

    @property
    def bounds(self) -> Tensor:
        return self._bounds

    def signed_distance(self, points: Tensor) -> Tensor:
        scene_points = self.to_scene(points)
        beyond = torch.maximum(self._scene_box[0] - scene_points, scene_points - self._scene_box[1])
        of_box = beyond.clamp(min=0.0).norm(dim=-1, keepdim=True) + beyond.amax(dim=-1, keepdim=True).clamp(max=0.0)
        return torch.maximum(self.surface.signed_distance(scene_points), of_box)

    def color(self, points: Tensor) -> Tensor:
        return self.surface.color(self.to_scene(points))

    def to_scene(self, points: Tensor) -> Tensor:
        """Scene positions (N, 3) of points (N, 3) of this frame."""
        return points @ self.axes.T + self.centre


def extract_principal_axes_mesh(
    surface: SurfaceAtTime,
    settings: PrincipalAxesSettings | None = None,
    world_from_scene: np.ndarray | torch.Tensor | None = None,
    *,
    grid: GridSettings | None = None,
    with_colors: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> trimesh.Trimesh:
    """Extract the largest component of a surface's zero level set with a grid along its principal axes.

    1. Coarse marching cubes over the bounds; of its components the one with the largest area.
    2. Its principal axes, from random points on it, and its box along them, widened by the padding.
    3. Marching cubes in that box with cubic cells, ``resolution`` grid points along the shortest side.
    4. Back into the scene; again the component with the largest area.

    Args:
        surface: The surface, in scene units.
        settings: Resolutions and padding.
        world_from_scene: (4, 4) map to the data's own units; None keeps scene units.
        grid: How carefully blocks are skipped; its resolution is not used.
        with_colors: Ask the surface for the colour of every vertex.
        on_progress: Called with the done fraction of the fine grid in [0, 1].

    Returns:
        A closed mesh whose faces point outwards; an empty mesh, with a printed line, when there is no surface within
        the bounds.
    """
    settings, grid = settings or PrincipalAxesSettings(), grid or GridSettings()
    coarse_grid = signed_distance_grid(surface, replace(grid, resolution=settings.coarse_resolution))
    coarse = mesh_from_grid(coarse_grid)
    if len(coarse.faces) == 0:
        CONSOLE.print(why_empty(coarse_grid))
        return coarse
    axes, centre, bounds = principal_box(largest_component_by_area(coarse), settings)
    rotated = RotatedSurface(surface, axes, centre, bounds, grid.boundary_margin)
    sides = bounds[1] - bounds[0]
    cells_along_longest = int(np.ceil((settings.resolution - 1) * sides.max() / sides.min() - 1e-9))
    fine = replace(grid, resolution=max(cells_along_longest, 2))
    fine_grid = signed_distance_grid(rotated, fine, on_progress)
    mesh = mesh_from_grid(fine_grid)
    if len(mesh.faces) == 0:
        too_thin = "The surface that the coarse grid shows is too thin for its sign to be seen: the mesh is empty."
        CONSOLE.print(why_empty(fine_grid) if np.isnan(fine_grid.values.min()) else too_thin)
        return mesh
    mesh = largest_component_by_area(mesh)
    if with_colors:
        colors = vertex_colors(rotated, mesh.vertices, grid.chunk_size)
        mesh.visual.vertex_colors = colors  # type: ignore[union-attr]
    to_scene = np.eye(4)
    to_scene[:3, :3], to_scene[:3, 3] = axes, centre
    world = np.eye(4) if world_from_scene is None else np.asarray(world_from_scene, dtype=np.float64)
    mesh.apply_transform(world @ to_scene)
    return mesh


def largest_component_by_area(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The connected part of a mesh with the largest area; the mesh itself where it is one part or empty."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges, count = np.asarray(mesh.face_adjacency), len(mesh.faces)
    graph = coo_matrix((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    number, labels = connected_components(graph, directed=False)
    if number <= 1:
        return mesh
    largest = np.bincount(labels, weights=mesh.area_faces).argmax()
    part = mesh.copy()
    part.update_faces(labels == largest)
    part.remove_unreferenced_vertices()
    return part


def principal_box(mesh: trimesh.Trimesh, settings: PrincipalAxesSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal axes of a mesh and its widened box along them.

    Returns:
        The axes as columns of a rotation (3, 3), shortest extent first; their origin (3,), the mean of random points on
        the surface; the box (2, 3) of the mesh's vertices in this frame, widened by the padding.
    """
    import trimesh

    points = np.asarray(trimesh.sample.sample_surface(mesh, settings.num_samples, seed=settings.seed)[0])
    centre = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((points - centre).T))
    axes[:, 0] *= np.sign(np.linalg.det(axes))
    within = (np.asarray(mesh.vertices) - centre) @ axes
    bounds = np.stack([within.min(axis=0) - settings.padding, within.max(axis=0) + settings.padding])
    return axes, centre, bounds
