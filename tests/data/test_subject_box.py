from __future__ import annotations

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.data.subject_box import box_around, hull_box, scene_units

SIZE, FOCAL = 64, 80.0


def ring(count: int, distance: float = 4.0) -> Cameras:
    """Cameras around the z axis that look at the origin."""
    poses = []
    for index in range(count):
        angle, lift = 2 * math.pi * index / count, 0.3 if index % 2 else -0.2
        backward = torch.tensor([math.cos(angle) * math.cos(lift), math.sin(angle) * math.cos(lift), math.sin(lift)])
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), backward), dim=0)
        up = torch.linalg.cross(backward, right)
        poses.append(torch.cat([torch.stack([right, up, backward], dim=1), distance * backward[:, None]], dim=1))
    return Cameras(torch.stack(poses), FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE)


def ball_masks(cameras: Cameras, centre: torch.Tensor, radius: float) -> list[torch.Tensor]:
    masks = []
    for index in range(len(cameras)):
        rays = cameras.generate_rays(index)
        offset = centre - rays.origins
        along = (offset * rays.directions).sum(-1, keepdim=True)
        masks.append((offset - along * rays.directions).norm(dim=-1) < radius)
    return masks


def test_box_of_a_ball_is_about_its_own():
    cameras, centre = ring(5), torch.tensor([0.3, -0.2, 0.4])
    box = hull_box(cameras, ball_masks(cameras, centre, 0.5), [0] * 5)
    assert box is not None
    truth = torch.stack([centre - 0.5, centre + 0.5])
    # A pixel covers 4 / 80 = 0.05; the hull is never inside the ball and little larger.
    assert bool((box[0] < truth[0] + 0.03).all() and (box[1] > truth[1] - 0.03).all())
    assert float((box - truth).abs().max()) < 0.25


def test_box_holds_the_hulls_of_all_times():
    cameras = ring(4)
    first, second = torch.tensor([-0.6, 0.0, 0.0]), torch.tensor([0.6, 0.1, 0.3])
    masks = ball_masks(cameras, first, 0.3) + ball_masks(cameras, second, 0.3)
    both = Cameras(cameras.camera_to_worlds.repeat(2, 1, 1), FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE)
    box = hull_box(both, masks, [0] * 4 + [7] * 4)
    assert box is not None
    assert float(box[0, 0]) == pytest.approx(-0.9, abs=0.2) and float(box[1, 0]) == pytest.approx(0.9, abs=0.2)
    alone = hull_box(cameras, masks[:4], [0] * 4)
    assert alone is not None and float(alone[1, 0]) < 0


def test_subject_that_leaves_an_image_is_found_by_the_others():
    cameras = ring(6)
    centre = torch.tensor([0.0, 0.0, 0.3])
    masks = ball_masks(cameras, centre, 0.4)
    cameras.cy = cameras.cy.clone()
    cameras.cy[0] = -60.0  # this one looks elsewhere and sees nothing of it
    masks[0][:] = False
    box = hull_box(cameras, masks, [0] * 6)
    assert box is not None
    assert bool((box[0] < centre - 0.35).all() and (box[1] > centre + 0.35).all())


def test_masks_that_contradict_each_other_leave_nothing():
    cameras = ring(4)
    masks = ball_masks(cameras, torch.zeros(3), 0.5)
    masks[2][:] = False
    assert hull_box(cameras, masks, [0] * 4) is None


def test_large_masks_are_reduced_without_losing_foreground():
    cameras = ring(4)
    large = Cameras(cameras.camera_to_worlds, 8 * FOCAL, 8 * FOCAL, 4.0 * SIZE, 4.0 * SIZE, 8 * SIZE, 8 * SIZE)
    centre = torch.tensor([0.2, 0.1, -0.1])
    box = hull_box(large, ball_masks(large, centre, 0.5), [0] * 4)
    assert box is not None
    assert bool((box[0] < centre - 0.49).all() and (box[1] > centre + 0.49).all())


def test_scene_units_put_the_corners_on_the_unit_sphere():
    box = torch.tensor([[1.0, 2.0, 3.0], [2.0, 5.0, 4.0]])
    world_from_scene, aabb = scene_units(box)
    torch.testing.assert_close(aabb.norm(dim=-1), torch.ones(2))
    corners = torch.cat([aabb, torch.ones(2, 1)], dim=1) @ world_from_scene.T
    torch.testing.assert_close(corners[:, :3], box)


def test_box_around_points_leaves_out_what_is_not_finite():
    points = torch.tensor([[[0.0, 1.0, 2.0], [float("nan")] * 3], [[1.0, 0.0, 0.0], [0.5, float("inf"), 0.0]]])
    assert box_around(points, 0.5).tolist() == [[-0.5, -0.5, -0.5], [1.5, 1.5, 2.5]]
    with pytest.raises(ValueError, match="no points"):
        box_around(points[:, 1], 0.0)
