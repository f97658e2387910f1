"""A mesh sequence of constant topology at other times: vertices move along splines through the given frames."""

from __future__ import annotations

import numpy as np

from nf_plugins.errors import InputError

COINCIDENCE = 1e-9
"""Source frames: a wanted time this near to a given frame takes that frame's vertices as they are."""


def resample_vertices(vertices: np.ndarray, num_frames: int) -> np.ndarray:
    """Vertex positions at evenly spaced times that span the same duration.

    Every coordinate follows the cubic spline (not-a-knot ends) through the given frames, taken as evenly spaced in
    time. Where a new time coincides with a given frame, that frame's vertices are returned bit for bit.

    Args:
        vertices: (F, V, 3) positions of F >= 2 frames.
        num_frames: T >= 2, larger or smaller than F.

    Returns:
        (T, V, 3) float64; the first and the last frame are those given.
    """
    from scipy.interpolate import CubicSpline

    vertices = np.asarray(vertices, dtype=np.float64)
    last = len(vertices) - 1
    positions = np.arange(num_frames) * last / (num_frames - 1)
    nearest = np.round(positions).astype(int)
    coincides = np.abs(positions - nearest) < COINCIDENCE
    resampled = np.empty((num_frames, *vertices.shape[1:]))
    resampled[coincides] = vertices[nearest[coincides]]
    if not coincides.all():
        resampled[~coincides] = CubicSpline(np.arange(last + 1), vertices, axis=0)(positions[~coincides])
    return resampled


def resample_meshes(
    meshes: list[tuple[np.ndarray, np.ndarray]], names: list[str], num_frames: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (vertices, faces) of a sequence at ``num_frames`` evenly spaced times; see :func:`resample_vertices`.

    Args:
        meshes: vertices (V, 3) and faces (F, 3) of every given frame.
        names: the files' names, for the error message.

    Raises:
        InputError: the topology changes, so that a vertex of one frame has no counterpart in the next.
    """
    first_vertices, first_faces = meshes[0]
    for (vertices, faces), name in zip(meshes, names, strict=True):
        if len(vertices) != len(first_vertices) or not np.array_equal(faces, first_faces):
            same_size = len(vertices) == len(first_vertices) and len(faces) == len(first_faces)
            found = (
                "other faces"
                if same_size
                else f"{len(vertices)} vertices and {len(faces)} faces, "
                f"but {names[0]} {len(first_vertices)} and {len(first_faces)}"
            )
            raise InputError(
                f"--resample-frames: {name} has {found}; only a sequence whose faces are the same in every file can be "
                "resampled in time. Leave the option out to take the files as they are."
            )
    resampled = resample_vertices(np.stack([vertices for vertices, _ in meshes]), num_frames)
    return [(vertices, first_faces) for vertices in resampled]
