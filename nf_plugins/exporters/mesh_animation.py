"""A sequence of meshes as moving pictures: one camera, one scale and one light for all of them, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nf_plugins.data.synthetic.cameras import Intrinsics, look_at, sphere_position
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, shade, transform_points, vertex_normals
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster, Projection
from nf_plugins.errors import InputError
from nf_plugins.exporters.image_files import Image8
from nf_plugins.exporters.mesh_folder import MeshFile
from nf_plugins.exporters.video import frame_writer
from nf_plugins.progress import progress_bar

Colouring = Literal["auto", "vertex", "shaded", "normal"]
UpAxis = Literal["x", "y", "z", "-x", "-y", "-z"]

MARGIN = 1.05
"""How much wider than the subject's sphere the picture is."""
CLAY = 0.8
"""Grey of meshes without colours of their own, in [0, 1]."""


@dataclass(frozen=True)
class MeshView:
    """How meshes are looked at. The defaults are the camera of the ResFields paper: at (1, -1, 0), z upwards."""

    color: Colouring = "auto"
    """Colours of the vertices, grey under a lamp, or normals (0.5 + 0.5 n); auto: the vertices' where there are any."""
    projection: Projection = "orthographic"
    """With or without perspective."""
    up: UpAxis = "z"
    """The axis that points up."""
    azimuth: float = -45.0
    """Degrees around the up axis; with z upwards 0 is the x axis and 90 the y axis."""
    elevation: float = 0.0
    """Degrees above the ground plane."""
    turns: float = 0.0
    """How many times the camera goes round during the sequence; 0 stands still."""
    field_of_view: float = 35.0
    """Opening angle with perspective, degrees."""
    zoom: float = 1.0
    """Enlarges the picture; at 1 the sphere around all meshes fits, from wherever it is seen."""
    resolution: tuple[int, int] = (512, 512)
    """Width and height of one picture, pixels."""
    supersampling: int = 2
    """Rays per pixel, squared."""
    background: Literal["white", "black"] = "white"
    """What is behind."""

    def check(self) -> None:
        """Raise InputError for values out of range."""
        if not -90.0 < self.elevation < 90.0:
            raise InputError(f"--elevation {self.elevation:g}: expected degrees between -90 and 90, both excluded.")
        if not 1.0 <= self.field_of_view <= 150.0:
            raise InputError(f"--field-of-view {self.field_of_view:g}: expected 1 to 150 degrees.")
        if not self.zoom > 0:
            raise InputError(f"--zoom {self.zoom:g}: expected a positive factor.")
        if min(self.resolution) < 8 or max(self.resolution) > 8192:
            raise InputError(f"--resolution {self.resolution[0]} {self.resolution[1]}: expected 8 to 8192 pixels.")
        if not 1 <= self.supersampling <= 16:
            raise InputError(f"--supersampling {self.supersampling}: expected 1 to 16.")

    @property
    def up_vector(self) -> np.ndarray:
        """Unit vector (3,)."""
        return np.eye(3)["xyz".index(self.up[-1])] * (-1.0 if self.up.startswith("-") else 1.0)

    def camera(self, progress: float) -> tuple[Intrinsics, np.ndarray]:
        """Intrinsics and pose (4, 4), OpenGL, at a moment in [0, 1); the unit sphere at the origin fills the view."""
        width, height = self.resolution
        half = 0.5 * min(width, height) * self.zoom
        if self.projection == "orthographic":
            distance, focal = 2.0, half / MARGIN
        else:
            angle = 0.5 * np.deg2rad(self.field_of_view)
            distance, focal = MARGIN / np.sin(angle), half / np.tan(angle)
        azimuth = np.deg2rad(self.azimuth + 360.0 * self.turns * progress)
        position = sphere_position(azimuth, np.deg2rad(self.elevation), distance, self.up_vector)
        return Intrinsics(width, height, focal, focal, 0.5 * width, 0.5 * height), look_at(
            position, np.zeros(3), self.up_vector
        )


def load_coloured_mesh(path: Path) -> tuple[ColouredMesh, bool]:
    """A mesh file, and whether it has colours; without, they are grey.

    Raises:
        InputError: if it cannot be read or holds no faces.
    """
    import trimesh

    try:
        mesh: Any = trimesh.load(path, force="mesh", process=False)
        vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
        colors = _vertex_colors(mesh)
    except Exception as error:  # every format's reader raises its own kinds
        raise InputError(f"{path} cannot be read as a triangle mesh ({error}); remove or repair the file.") from error
    if len(faces) == 0 or not np.isfinite(vertices).all():
        raise InputError(
            f"{path} holds {len(vertices)} vertices and {len(faces)} faces, expected a triangle mesh with finite "
            "coordinates."
        )
    if colors is None or len(colors) != len(vertices):
        return ColouredMesh(vertices, faces, np.full_like(vertices, CLAY)), False
    return ColouredMesh(vertices, faces, colors), True


def _vertex_colors(mesh: Any) -> np.ndarray | None:
    if not mesh.visual.defined:
        return None
    visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
    return np.asarray(visual.vertex_colors, dtype=np.float64)[:, :3] / 255.0


@dataclass(frozen=True)
class MeshSource:
    """Meshes that are shown in one panel."""

    files: Sequence[MeshFile]
    """One per time; without a path nothing is shown."""
    transform: np.ndarray | None = None
    """(4, 4) into the units of the other panel; None leaves them as they are."""

    def load(self, index: int) -> tuple[ColouredMesh, bool] | None:
        """The mesh at a place in the sequence and whether it has colours; None where there is no surface."""
        path = self.files[index].path
        if path is None:
            return None
        mesh, has_colors = load_coloured_mesh(path)
        if self.transform is not None:
            mesh = replace(mesh, vertices=transform_points(self.transform, mesh.vertices))
        return mesh, has_colors


def common_sphere(sources: Sequence[MeshSource]) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of a sphere around all meshes of all sources, so that nothing jumps between frames.

    Every mesh is read once and only its extreme vertices are kept. The centre is that of the box around all meshes;
    the radius may miss a vertex by 3 %, for which ``MARGIN`` leaves room.
    """
    extremes = []
    with progress_bar() as progress:
        task = progress.add_task("Reading meshes", total=sum(len(source.files) for source in sources))
        for source in sources:
            for index in range(len(source.files)):
                loaded = source.load(index)
                if loaded is not None:
                    extremes.append(extreme_vertices(loaded[0].vertices))
                progress.advance(task)
    points = np.concatenate(extremes)
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    return centre, max(float(np.linalg.norm(points - centre, axis=-1).max()), 1e-12)


def extreme_vertices(vertices: np.ndarray) -> np.ndarray:
    """The vertices (134, 3) that lie farthest in each of many directions, both ways along the axes among them.

    The directions are a Fibonacci lattice, of which one lies within 15 degrees of any direction.
    """
    turns = np.arange(128) * np.pi * (3.0 - np.sqrt(5.0))
    z = 1.0 - 2.0 * (np.arange(128) + 0.5) / 128
    ring = np.sqrt(1.0 - z * z)
    lattice = np.stack([ring * np.cos(turns), ring * np.sin(turns), z], axis=-1)
    directions = np.concatenate([lattice, np.eye(3), -np.eye(3)])
    return vertices[(vertices @ directions.T).argmax(axis=0)]


class PanelPainter:
    """Paints the meshes of one source; the same mesh in several frames is prepared once.

    Args:
        source: The meshes.
        view: How they are looked at.
        sphere: Centre and radius that become the unit sphere.
    """

    def __init__(self, source: MeshSource, view: MeshView, sphere: tuple[np.ndarray, float]) -> None:
        self.source, self.view, self.sphere = source, view, sphere
        self._prepared: tuple[int, MeshRayCaster | None] | None = None

    def paint(self, index: int, progress: float) -> Image8:
        """Picture (H, W, 3) of a mesh at a moment of the camera's way."""
        if self._prepared is None or self._prepared[0] != index:
            self._prepared = index, self._prepare(index)
        width, height = self.view.resolution
        background = np.full((height, width, 3), 255.0 if self.view.background == "white" else 0.0)
        caster = self._prepared[1]
        if caster is None:
            return background.astype(np.uint8)
        seen = caster.render(*self.view.camera(progress), self.view.supersampling, self.view.projection)
        alpha = seen.alpha[..., None]
        return np.round(seen.rgb * alpha + background * (1.0 - alpha)).astype(np.uint8)

    def _prepare(self, index: int) -> MeshRayCaster | None:
        loaded = self.source.load(index)
        if loaded is None:
            return None
        mesh, has_colors = loaded
        centre, radius = self.sphere
        mesh = replace(mesh, vertices=(mesh.vertices - centre) / radius)
        return MeshRayCaster(coloured(mesh, has_colors, self.view))


def coloured(mesh: ColouredMesh, has_colors: bool, view: MeshView) -> ColouredMesh:
    """The mesh in the colours that the view asks for; a mesh without colours is grey under a lamp."""
    if view.color == "normal":
        return replace(mesh, colors=0.5 + 0.5 * vertex_normals(mesh.vertices, mesh.faces))
    if has_colors and view.color in ("auto", "vertex"):
        return mesh
    return shade(replace(mesh, colors=np.full_like(mesh.vertices, CLAY)), view.up_vector, ambient=0.3)


def matching_truth(files: Sequence[MeshFile], truths: Sequence[MeshFile], folder: Path) -> list[MeshFile]:
    """The true mesh of every mesh: by the number of the frame, or by order where there are equally many.

    Raises:
        InputError: if neither gives one for each.
    """
    by_number = {truth.number: truth for truth in truths}
    if len(by_number) == len(truths) and all(file.number in by_number for file in files):
        return [by_number[file.number] for file in files]
    if len(files) == len(truths):
        return list(truths)
    raise InputError(
        f"--truth-dir {folder} holds {len(truths)} meshes for {len(files)}, and not all of their numbers: expected the "
        "true mesh of every frame, with the frame in its name."
    )


def mesh_order(num_meshes: int, num_frames: int | None) -> list[int]:
    """Which mesh each frame shows: one after the other, or all of them spread over ``num_frames``."""
    count = num_meshes if num_frames is None else num_frames
    return [frame * num_meshes // count for frame in range(count)]


def animate(sources: Sequence[MeshSource], view: MeshView, order: Sequence[int], path: Path, fps: float) -> None:
    """Paint sources side by side, from left to right, into a video, gif or folder of PNGs.

    Args:
        sources: Equally many meshes each.
        view: How they are looked at.
        order: Which mesh each frame shows.
        path: Output, see :func:`~nf_plugins.exporters.video.frame_writer`.
        fps: Frames per second.
    """
    sphere = common_sphere(sources)
    painters = [PanelPainter(source, view, sphere) for source in sources]
    with frame_writer(path, fps) as add_frame, progress_bar() as bar:
        for position, index in enumerate(bar.track(order, description="Painting meshes")):
            progress = position / len(order)
            add_frame(np.concatenate([painter.paint(index, progress) for painter in painters], axis=1))
