"""The meshes of a sequence in scene units: read from disk, normalised by one similarity, divided into training and
held-out frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data import validation
from nf_plugins.data.anime import read_anime
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.signed_distance import SignRule
from nf_plugins.data.synthetic.mesh_sequence import MESH_SUFFIXES, load_mesh
from nf_plugins.errors import InputError

Normalisation = Literal["min_max", "none"]


class Mesh(NamedTuple):
    """One frame."""

    vertices: np.ndarray
    """(V, 3) float32."""
    faces: np.ndarray
    """(F, 3) int32 vertex indices, counter-clockwise seen from outside."""
    name: str
    """Which file, and which of its frames."""


@dataclass(frozen=True)
class MeshFrames:
    """A mesh sequence in scene units. Read-only and shared: a deep copy is the object itself."""

    meshes: tuple[Mesh, ...]
    """All frames in order, those held out included; the topology may change."""
    held_out: tuple[bool, ...]
    """Which frames do not train."""
    world_from_scene: np.ndarray
    """(4, 4): scale and translation to the units of the files."""
    sign: SignRule = "closed"
    """How the inside is told from the outside."""

    def __len__(self) -> int:
        return len(self.meshes)

    def __deepcopy__(self, memo: dict[int, Any]) -> MeshFrames:
        return self

    @property
    def times(self) -> np.ndarray:
        """(T,) float64, evenly from 0 to 1, of all frames."""
        return np.linspace(0.0, 1.0, len(self.meshes))

    def frames(self, held_out: bool) -> list[int]:
        """Numbers of the frames that are held out, or of those that are not."""
        return [frame for frame, out in enumerate(self.held_out) if out == held_out]

    def bounding_sphere(self) -> tuple[np.ndarray, float]:
        """Centre (3,) of the box around all frames, and the greatest distance of a vertex from it."""
        low = np.min([mesh.vertices.min(axis=0) for mesh in self.meshes], axis=0)
        high = np.max([mesh.vertices.max(axis=0) for mesh in self.meshes], axis=0)
        centre = (low + high).astype(np.float64) / 2
        return centre, max(float(np.linalg.norm(mesh.vertices - centre, axis=-1).max()) for mesh in self.meshes)


def read_meshes(data: Path, frames: slice, num_frames: int | None) -> list[Mesh]:
    """Frames of an ``.anime`` file, of a folder that holds one, or of a folder with one mesh file per frame.

    Args:
        data: File or folder. Mesh files are taken in natural order of their names (2 before 10); other files are passed
            over, with a line.
        frames: Which frames to take, before ``num_frames`` cuts them off.
        num_frames: At most so many.

    Raises:
        InputError: Nothing usable is there, fewer than two frames are left, or a file is damaged.
    """
    anime = _anime_file(data)
    if anime is not None:
        vertices, faces = read_anime(anime)
        chosen = range(len(vertices))[frames][:num_frames]
        meshes = [Mesh(vertices[frame], faces, f"{anime} (frame {frame})") for frame in chosen]
    else:
        files = _mesh_files(data)[frames][:num_frames]
        loaded = threaded_map(load_mesh, files, "Reading meshes")
        meshes = [
            Mesh(vertices.astype(np.float32), faces.astype(np.int32), str(path))
            for path, (vertices, faces) in zip(files, loaded, strict=True)
        ]
    if len(meshes) < 2:
        raise InputError(
            f"{data} gives {len(meshes)} frame{'' if len(meshes) == 1 else 's'} after --drop-first-frame, "
            "--frame-stride and --num-frames, expected at least two: a temporal field needs a sequence."
        )
    return meshes


def normalise(meshes: Sequence[Mesh], rule: Normalisation, margin: float) -> tuple[list[Mesh], np.ndarray]:
    """Bring a sequence into [-1, 1]^3.

    Args:
        meshes: In the units of the files.
        rule: "min_max": one minimum and one maximum over all coordinates of all frames, widened by ``margin``, become
            -1 and 1 (ResFields, Sec. 4.2: the scale is that of the longest extent, axes are not centred one by one).
            "none": the sequence lies in [-1, 1]^3 already and is left as it is.
        margin: In the units of the files.

    Returns:
        The meshes in scene units and ``world_from_scene`` (4, 4).

    Raises:
        InputError: With "none", a vertex lies outside; with "min_max", all coordinates are equal.
    """
    low = min(float(mesh.vertices.min()) for mesh in meshes)
    high = max(float(mesh.vertices.max()) for mesh in meshes)
    if rule == "none":
        if low < -1 or high > 1:
            raise InputError(
                f"The meshes have coordinates from {low:g} to {high:g}, expected [-1, 1] with --normalisation none: "
                "use --normalisation min_max."
            )
        return list(meshes), np.eye(4)
    if margin < 0:
        raise InputError(f"--normalisation-margin is {margin:g}, expected 0 or more.")
    low, high = low - margin, high + margin
    if not high > low:
        raise InputError(f"All coordinates of all meshes are {low:g}, expected surfaces.")
    scaled = [
        mesh._replace(vertices=((mesh.vertices.astype(np.float64) - low) / (high - low) * 2 - 1).astype(np.float32))
        for mesh in meshes
    ]
    world_from_scene = np.diag([(high - low) / 2] * 3 + [1.0])
    world_from_scene[:3, 3] = (high + low) / 2
    return scaled, world_from_scene


def hold_out(num_frames: int, every: int | None) -> tuple[bool, ...]:
    """Which frames are held out: each ``every``-th one, counted from 1, but never the last; all train with None.

    The first and the last frame always train, so that what is held out lies between training frames.

    Raises:
        InputError: ``every`` is below 2 or leaves fewer than two frames to train on.
    """
    if every is None:
        return (False,) * num_frames
    if every < 2:
        raise InputError(f"--test-every is {every}, expected at least 2: every second frame is held out.")
    held_out = tuple(frame % every == every - 1 and frame != num_frames - 1 for frame in range(num_frames))
    if sum(held_out) == 0 or num_frames - sum(held_out) < 2:
        raise InputError(
            f"--test-every {every} of {num_frames} frames holds {sum(held_out)} out and leaves "
            f"{num_frames - sum(held_out)} to train on, expected at least one and two: load more frames."
        )
    return held_out


def _anime_file(data: Path) -> Path | None:
    """The ``.anime`` file that is meant, if one is."""
    if data.suffix.lower() == ".anime" and not data.is_dir():
        return data
    if not data.is_dir():
        return None
    found = sorted(path for path in data.iterdir() if path.suffix.lower() == ".anime" and path.is_file())
    if len(found) > 1:
        raise InputError(
            f"The folder {data} holds {len(found)} .anime files, expected one sequence: give one of them as --data, "
            f"for example {found[0]}."
        )
    return found[0] if found else None


def _mesh_files(folder: Path) -> list[Path]:
    """The mesh files of a folder in natural order; what else lies there is named once."""
    if folder.is_file():
        raise InputError(
            f"{folder} is no .anime file, expected one, or a folder with one mesh ({', '.join(MESH_SUFFIXES)}) per "
            "frame."
        )
    validation.require_folder(folder, f"one mesh ({', '.join(MESH_SUFFIXES)}) per frame or an .anime file")
    visible = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    files = [path for path in visible if path.suffix.lower() in MESH_SUFFIXES]
    if not files:
        raise InputError(
            f"The folder {folder} holds no mesh ({', '.join(MESH_SUFFIXES)}) and no .anime file, expected one mesh per "
            "frame."
        )
    others = sorted(path.name for path in visible if path not in files)
    if others:
        more = ", ..." if len(others) > 3 else ""
        CONSOLE.print(f"Passed over {len(others)} other files in {folder}: {', '.join(others[:3])}{more}.")
    return sorted(files, key=lambda path: validation.natural_key(path.name))
