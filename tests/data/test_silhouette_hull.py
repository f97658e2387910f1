from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ball_capture import MIDDLE, OPENCV, RADIUS, photograph, ring_pose

from nf_plugins.data.silhouette_hull import Silhouette, carve_hull, look, make_silhouette, vote
from nf_plugins.data.transforms_json import Lens

LENS = Lens(width=160, height=128, fx=400.0, fy=410.0, cx=83.0, cy=61.0)
INTRINSICS = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])


def silhouette_at(pose: np.ndarray, mask: np.ndarray, name: str = "view") -> Silhouette:
    opencv = pose @ OPENCV
    return make_silhouette(name, INTRINSICS, opencv[:3, :3].T, opencv[:3, 3], mask)


def ball_silhouettes(number: int = 10) -> list[Silhouette]:
    poses = [ring_pose(2 * np.pi * k / number, 3.0 * np.sin(2.4 * k)) for k in range(number)]
    return [silhouette_at(pose, photograph(pose, MIDDLE, LENS)[1], f"view{k}") for k, pose in enumerate(poses)]


def test_a_look_agrees_with_the_photograph():
    pose = ring_pose(0.7, 1.0)
    mask = photograph(pose, MIDDLE, LENS)[1]
    silhouette = silhouette_at(pose, mask)
    rows, columns = np.mgrid[: LENS.height, : LENS.width]
    local = np.stack([(columns + 0.5 - LENS.cx) / LENS.fx, (rows + 0.5 - LENS.cy) / LENS.fy, np.ones(rows.shape)], -1)
    points = 4.0 * local.reshape(-1, 3) @ silhouette.rotation + silhouette.centre
    sees, inside = look(silhouette, points, 0.0)
    assert sees.all()
    inside = inside.reshape(mask.shape)
    assert inside[mask].all()
    # A silhouette is known to one pixel's diagonal.
    from scipy import ndimage

    distance = np.asarray(ndimage.distance_transform_edt(~mask))
    np.testing.assert_array_equal(inside, distance <= np.sqrt(2) + 1e-6)


def test_what_a_view_says_beyond_its_image():
    pose = ring_pose(0.7, 1.0)
    mask = photograph(pose, MIDDLE, LENS)[1]
    view = silhouette_at(pose, mask)
    right, forward = view.rotation[0], view.rotation[2]
    beside, behind, at = view.centre + 3 * forward + 3 * right, view.centre - 3 * forward, view.centre
    sees, inside = look(view, np.stack([beside, behind, at]), 0.1)
    # The ball is whole in the picture, so it is nowhere else.
    assert sees.tolist() == [True, True, False] and not inside.any()
    mask[:, -1] = True
    view = silhouette_at(pose, mask)
    sees, inside = look(view, np.stack([beside, behind, at]), 0.1)
    assert not sees.any() and not inside.any()
    # A ball that reaches into the image may touch the silhouette.
    large = look(silhouette_at(pose, photograph(pose, MIDDLE, LENS)[1]), beside[None], 1.4)
    assert large[0].all() and large[1].all()


def test_large_masks_are_reduced_without_loss_of_the_silhouette():
    mask = np.zeros((600, 1300), dtype=bool)
    mask[300, 700] = True
    silhouette = make_silhouette("view", np.diag([900.0, 900.0, 1.0]), np.eye(3), np.zeros(3), mask)
    assert max(silhouette.clearance.shape) <= 512
    ray = np.array([[700.5 / 900, 300.5 / 900, 1.0]])
    assert look(silhouette, 5 * ray, 0.0)[1].all()
    assert not look(silhouette, 5 * ray + [[0.1, 0, 0]], 0.0)[1].any()
    with pytest.raises(ValueError, match="no foreground"):
        make_silhouette("view", np.eye(3), np.eye(3), np.zeros(3), np.zeros((4, 4), dtype=bool))


def test_a_ball_that_touches_a_silhouette_counts():
    silhouettes = ball_silhouettes(6)
    beside = MIDDLE[None] + [[0.0, 0.0, 1.5 * RADIUS]]
    assert len(vote(silhouettes, MIDDLE[None], 0.0, 1.0)) == 1
    assert len(vote(silhouettes, beside, 0.0, 1.0)) == 0
    assert len(vote(silhouettes, beside, 0.75 * RADIUS, 1.0)) == 1


def test_the_hull_holds_the_ball_and_little_else():
    hull = carve_hull(ball_silhouettes(16), agreement=1.0)
    assert hull is not None
    distances = np.linalg.norm(hull.cells - MIDDLE, axis=-1)
    assert RADIUS < distances.max() < 1.12 * RADIUS
    inside = MIDDLE + RADIUS * np.random.default_rng(0).uniform(-0.5, 0.5, size=(200, 3))
    from scipy.spatial import cKDTree

    assert cKDTree(hull.cells).query(inside)[0].max() <= hull.cell_radius + 1e-9
    assert hull.dissent.max() == 0


def test_one_bad_mask_is_outvoted_and_shows():
    silhouettes = ball_silhouettes()
    assert carve_hull(silhouettes, agreement=1.0) is not None
    bad = np.ones((LENS.height, LENS.width), dtype=bool)
    bad[10:-10, 10:-10] = False
    silhouettes[3] = silhouette_at(ring_pose(2 * np.pi * 3 / 10, 3.0 * np.sin(7.2)), bad)
    assert carve_hull(silhouettes, agreement=1.0) is None
    hull = carve_hull(silhouettes, agreement=0.9)
    assert hull is not None
    assert hull.dissent.argmax() == 3 and hull.dissent[3] > 0.9
    assert np.linalg.norm(hull.cells.mean(axis=0) - MIDDLE) < 0.1 * RADIUS


def test_points_say_where_the_search_begins():
    silhouettes = ball_silhouettes()
    rng = np.random.default_rng(0)
    points = np.concatenate([MIDDLE + 0.3 * rng.uniform(-1, 1, (100, 3)), MIDDLE + rng.uniform(-30, 30, (500, 3))])
    with_points = carve_hull(silhouettes, points)
    without = carve_hull(silhouettes)
    assert with_points is not None and without is not None
    for hull in (with_points, without):
        radius = np.linalg.norm(hull.cells - MIDDLE, axis=-1).max()
        assert RADIUS < radius < 1.25 * RADIUS
    # Far from the origin, as in geographic coordinates.
    offset = np.array([4.0e6, -3.0e6, 5.0e5])
    moved = carve_hull([replace(view, centre=view.centre + offset) for view in silhouettes])
    assert moved is not None
    np.testing.assert_allclose(moved.cells.mean(axis=0) - offset, without.cells.mean(axis=0), atol=0.02)
