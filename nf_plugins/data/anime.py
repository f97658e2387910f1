"""DeformingThings4D's ``.anime`` files: one moving mesh of constant topology.

Little-endian, no header (Li et al., *4DComplete*, ICCV 2021)::

    int32 T, int32 V, int32 F
    float32 (V, 3)          vertices of the first frame
    int32   (F, 3)          faces
    float32 (T - 1, V, 3)   offsets of the vertices of frames 2 ... T from those of the first frame
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nf_plugins.atomic_files import atomic_path
from nf_plugins.errors import InputError

HEADER_BYTES = 12
BYTES_PER_NUMBER = 4
FLOAT, INTEGER = np.dtype("<f4"), np.dtype("<i4")


class Anime(NamedTuple):
    """A moving mesh in the file's own units."""

    vertices: np.ndarray
    """(T, V, 3) float32 positions of every frame."""
    faces: np.ndarray
    """(F, 3) int32 vertex indices."""


def read_anime(path: Path) -> Anime:
    """All frames of an ``.anime`` file.

    Raises:
        InputError: The file is missing, truncated or longer than its header says, or holds impossible numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The file {path} does not exist, expected a DeformingThings4D .anime file: check the path.")
    num_frames, num_vertices, num_faces = _read_counts(path)
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        first = np.fromfile(file, FLOAT, 3 * num_vertices).reshape(1, num_vertices, 3)
        faces = np.fromfile(file, INTEGER, 3 * num_faces).reshape(num_faces, 3)
        offsets = np.fromfile(file, FLOAT, 3 * num_vertices * (num_frames - 1)).reshape(-1, num_vertices, 3)
    if faces.min() < 0 or faces.max() >= num_vertices:
        wrong = int(faces.min()) if faces.min() < 0 else int(faces.max())
        raise InputError(
            f"{path} has a face with vertex {wrong}, expected 0 to {num_vertices - 1}: it is no .anime file or damaged."
        )
    vertices = np.concatenate([first, first + offsets]).astype(np.float32)
    finite = np.isfinite(vertices).all(axis=(1, 2))
    if not finite.all():
        raise InputError(
            f"{path} has vertices that are not finite numbers, the first in frame {int(finite.argmin())}: copy or "
            "write the file anew."
        )
    return Anime(vertices, faces.astype(np.int32))


def write_anime(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a moving mesh, whole or not at all.

    Args:
        path: File to write.
        vertices: (T, V, 3) positions; stored as float32 offsets from the first frame, so reading gives them back to
            single precision.
        faces: (F, 3) vertex indices.

    Raises:
        InputError: The arrays do not describe a moving mesh, or the folder cannot be written to.
    """
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 3 or vertices.shape[-1] != 3 or faces.ndim != 2 or faces.shape[-1] != 3 or not faces.size:
        raise InputError(
            f"An .anime file holds vertices (T, V, 3) and faces (F, 3), found {vertices.shape} and {faces.shape}."
        )
    if not len(vertices) or faces.min() < 0 or faces.max() >= vertices.shape[1]:
        raise InputError(
            f"Faces name vertices {int(faces.min())} to {int(faces.max())}, but there are {vertices.shape[1]} in "
            f"{len(vertices)} frames."
        )
    counts = np.array([*vertices.shape[:2], len(faces)], INTEGER)
    offsets = vertices[1:].astype(np.float64) - vertices[:1].astype(FLOAT)
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        for part in (counts, vertices[0].astype(FLOAT), faces.astype(INTEGER), offsets.astype(FLOAT)):
            file.write(part.tobytes())


def _read_counts(path: Path) -> tuple[int, int, int]:
    """Frames, vertices and faces of a file whose length is what they say."""
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise InputError(
            f"{path} is truncated: it has {size} bytes, {HEADER_BYTES - size} are missing of the 12 that tell its "
            "numbers of frames, vertices and faces; copy it anew."
        )
    with path.open("rb") as file:
        counts = tuple(int(count) for count in np.fromfile(file, INTEGER, 3))
    num_frames, num_vertices, num_faces = counts
    if min(counts) < 1:
        raise InputError(
            f"{path} says it has {num_frames} frames, {num_vertices} vertices and {num_faces} faces, expected at least "
            "one of each: it is no .anime file or damaged."
        )
    expected = HEADER_BYTES + BYTES_PER_NUMBER * 3 * (num_frames * num_vertices + num_faces)
    if size < expected:
        raise InputError(
            f"{path} is truncated: {expected - size} of {expected} bytes are missing ({num_frames} frames, "
            f"{num_vertices} vertices, {num_faces} faces); copy it anew."
        )
    if size > expected:
        raise InputError(
            f"{path} has {size - expected} bytes more than its {num_frames} frames, {num_vertices} vertices and "
            f"{num_faces} faces take: it is no .anime file or damaged."
        )
    return num_frames, num_vertices, num_faces
