"""The visual hull of a standing object by a vote of its silhouettes, coarse to fine.

A place belongs to the hull where most of the views that see it have it inside their silhouette (the visual hull of
Laurentini, "The Visual Hull Concept for Silhouette-Based Image Understanding", PAMI 1994, asks for all of them): a mask
with a hole or a view with a poor pose then does not carve the object away. A view whose silhouette keeps clear of the
image's border shows all of the object, so that it sees of every place beyond the image, too, that nothing is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nf_plugins.data.multi_view import point_nearest_to_axes
from nf_plugins.data.parallel import late_progress

LARGEST_SILHOUETTE = 512
"""Pixels along the longer side to which masks are reduced."""
COARSE_RESOLUTION = 24
FINE_RESOLUTION = 64
MOST_ROUNDS = 8
ENOUGH_SHRINKING = 0.8
"""The search gets finer when the box keeps more than this part of its volume."""
MOST_DOUBLINGS = 3
LEAST_SHARE_SEEING = 0.5
"""What part of the views has to see a place; at least two."""
LEAST_POINTS = 20


@dataclass(frozen=True)
class Silhouette:
    """What one pinhole camera sees of the object."""

    name: str
    """What messages call it."""
    intrinsics: NDArray[np.float64]
    """(3, 3) of the reduced mask, pixels; the centre of the first pixel is (0.5, 0.5)."""
    rotation: NDArray[np.float64]
    """(3, 3), world to OpenCV camera."""
    centre: NDArray[np.float64]
    """(3,), of the camera, world units."""
    clearance: NDArray[np.float32]
    """(H, W): lower bound of the distance in pixels from a place in this pixel to the silhouette; 0 inside it."""
    border_share: float
    """What part of the pixels along the image's border is foreground."""
    says_nothing: bool
    """Whether all of the mask is foreground."""

    @property
    def is_whole(self) -> bool:
        """Whether the silhouette keeps clear of the image's border."""
        return self.border_share == 0


@dataclass(frozen=True)
class SilhouetteHull:
    """Cells that the hull fills or touches."""

    cells: NDArray[np.float64]
    """(N, 3), their centres, world units."""
    cell_radius: float
    """Half a cell's diagonal."""
    dissent: NDArray[np.float64]
    """(V,): what part of the cells that a view sees lies outside its silhouette."""


def make_silhouette(
    name: str,
    intrinsics: NDArray[np.float64],
    rotation: NDArray[np.float64],
    centre: NDArray[np.float64],
    mask: NDArray[np.bool_],
) -> Silhouette:
    """A silhouette from a full-size mask (H, W) with at least one foreground pixel; see ``Silhouette``.

    Args:
        intrinsics: (3, 3) of the full-size mask, without skew; the centre of the first pixel is (0.5, 0.5).
    """
    from scipy import ndimage

    if not mask.any():
        raise ValueError(f"the mask {name} has no foreground")
    factor = math.ceil(max(mask.shape) / LARGEST_SILHOUETTE)
    height, width = (math.ceil(side / factor) * factor for side in mask.shape)
    padded = np.pad(mask, ((0, height - mask.shape[0]), (0, width - mask.shape[1])))
    # A pixel is foreground where any part of it was.
    reduced = padded.reshape(height // factor, factor, width // factor, factor).any(axis=(1, 3))
    distance = np.asarray(ndimage.distance_transform_edt(~reduced), dtype=np.float32)
    # The distance is that of the pixels' centres; places may be half a diagonal away from both.
    clearance = np.maximum(distance - math.sqrt(2), 0.0).astype(np.float32)
    scaled = np.diag([1 / factor, 1 / factor, 1.0]) @ intrinsics
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return Silhouette(name, scaled, rotation, centre, clearance, float(border.mean()), bool(mask.all()))


def vote(
    silhouettes: Sequence[Silhouette], points: NDArray[np.float64], radius: float, agreement: float
) -> NDArray[np.int64]:
    """Which balls belong to the hull.

    Args:
        points: Centres (N, 3), world units.
        radius: Of the balls; one that touches a silhouette counts as inside.
        agreement: What part of the views that see a ball's centre must have it inside.

    Returns:
        Indices of those that do, and that enough views see.
    """
    left = np.arange(len(points))
    seen, outside = np.zeros(len(points), dtype=np.int32), np.zeros(len(points), dtype=np.int32)
    least_seen = max(2, math.ceil(LEAST_SHARE_SEEING * len(silhouettes)))
    most_outside = math.floor((1 - agreement) * len(silhouettes) + 1e-9)
    for number, silhouette in enumerate(silhouettes, start=1):
        sees, inside = look(silhouette, points[left], radius)
        seen += sees
        outside += sees & ~inside
        # What later views say cannot save the others.
        kept = (outside <= most_outside) & (seen + len(silhouettes) - number >= least_seen)
        left, seen, outside = left[kept], seen[kept], outside[kept]
    return left[outside <= (1 - agreement) * seen + 1e-9]


def look(
    silhouette: Silhouette, points: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which balls (N, 3) a view has a say on (by their centres), and which of these touch its silhouette.

    It has none on balls around its camera's centre, and, if the silhouette is not whole, on those beyond its image.
    """
    local = (points - silhouette.centre) @ silhouette.rotation.T
    depth = local[:, 2]
    in_front = depth > max(2 * radius, 1e-12)
    safe = np.where(in_front, depth, 1.0 + 2 * radius)
    plane = local[:, :2] / safe[:, None]
    focals, principal = np.diag(silhouette.intrinsics)[:2], silhouette.intrinsics[:2, 2]
    pixels = focals * plane + principal
    size = np.array(silhouette.clearance.shape[::-1])
    nearest = pixels.clip(0, size - 1e-6)
    beyond = ((pixels - nearest) ** 2).sum(axis=-1)
    column, row = nearest.astype(np.int64).T
    # The image is convex, so that the way to a silhouette within it is longer than both sides of a right angle.
    clearance = np.sqrt(silhouette.clearance[row, column] ** 2 + beyond)
    # Half the width of a ball's image; it grows away from the optical axis.
    extent = focals.max() * radius / (safe - radius) * np.sqrt(1 + (plane**2).sum(axis=-1))
    sees = in_front | (depth < -2 * radius) if silhouette.is_whole else in_front & (beyond == 0)
    return sees, in_front & (clearance <= extent) & sees


def carve_hull(
    silhouettes: Sequence[Silhouette],
    points: NDArray[np.float64] | None = None,
    agreement: float = 0.9,
    fine_resolution: int = FINE_RESOLUTION,
) -> SilhouetteHull | None:
    """The hull in cells of about 1 / ``fine_resolution`` of its longest side.

    The search starts in a cube around those of the points that lie in the silhouettes, or else around the point that
    the cameras look at, and is repeated in the box that it found; where the hull reaches the cube's faces, or nothing
    is found, the cube is doubled.

    Args:
        silhouettes: At least two that say something.
        points: (N, 3) of a reconstruction, world units.
        agreement: As for ``vote``.

    Returns:
        None where the silhouettes leave nothing, or bound nothing.
    """
    middle, half = _start_cube(silhouettes, points, agreement)
    with late_progress("Carving the visual hull", MOST_ROUNDS + 1) as advance:
        for _ in range(MOST_DOUBLINGS + 1):
            start = np.stack([middle - half, middle + half])
            box: NDArray[np.float64] | None = start
            for _ in range(MOST_ROUNDS):
                before = box
                cells, cell = _occupied(silhouettes, box, COARSE_RESOLUTION, agreement, advance)
                box = _box_of(cells, cell)
                if box is None or np.prod(box[1] - box[0]) > ENOUGH_SHRINKING * np.prod(before[1] - before[0]):
                    break
            if box is not None and (np.abs(box - start) > 1e-3 * half).all():
                cells, cell = _occupied(silhouettes, box, fine_resolution, agreement, advance)
                radius = float(np.linalg.norm(cell)) / 2
                return SilhouetteHull(cells, radius, _dissent(silhouettes, cells, radius)) if len(cells) else None
            half = 2 * half
    return None


def _start_cube(
    silhouettes: Sequence[Silhouette], points: NDArray[np.float64] | None, agreement: float
) -> tuple[NDArray[np.float64], float]:
    """Centre and half edge of the cube that the search starts in."""
    if points is not None:
        inside = points[vote(silhouettes, points, 0.0, agreement)]
        if len(inside) >= LEAST_POINTS:
            low, high = np.percentile(inside, [2, 98], axis=0)
            if (high > low).all():
                return (low + high) / 2, 1.5 * float((high - low).max()) / 2
    middle = looked_at(silhouettes)
    return middle, float(np.median([np.linalg.norm(view.centre - middle) for view in silhouettes]))


def looked_at(silhouettes: Sequence[Silhouette]) -> NDArray[np.float64]:
    """The point (3,) nearest to all optical axes."""
    poses = [np.concatenate([view.rotation.T, view.centre[:, None]], axis=1) for view in silhouettes]
    # An axis has no direction here, so that OpenCV's and OpenGL's are the same.
    return point_nearest_to_axes(torch.from_numpy(np.stack(poses))).numpy()


def _occupied(
    silhouettes: Sequence[Silhouette],
    box: NDArray[np.float64],
    resolution: int,
    agreement: float,
    advance: Callable[[], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (N, 3) of the cubic cells of a box that belong to the hull, and a cell's sides (3,)."""
    sides = box[1] - box[0]
    counts = np.maximum(np.ceil(resolution * sides / sides.max() - 1e-9), 1).astype(int)
    cell = sides / counts
    axes = [box[0, axis] + cell[axis] * (np.arange(counts[axis]) + 0.5) for axis in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    kept = centres[vote(silhouettes, centres, float(np.linalg.norm(cell)) / 2, agreement)]
    advance()
    return kept, cell


def _box_of(cells: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if len(cells) == 0:
        return None
    return np.stack([cells.min(axis=0) - cell / 2, cells.max(axis=0) + cell / 2])


def _dissent(silhouettes: Sequence[Silhouette], cells: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    shares = []
    for silhouette in silhouettes:
        sees, inside = look(silhouette, cells, radius)
        shares.append(float((sees & ~inside).sum() / max(sees.sum(), 1)))
    return np.array(shares)
