"""The picture of a box, against rays that meet it or not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.image_depth_range import DEPTH_LIMITS, box_within_limits, image_depth_range
from nf_plugins.model_components.projected_box import box_corners, box_pixels, convex_hull

BOX = torch.tensor([[-0.5, -0.4, -0.3], [0.6, 0.2, 0.5]])
INTRINSICS = torch.tensor([[50.0, 0, 21.3], [0, 47.0, 14.2], [0, 0, 1]])
SIZE = (30, 44)


def look(position: list[float], target: list[float]) -> Tensor:
    """World to camera (3, 4), OpenCV's axes."""
    centre, forward = torch.tensor(position), torch.tensor(target) - torch.tensor(position)
    forward = forward / forward.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]))
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    return torch.cat([rotation, -(rotation @ centre)[:, None]], dim=-1)


def hits(pose: Tensor) -> Tensor:
    """Brute force: which pixels' rays meet the box."""
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).double()
    directions = pixels @ torch.linalg.inv(INTRINSICS.double()).T @ pose[:, :3].double()
    directions = directions / directions.norm(dim=-1, keepdim=True)
    origin = -pose[:, :3].double().T @ pose[:, 3].double()
    near, far = intersect_box(origin.expand_as(directions), directions, BOX.double())
    return (far > near)[..., 0]


@pytest.mark.parametrize(
    ("position", "target"),
    [
        ([3.0, 1, 0.7], [0.0, 0, 0]),
        ([0.2, -2.5, -1.8], [0.4, 0, 0.2]),
        ([2.0, 2, 0.1], [1.5, -1, 0]),
        ([0.0, 4, 0], [3.0, 0, 0]),
    ],
)
def test_pixels_are_those_whose_rays_meet_the_box(position: list[float], target: list[float]) -> None:
    pose = look(position, target)
    expected = hits(pose)
    assert bool(expected.any()) == (target[0] < 3), "one view does not see it"
    assert torch.equal(box_pixels(pose, INTRINSICS, SIZE, BOX), expected)


def test_cameras_within_and_before_the_box() -> None:
    inside, turned_away = look([0.0, 0, 0], [1.0, 0, 0]), look([3.0, 0, 0], [6.0, 0, 0])
    assert box_pixels(inside, INTRINSICS, SIZE, BOX).all()
    assert not box_pixels(turned_away, INTRINSICS, SIZE, BOX).any()
    near, far = image_depth_range(inside, BOX)
    assert near == DEPTH_LIMITS[0] and far == pytest.approx(0.6)
    assert image_depth_range(turned_away, BOX) == DEPTH_LIMITS
    assert box_within_limits(inside, BOX) and not box_within_limits(turned_away, BOX)


def test_depths_are_those_of_the_corners() -> None:
    pose = look([3.0, 1, 0.7], [0.0, 0, 0])
    depths = torch.stack([corner @ pose[2, :3] + pose[2, 3] for corner in box_corners(BOX)])
    assert image_depth_range(pose, BOX) == pytest.approx((float(depths.min()), float(depths.max())))
    assert image_depth_range(pose, BOX, limits=(3.0, 3.1)) == (3.0, 3.1)


def test_corners_and_hull() -> None:
    assert {tuple(corner) for corner in box_corners(BOX).tolist()} == {
        (x, y, z) for x in BOX[:, 0].tolist() for y in BOX[:, 1].tolist() for z in BOX[:, 2].tolist()
    }
    assert convex_hull([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2], [1, 0]]) == [[0, 0], [2, 0], [2, 2], [0, 2]]
