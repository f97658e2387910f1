"""Where a box is in a picture."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

SMALLEST_DEPTH = 1e-6


def box_corners(box: Tensor) -> Tensor:
    """The eight corners ``(8, 3)`` of a box given by its lower and upper corner ``(2, 3)``."""
    picks = torch.tensor(list(itertools.product((0, 1), repeat=3)), device=box.device)
    return box.gather(0, picks)


def box_pixels(world_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int], box: Tensor) -> Tensor:
    """Pixels whose ray through the centre meets a box.

    The box is convex, and so is its picture: the hull of its projected corners.

    Args:
        world_to_camera: ``(3, 4)``, OpenCV's axes.
        intrinsics: ``(3, 3)``; the centre of the first pixel is (0, 0).
        size: Height and width.
        box: Lower and upper corner ``(2, 3)``, world.

    Returns:
        bool ``(H, W)``: all where some corners, none where all corners lie behind the camera.
    """
    height, width = size
    points = (box_corners(box).double() @ world_to_camera[:, :3].double().T) + world_to_camera[:, 3].double()
    in_front = points[:, 2] > SMALLEST_DEPTH
    if not bool(in_front.all()):
        return torch.full((height, width), bool(in_front.any()), device=box.device)
    projected = points @ intrinsics.double().T
    hull = convex_hull((projected[:, :2] / projected[:, 2:]).tolist())
    columns = torch.arange(width, dtype=torch.float64, device=box.device)
    rows = torch.arange(height, dtype=torch.float64, device=box.device)[:, None]
    inside = torch.ones(height, width, dtype=torch.bool, device=box.device)
    for (x0, y0), (x1, y1) in zip(hull, hull[1:] + hull[:1], strict=True):
        inside &= (x1 - x0) * (rows - y0) - (y1 - y0) * (columns - x0) >= 0
    return inside


def convex_hull(points: list[list[float]]) -> list[list[float]]:
    """The corners of the convex hull of points in a plane, such that the inside is where the cross product of an edge
    with the way to a point is not negative (Andrew's monotone chain)."""
    ordered = sorted(points)

    def chain(points: list[list[float]]) -> list[list[float]]:
        kept: list[list[float]] = []
        for point in points:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return chain(ordered) + chain(ordered[::-1])


def _turn(first: list[float], second: list[float], third: list[float]) -> float:
    return (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])
