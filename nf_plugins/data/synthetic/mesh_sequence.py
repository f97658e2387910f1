"""A mesh sequence read from a folder: one file per frame, normalised by one similarity, procedurally textured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, SurfaceTexture, transform_points
from nf_plugins.data.synthetic.mesh_resampling import resample_meshes
from nf_plugins.errors import InputError

MESH_SUFFIXES = (".obj", ".ply", ".off")
SUBJECT_RADIUS = 0.92
"""Scene units: the radius of the sphere around the origin that holds every frame."""


def list_mesh_files(
    folder: Path, stride: int = 1, max_frames: int | None = None, still_frame: int | None = None
) -> list[Path]:
    """The mesh files of a folder by name, every ``stride``-th, at most ``max_frames``; of these ``still_frame`` alone.

    Raises:
        InputError: the folder is missing, holds fewer than two of the wanted files, or has not the frame asked for.
    """
    if not folder.is_dir():
        raise InputError(f"--mesh-sequence {folder}: there is no such folder; give a folder with one mesh per frame.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in MESH_SUFFIXES and path.is_file())
    chosen = files[::stride][:max_frames]
    if still_frame is not None:
        if still_frame >= len(chosen):
            raise InputError(
                f"--mesh-sequence {folder}: has {len(chosen)} files ending in {', '.join(MESH_SUFFIXES)} with "
                f"--frame-stride {stride}, too few for --still-frame {still_frame} (0 is the first)."
            )
        return [chosen[still_frame]]
    if len(chosen) < 2:
        raise InputError(
            f"--mesh-sequence {folder}: found {len(files)} files ending in {', '.join(MESH_SUFFIXES)}, of which "
            f"{len(chosen)} remain with --frame-stride {stride}; a moving scene needs at least two frames."
        )
    return chosen


def load_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and faces (F, 3) int64 of one file, in the file's order.

    Raises:
        InputError: the file is unreadable, has no faces or has vertices that are not finite.
    """
    import trimesh

    try:
        mesh = trimesh.load(path, force="mesh", process=False, maintain_order=True, skip_materials=True)
        vertices = np.asarray(mesh.vertices, dtype=np.float64)  # type: ignore[attr-defined]
        faces = np.asarray(mesh.faces, dtype=np.int64)  # type: ignore[attr-defined]
    except Exception as error:  # every format's reader raises its own kinds
        raise InputError(f"{path}: cannot be read as a triangle mesh ({error}); remove or repair the file.") from error
    if len(faces) == 0 or len(vertices) == 0:
        raise InputError(f"{path}: holds {len(vertices)} vertices and {len(faces)} faces; expected a triangle mesh.")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path}: has vertex coordinates that are not finite numbers; repair the file.")
    return vertices, faces


def position_texture(points: np.ndarray) -> np.ndarray:
    """A smooth vivid colour pattern (*batch, 3) in [0, 1] of positions (*batch, 3) inside the unit sphere.

    A rainbow that changes slowly, on a soft chess board with cream fields; the shortest period is 0.4 units.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    hue = 2.0 * np.pi * (0.9 * z + 0.6 * y + 0.45 * x)
    rainbow = 0.52 + 0.43 * np.cos(hue[..., None] - 2.0 * np.pi * np.array([0.0, 1.0, 2.0]) / 3.0)
    waves = np.sin(2.0 * np.pi * 2.4 * (y + 0.35 * x)) * np.sin(2.0 * np.pi * 1.9 * (z - 0.3 * y))
    cream_weight = 0.5 + 0.5 * np.tanh(3.0 * (waves - 0.15))
    return rainbow + (np.array([0.98, 0.94, 0.84]) - rainbow) * cream_weight[..., None]


class MeshSequence:
    """Mesh files as a :class:`coloured_mesh.MovingMesh`.

    With constant topology (equal faces in every file) a vertex keeps the colour that the pattern has at its place in
    the first frame, so the texture sticks to the surface. Otherwise the pattern stands still in space and
    ``texture_sticks`` is False.

    Args:
        files: one mesh per frame, in order.
        up_axis: the axis of the files that points up; scene axes are those of the files.
        resampled_frames: number of evenly spaced times at which the motion is sampled anew; None = the files' own.
        texture: colours (*batch, 3) of positions, evaluated at every point of the surface; None =
            :func:`position_texture` at the vertices.

    Raises:
        InputError: a file cannot be used, or the sequence cannot be resampled because its topology changes.
    """

    def __init__(
        self,
        files: list[Path],
        up_axis: str = "y",
        resampled_frames: int | None = None,
        texture: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        meshes = [load_mesh(path) for path in files]
        if resampled_frames is not None:
            meshes = resample_meshes(meshes, [str(path) for path in files], resampled_frames)
        low = np.min([vertices.min(axis=0) for vertices, _ in meshes], axis=0)
        high = np.max([vertices.max(axis=0) for vertices, _ in meshes], axis=0)
        centre = 0.5 * (low + high)
        radius = max(float(np.linalg.norm(vertices - centre, axis=-1).max()) for vertices, _ in meshes)
        if radius == 0.0:
            raise InputError(f"{files[0].parent}: all vertices of all meshes coincide; expected surfaces.")
        self.num_frames = len(meshes)
        self.world_from_scene = np.diag([radius / SUBJECT_RADIUS] * 3 + [1.0])
        self.world_from_scene[:3, 3] = centre
        self.up = np.eye(3)["xyz".index(up_axis)]
        self._meshes, self._texture = meshes, texture
        first_vertices, first_faces = meshes[0]
        self.texture_sticks = all(
            len(vertices) == len(first_vertices) and np.array_equal(faces, first_faces) for vertices, faces in meshes
        )
        # The texture fills the first frame's own sphere, however far the subject travels later.
        rest_centre = 0.5 * (first_vertices.min(axis=0) + first_vertices.max(axis=0))
        rest_radius = float(np.linalg.norm(first_vertices - rest_centre, axis=-1).max())
        self._texture_points = (first_vertices - rest_centre) / max(rest_radius, 1e-12)

    def mesh_at(self, frame: int) -> ColouredMesh:
        """The mesh of frame 0 ... T-1 in scene units."""
        vertices, faces = self._meshes[frame]
        vertices = transform_points(np.linalg.inv(self.world_from_scene), vertices)
        points = self._texture_points if self.texture_sticks else vertices
        if self._texture is None:
            return ColouredMesh(vertices, faces, position_texture(points))
        return ColouredMesh(vertices, faces, self._texture(points), SurfaceTexture(points, self._texture))
