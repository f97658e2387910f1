"""From a surface at one time to a closed, coloured triangle mesh on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.atomic_files import atomic_path
from nf_plugins.errors import InputError
from nf_plugins.exporters.signed_distance_grid import GridSettings, SignedDistanceGrid, signed_distance_grid
from nf_plugins.exporters.surface import SurfaceAtTime

if TYPE_CHECKING:
    import trimesh

MESH_FORMATS = ("ply", "obj", "glb")


def extract_mesh(
    surface: SurfaceAtTime,
    settings: GridSettings | None = None,
    world_from_scene: np.ndarray | torch.Tensor | None = None,
    *,
    with_colors: bool = True,
    largest_component: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> trimesh.Trimesh:
    """Extract the zero level set of a surface's signed distance by marching cubes.

    Args:
        surface: The surface, in scene units.
        settings: Grid resolution and how carefully blocks are skipped; see ``GridSettings``.
        world_from_scene: (4, 4) map to the data's own units; None keeps scene units.
        with_colors: Ask the surface for the colour of every vertex.
        largest_component: Keep only the connected part with the most faces.
        on_progress: Called with the done fraction in [0, 1].

    Returns:
        A closed mesh whose faces and vertex normals point outwards; an empty mesh, with a printed line, when there is
        no surface within the bounds.
    """
    settings = settings or GridSettings()
    grid = signed_distance_grid(surface, settings, on_progress)
    mesh = mesh_from_grid(grid)
    if len(mesh.faces) == 0:
        CONSOLE.print(why_empty(grid))
        return mesh
    if largest_component:
        mesh = max(mesh.split(only_watertight=False), key=lambda part: len(part.faces))
    if with_colors:
        colors = vertex_colors(surface, mesh.vertices, settings.chunk_size)
        mesh.visual.vertex_colors = colors  # type: ignore[union-attr]
    if world_from_scene is not None:
        mesh.apply_transform(np.asarray(world_from_scene, dtype=np.float64))
    return mesh


def mesh_from_grid(grid: SignedDistanceGrid) -> trimesh.Trimesh:
    """Marching cubes (Lewiner et al. 2003, scikit-image's) at level zero; scene units, faces outwards.

    Empty where no value is negative, or any is not a number.
    """
    import trimesh
    from skimage.measure import marching_cubes

    if not grid.values.min() < 0.0:
        return trimesh.Trimesh()
    # Values of nearly zero put several vertices of a grid point in one place, and such triangles have no normal.
    smallest = 1e-3 * grid.spacing
    values = np.where(np.abs(grid.values) < smallest, np.where(grid.values < 0, -smallest, smallest), grid.values)
    vertices, faces, _, _ = marching_cubes(
        values.astype(np.float32), level=0.0, spacing=(grid.spacing,) * 3, gradient_direction="descent"
    )
    return trimesh.Trimesh(vertices.astype(np.float64) + grid.origin, faces, process=False)


def why_empty(grid: SignedDistanceGrid) -> str:
    """The sentence on a grid of which :func:`mesh_from_grid` makes an empty mesh."""
    if np.isnan(grid.values.min()):
        return "The signed distance is not a number at some places within the bounds: the mesh is empty."
    return "The signed distance has one sign everywhere within the bounds: the mesh is empty."


@torch.no_grad()
def vertex_colors(surface: SurfaceAtTime, vertices: np.ndarray, chunk_size: int = 1 << 17) -> np.ndarray:
    """Colours (N, 4) uint8, opaque, of scene points (N, 3)."""
    points = torch.as_tensor(np.asarray(vertices), dtype=torch.float32)
    chunks = [surface.color(chunk.to(surface.bounds.device)).cpu() for chunk in points.split(chunk_size)]
    colors = (torch.cat(chunks).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
    return np.concatenate([colors, np.full((len(colors), 1), 255, dtype=np.uint8)], axis=1)


def write_mesh(path: Path, mesh: trimesh.Trimesh) -> None:
    """Write a mesh with its colours and normals as PLY, OBJ or GLB, by the suffix, atomically.

    Raises:
        InputError: for another suffix, or if the folder cannot be written to.
    """
    path = Path(path)
    file_type = path.suffix.lower().lstrip(".")
    if file_type not in MESH_FORMATS:
        raise InputError(f"{path.name}: the mesh format must be one of {', '.join(MESH_FORMATS)}.")
    options: dict[str, Any] = {
        "ply": {"vertex_normal": True},
        "obj": {"include_normals": True, "include_color": True},
        "glb": {"include_normals": True},
    }[file_type]
    content = mesh.export(file_type=file_type, **options)
    content = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # type: ignore[arg-type]
