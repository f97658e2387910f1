"""Points on a mesh at an even density: a lattice on every triangle, then greedy thinning to a smallest distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nf_plugins.errors import InputError

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.intp]

FIRST_BATCH = 1024
"""Points that are thinned first; coincident ones make the square of it in pairs."""
CHUNK = 1 << 22
"""Lattice points made at once."""
MOST_LATTICE_POINTS = 50_000_000
"""1.2 GB, and some of it twice. Above, the mesh is hardly in the units of the density: at the published 0.2 mm they
cover two square metres."""


def points_on_mesh(vertices: FloatArray, faces: NDArray[np.integer], spacing: float) -> FloatArray:
    """The vertices of a mesh and a regular lattice on each of its triangles.

    A triangle with the edges e1, e2 at its first corner and the area A gets the points u e1 + v e2 with
    u = (i + 1/2) / n1, v = (j + 1/2) / n2, u + v < 1, where n = |e| / step rounded down and
    step = spacing sqrt(|e1| |e2| / 2A): at most about one point per ``spacing`` squared, fewer on small triangles,
    whose vertices are there anyway. It is the sampling of the published DTU evaluation (Jensen et al. 2014) in its
    usual Python form.

    Args:
        vertices: (V, 3).
        faces: (F, 3) indices of vertices.
        spacing: In the units of the vertices.

    Returns:
        (V + L, 3): the vertices, then the lattice points, triangle by triangle.

    Raises:
        InputError: if there would be more than 50 million points, or a vertex is not finite.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    not_finite = int((~np.isfinite(vertices).all(axis=-1)).sum())
    if not_finite:
        raise InputError(
            f"{not_finite} of the mesh's {len(vertices)} vertices are not finite, expected numbers: has training "
            "diverged?"
        )
    corners = vertices[np.asarray(faces, dtype=np.intp).reshape(-1, 3)]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    double_area = np.linalg.norm(np.cross(first, second), axis=1)
    step = spacing * np.sqrt(lengths[0] * lengths[1] / np.where(double_area > 0, double_area, np.inf))
    divisions = [np.floor(length / np.where(step > 0, step, np.inf)).astype(np.int64) for length in lengths]
    counts = divisions[0] * divisions[1]
    if counts.sum() > 2 * MOST_LATTICE_POINTS:  # half of them lie beyond the third edge
        raise InputError(
            f"The mesh has an area of {0.5 * double_area.sum():.3g}, which is {counts.sum() / 2:.2g} points at a "
            f"spacing of {spacing:g}: is it in the units of the reference (millimetres for DTU), and without a "
            "background?"
        )
    used = np.flatnonzero(counts)
    parts, ends = [vertices], np.cumsum(counts[used])
    start = 0
    while start < len(used):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        chosen = used[start:stop]
        triangle = np.repeat(chosen, counts[chosen])
        place = np.arange(len(triangle)) - np.repeat(np.cumsum(counts[chosen]) - counts[chosen], counts[chosen])
        u = (place // divisions[1][triangle] + 0.5) / divisions[0][triangle]
        v = (place % divisions[1][triangle] + 0.5) / divisions[1][triangle]
        inside = u + v < 1.0
        triangle, u, v = triangle[inside], u[inside, None], v[inside, None]
        parts.append(corners[triangle, 0] + u * first[triangle] + v * second[triangle])
        start = stop
    return np.concatenate(parts)


def thin_points(points: FloatArray, radius: float, seed: int = 0) -> IndexArray:
    """Choose points greedily, in random order, such that no two are within ``radius`` of each other.

    Walking through the points in a random order and keeping each that has no kept one within the radius is slow point
    by point. The same set comes out batch by batch: of a batch as large as everything before it, the points near a
    kept one are dropped (one nearest-neighbour query); the few that are left are compared with each other only, in
    rounds in which every point without an undecided predecessor is kept. With the random order, O(log N) batches and,
    in expectation, O(log N) neighbours within a batch however dense the cloud is: O(N log N) time, O(N) memory.

    Args:
        points: (N, 3).
        radius: In the units of the points; points exactly that far apart count as near.
        seed: Of the order.

    Returns:
        Indices (M,) of the kept points in increasing order; every point is within the radius of a kept one.
    """
    from scipy.spatial import KDTree

    points = np.asarray(points, dtype=np.float64)
    order = np.random.default_rng(seed).permutation(len(points))
    kept = np.zeros(0, dtype=np.intp)
    done = 0
    while done < len(order):
        batch = order[done : done + max(FIRST_BATCH, done)]
        done += len(batch)
        if len(kept):
            just_beyond = np.nextafter(radius, np.inf)  # scipy's bound is exclusive
            distance, _ = KDTree(points[kept]).query(points[batch], distance_upper_bound=just_beyond, workers=-1)
            batch = batch[np.isinf(distance)]
        if len(batch):
            pairs = np.asarray(KDTree(points[batch]).query_pairs(radius, output_type="ndarray"), dtype=np.intp)
            kept = np.concatenate([kept, batch[_first_come(len(batch), pairs)]])
    return np.sort(kept)


def _first_come(count: int, pairs: IndexArray) -> NDArray[np.bool_]:
    """Which of ``count`` points are kept when each excludes its later neighbours; ``pairs`` (P, 2) in any order."""
    kept, undecided = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    earlier, later = np.sort(pairs, axis=1).T
    while len(later):
        ready = undecided.copy()
        ready[later] = False
        kept |= ready
        undecided &= ~ready
        undecided[later[ready[earlier]]] = False
        open_pairs = undecided[earlier] & undecided[later]
        earlier, later = earlier[open_pairs], later[open_pairs]
    return kept | undecided
