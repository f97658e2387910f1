"""The picture plane: pixels have exact coordinates, by nerfstudio's cameras as by our own rays."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.model_components.picture_plane import PicturePlane

SIZES = [(12, 16), (16, 12), (2, 2), (272, 640)]


def camera_of(plane: PicturePlane) -> Cameras:
    return Cameras(
        camera_to_worlds=plane.camera_to_world()[None],
        fx=plane.focal,
        fy=plane.focal,
        cx=plane.width / 2,
        cy=plane.height / 2,
        width=plane.width,
        height=plane.height,
        times=torch.tensor([[0.5]]),
    )


def expected_coordinates(plane: PicturePlane) -> Tensor:
    """(H, W, 2): 2 index / (size - 1) - 1, row first."""
    axes = [torch.linspace(-1, 1, size, dtype=torch.float64) for size in (plane.height, plane.width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


@pytest.mark.parametrize("size", SIZES)
def test_the_camera_sees_pixel_centres_at_their_coordinates(size: tuple[int, int]) -> None:
    plane = PicturePlane(*size)
    rays = camera_of(plane).generate_rays(camera_indices=0, keep_shape=True).flatten()
    coordinates, distances, inside = plane.intersect(rays.origins, rays.directions)
    assert inside.all()
    torch.testing.assert_close(
        coordinates.view(*size, 2).double(), expected_coordinates(plane), rtol=0, atol=1e-6, check_dtype=False
    )
    points = rays.origins + distances * rays.directions
    assert points[:, 2].abs().max() < 1e-6
    torch.testing.assert_close(points[:, :2].abs().max(), torch.tensor(1.0))


@pytest.mark.parametrize("size", SIZES)
def test_our_rays_are_those_of_nerfstudio(size: tuple[int, int]) -> None:
    plane = PicturePlane(*size)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    ours = plane.pixel_rays(rows, columns, torch.full((len(rows), 1), 0.5))
    theirs = camera_of(plane).generate_rays(camera_indices=0, keep_shape=True).flatten()
    torch.testing.assert_close(ours.origins, theirs.origins)
    torch.testing.assert_close(ours.directions, theirs.directions, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.times, theirs.times)
    assert ours.shape == theirs.shape
    exact = expected_coordinates(plane).view(-1, 2)
    torch.testing.assert_close(plane.pixel_coordinates(rows, columns).double(), exact, rtol=0, atol=1e-7)


def test_the_rectangle_ends_half_a_pixel_outside_and_its_border_repeats() -> None:
    plane = PicturePlane(5, 9)  # pixels are 0.25 wide, so the rectangle is 2.25 x 1.25
    torch.testing.assert_close(plane.bounds()[1, :2], torch.tensor([1.125, 0.625]))
    places = torch.tensor([[1.12, 0.0], [1.13, 0.0], [0.0, 0.62], [0.0, 0.63], [-1.12, -0.62], [0.5, -0.25]])
    origins = torch.cat([places, torch.full((len(places), 1), 3.0)], dim=-1)
    down = torch.tensor([0.0, 0.0, -1.0]).expand_as(origins)
    coordinates, distances, inside = plane.intersect(origins, down)
    assert inside.tolist() == [True, False, True, False, True, True]
    expected = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, -1.0], [0.5, 0.5]])
    torch.testing.assert_close(coordinates[inside], expected)
    assert distances[:, 0].tolist() == [3.0, 0.0, 3.0, 0.0, 3.0, 3.0]


def test_rays_that_leave_the_plane_or_lie_in_it_miss() -> None:
    plane = PicturePlane(8, 8)
    origins = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, -2.0], [0.0, 0.0, 2.0], [0.1, 0.1, 0.0]])
    directions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    _, _, inside = plane.intersect(origins, directions)
    assert inside.tolist() == [False, True, False, False]
