"""A folder of meshes over time, and ``meshes.json``, which says when each of them was."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nf_plugins.atomic_files import write_json
from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh import write_mesh

if TYPE_CHECKING:
    import trimesh

INDEX = "meshes.json"
PARTIAL_INDEX = "meshes.partial.json"
MESH_SUFFIXES = (".ply", ".obj", ".glb", ".off", ".stl")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class MeshFolderWriter:
    """Writes meshes one by one, and ``meshes.json`` when all are done.

    Until then ``meshes.partial.json`` lists those so far, so that an interrupted export leaves a folder that can be
    used and does not look complete.

    Args:
        folder: Where they go; earlier meshes of other names stay.
        header: What else ``meshes.json`` says: method, step, units, ...
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self.header = header
        self.entries: list[dict[str, Any]] = []

    def add(self, name: str, time: float, mesh: trimesh.Trimesh, frame: int | None = None) -> None:
        """Write a mesh; an empty one is listed without a file."""
        is_empty = len(mesh.faces) == 0
        if not is_empty:
            write_mesh(self.folder / name, mesh)
        self._list(
            {
                "file": None if is_empty else name,
                "time": time,
                "frame_id": frame,
                "num_vertices": len(mesh.vertices),
                "num_faces": len(mesh.faces),
            }
        )

    def add_failure(self, time: float, error: Exception, frame: int | None = None) -> None:
        """List a mesh that could not be made."""
        message = str(error) or type(error).__name__
        self._list({"file": None, "time": time, "frame_id": frame, "num_vertices": 0, "num_faces": 0, "error": message})

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The entries of the meshes that could not be made."""
        return [entry for entry in self.entries if "error" in entry]

    def finish(self) -> None:
        """Write ``meshes.json``, unless no mesh has a surface."""
        self._write(INDEX)
        (self.folder / PARTIAL_INDEX).unlink(missing_ok=True)

    def _list(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        self._write(PARTIAL_INDEX)

    def _write(self, name: str) -> None:
        if any(entry["file"] for entry in self.entries):
            write_json(self.folder / name, {**self.header, "meshes": self.entries})


@dataclass(frozen=True)
class MeshFile:
    """One mesh of a sequence."""

    path: Path | None
    """None where there was no surface at this time."""
    time: float | None
    """In [0, 1]; None where nothing tells."""
    number: int | None
    """The frame, by ``meshes.json`` or by the last number in the file's name."""

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return "no surface" if self.path is None else str(self.path)


def read_mesh_folder(folder: Path) -> tuple[list[MeshFile], dict[str, Any]]:
    """The meshes of a folder in order of time.

    With ``meshes.json`` those that it lists, after an interrupted export those of ``meshes.partial.json``; otherwise
    all mesh files, whose names must differ in their numbers only, in order of these.

    Returns:
        The meshes, and what else ``meshes.json`` says.

    Raises:
        InputError: if there is no such folder, it holds no mesh, a listed mesh is missing, or names of different kinds
            leave the order open.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder, expected one with one mesh per frame, as nf-export writes it.")
    index = next((folder / name for name in (PARTIAL_INDEX, INDEX) if (folder / name).is_file()), None)
    files, header = _listed(index) if index is not None else (_numbered(folder), {})
    if not any(file.path for file in files):
        raise InputError(
            f"{folder} holds no meshes ({', '.join(MESH_SUFFIXES)}), expected one per frame: write them with "
            "nf-export mesh --all-frames."
        )
    return files, header


def _listed(index: Path) -> tuple[list[MeshFile], dict[str, Any]]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        entries = sorted(content.pop("meshes"), key=lambda entry: entry["time"])
        names = [entry["file"] for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{index} is not a list of meshes ({type(error).__name__}: {error}): export the meshes anew, or remove it "
            "to take all meshes of the folder."
        ) from error
    missing = [name for name in names if name is not None and not (index.parent / name).is_file()]
    if missing:
        raise InputError(
            f"{index} lists {missing[0]}, which is not there ({len(missing)} of {len(names)} are missing): were meshes "
            "renamed or removed? Export them anew, or remove the list to take all meshes of the folder."
        )
    files = []
    for entry, name in zip(entries, names, strict=True):
        path = None if name is None else index.parent / name
        files.append(MeshFile(path, float(entry["time"]), entry.get("frame_id", _last_number(path))))
    return files, content


def _numbered(folder: Path) -> list[MeshFile]:
    paths = [path for path in folder.iterdir() if path.suffix.lower() in MESH_SUFFIXES and path.is_file()]
    first_of_kind: dict[str, Path] = {}
    for path in sorted(paths):
        first_of_kind.setdefault(_NUMBER.sub("#", path.name), path)
    if len(first_of_kind) > 1:
        one, other = list(first_of_kind.values())[:2]
        raise InputError(
            f"The names of the meshes in {folder} change from {one.name} to {other.name}, expected names that differ "
            "in their number only: keep one sequence per folder."
        )
    in_order = sorted(paths, key=lambda path: [float(number) for number in _NUMBER.findall(path.name)])
    return [MeshFile(path, None, _last_number(path)) for path in in_order]


def _last_number(path: Path | None) -> int | None:
    numbers = _NUMBER.findall(path.stem) if path is not None else []
    return int(numbers[-1]) if numbers and numbers[-1].isdigit() else None


def world_from_scene_of(header: dict[str, Any]) -> np.ndarray | None:
    """The matrix (4, 4) from scene to world units that ``meshes.json`` carries; None without one."""
    matrix = header.get("world_from_scene")
    return None if matrix is None else np.asarray(matrix, dtype=np.float64).reshape(4, 4)
