from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.model_components.lens_distortion import (
    distort,
    largest_magnification,
    largest_squared_radius,
    undistort,
)
from nf_plugins.model_components.visual_hull import cells_inside_silhouette, project_points

LENS = torch.tensor([-0.12, 0.05, -0.02, 0.0, 0.003, -0.002])
"""k1, k2, k3, k4, p1, p2."""


def camera(params: torch.Tensor | None) -> Cameras:
    pose = torch.eye(4)[None, :3]
    pose[0, :, 3] = torch.tensor([0.2, -0.1, 3.0])
    distortion = None if params is None else params[None]
    return Cameras(pose, 90.0, 95.0, 30.0, 34.0, 60, 70, distortion_params=distortion)[0]


def test_distortion_is_opencvs():
    points = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    k1, k2, k3, _, p1, p2 = LENS.double().tolist()
    in_space = np.concatenate([points.numpy(), np.ones((50, 1))], axis=1)
    expected, _ = cv2.projectPoints(in_space, np.zeros(3), np.zeros(3), np.eye(3), np.array([k1, k2, p1, p2, k3]))
    np.testing.assert_allclose(distort(points, LENS.double()).numpy(), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize(
    "params",
    [
        LENS.tolist(),
        [0.3, -0.1, 0.0, 0.0, 0.0, 0.0],  # pincushion that turns
        [-0.3, 0.0, 0.0, 0.0, 0.01, -0.01],  # barrel that folds
        [-0.3, 0.1, -0.02, 0.001, 0.001, 0.001],
        [1.2, -3.0, 2.0, 0.0, 0.0, 0.0],  # neither
        [0.0] * 6,
    ],
)
def test_undistortion_is_the_inverse_up_to_the_rim(params: list[float]):
    lens = torch.tensor(params, dtype=torch.float64)
    points = 2.4 * torch.rand(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1.2
    points = points[points.square().sum(-1) < min(0.9 * largest_squared_radius(lens), 1.44)]
    found, converged = undistort(distort(points[:100], lens).reshape(2, 50, 2), lens)
    assert found.shape == (2, 50, 2) and converged.shape == (2, 50)
    found, converged = undistort(distort(points, lens).float(), lens.float())
    assert found.dtype == torch.float64 and bool(converged.all())
    found, converged = undistort(distort(points, lens), lens)
    assert bool(converged.all()) and float((found - points).abs().max()) < 1e-9


def test_what_no_point_is_imaged_at_has_no_undistortion():
    fold = torch.tensor([-0.12, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    rim = 2 / 3 / 0.36**0.5  # r (1 - 0.12 r^2) at its largest
    points = torch.tensor([[rim - 1e-4, 0.0], [0.0, rim + 1e-4], [3.0, 4.0], [1e6, -1e6], [0.0, 0.0]])
    found, converged = undistort(points.double(), fold)
    assert converged.tolist() == [True, False, False, False, True] and bool(found.isfinite().all())
    assert bool((found.norm(dim=-1) <= 1 / 0.36**0.5).all())


def test_projection_agrees_with_the_rays_of_a_distorted_camera():
    view = camera(LENS)
    rows, columns = torch.meshgrid(torch.arange(0, 70, 7) + 0.5, torch.arange(0, 60, 7) + 0.5, indexing="ij")
    coords = torch.stack([rows, columns], dim=-1).reshape(-1, 2)
    many = Cameras(view.camera_to_worlds[None], 90.0, 95.0, 30.0, 34.0, 60, 70, distortion_params=LENS[None])
    rays = many.generate_rays(torch.zeros(len(coords), 1, dtype=torch.long), coords=coords)
    x, y, depth = project_points(view, rays.origins + 2.5 * rays.directions)
    torch.testing.assert_close(torch.stack([y, x], dim=-1), coords, atol=1e-3, rtol=0)
    assert bool((depth > 0).all())
    straight_x, _, _ = project_points(camera(None), rays.origins + 2.5 * rays.directions)
    assert float((straight_x - x).abs().max()) > 0.3, "the lens matters in this test"


def test_points_beyond_the_fold_of_the_polynomial_are_not_seen():
    """With k1 = -0.12 alone r (1 - 0.12 r^2) turns at r^2 = 1 / 0.36 and comes back through the image."""
    fold = torch.tensor([-0.12, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert largest_squared_radius(fold) == pytest.approx(1 / 0.36, rel=1e-6)
    assert largest_squared_radius(torch.zeros(6)) == float("inf")
    assert largest_squared_radius(torch.tensor([0.1, 0.2, 0.0, 0.0, 0.0, 0.0])) == float("inf")
    view = camera(fold)
    radius = (1 / 0.12) ** 0.5  # imaged at the very centre again
    outside = torch.tensor([[0.2 + radius, -0.1, 2.0], [0.2, -0.1, 2.0]])
    x, y, depth = project_points(view, outside)
    torch.testing.assert_close(x[0], x[1], atol=1e-2, rtol=0)
    assert depth.tolist() == [-1.0, 1.0]


def test_magnification_bounds_the_derivative():
    generator = torch.Generator().manual_seed(1)
    points = (torch.rand(200, 2, dtype=torch.float64, generator=generator) - 0.5) * 1.4
    for sign in (1, -1):
        params = sign * LENS.double()
        jacobians = torch.func.vmap(torch.func.jacrev(lambda point, p=params: distort(point, p)))(points)
        largest = torch.linalg.matrix_norm(jacobians, ord=2)
        assert bool((largest <= largest_magnification((points**2).sum(-1), params) + 1e-12).all())


def test_hull_keeps_what_a_distorted_camera_sees_as_foreground():
    """Cells around a ball: a strong lens moves its image by many pixels, and the hull has to follow."""
    params = torch.tensor([-0.9, 0.3, 0.0, 0.0, 0.0, 0.0])
    view = camera(params)
    centre = torch.tensor([0.6, 0.5, 0.9])
    rows, columns = torch.meshgrid(torch.arange(70) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    coords = torch.stack([rows, columns], dim=-1).reshape(-1, 2)
    many = Cameras(view.camera_to_worlds[None], 90.0, 95.0, 30.0, 34.0, 60, 70, distortion_params=params[None])
    rays = many.generate_rays(torch.zeros(len(coords), 1, dtype=torch.long), coords=coords)
    offset = centre - rays.origins
    missed = (offset - (offset * rays.directions).sum(-1, keepdim=True) * rays.directions).norm(dim=-1)
    mask = (missed < 0.15).reshape(70, 60)
    assert 20 < int(mask.sum())
    directions = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    inside = centre + 0.12 * torch.nn.functional.normalize(directions)
    outside = centre + torch.tensor([[-0.35, 0.0, 0.0], [0.0, -0.35, 0.0], [-0.2, -0.25, 0.2]])
    assert bool(cells_inside_silhouette(view, mask, inside, 0.01).all())
    assert not bool(cells_inside_silhouette(view, mask, outside, 0.01).any())
    straight = cells_inside_silhouette(camera(None), mask, inside, 0.01)
    assert not bool(straight.all()), "without the lens the hull would carve the ball"
