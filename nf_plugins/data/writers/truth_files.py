"""PNG and PLY files of the truth: images, depth maps, meshes and point clouds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh

MAX_DEPTH_PNG = 65535


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 (H, W), (H, W, 3) or (H, W, 4), or uint16 (H, W)."""
    from PIL import Image

    Image.fromarray(image).save(path)


def write_mesh(path: Path, mesh: ColouredMesh) -> None:
    """Write a binary PLY with 8-bit vertex colours."""
    import trimesh

    colors = np.full((len(mesh.vertices), 4), 255, dtype=np.uint8)
    colors[:, :3] = np.round(255.0 * mesh.colors)
    written = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
    written.export(path, file_type="ply")


def write_point_cloud(path: Path, points: np.ndarray) -> None:
    """Write points (N, 3) as a binary PLY."""
    import trimesh

    trimesh.PointCloud(points).export(path, file_type="ply")


def padded_bounds(bounds: list[np.ndarray], padding: float = 0.05) -> np.ndarray:
    """The box (2, 3) around boxes [(2, 3), ...], widened on every side by a part of its longest edge."""
    low = np.min([box[0] for box in bounds], axis=0)
    high = np.max([box[1] for box in bounds], axis=0)
    margin = padding * float((high - low).max())
    return np.stack([low - margin, high + margin])
