import math

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.plane_sweep import (
    depth_at,
    fraction_at,
    plane_depths,
    plane_points,
    scaled_intrinsics,
    scaled_size,
    variance_volume,
    warp_to_planes,
)
from nf_plugins.model_components.source_projection import project_to_sources, sample_sources

SIZE = (20, 28)
INTRINSICS = torch.tensor([[24.0, 0, 13.2], [0, 26.0, 9.4], [0, 0, 1]])


def camera_at(x: float, y: float, z: float, turn: float = 0.0) -> Tensor:
    cosine, sine = math.cos(turn), math.sin(turn)
    rotation = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return torch.cat([rotation, -rotation @ torch.tensor([[x], [y], [z]])], dim=1)


def test_depths_of_planes() -> None:
    z_range = torch.tensor([2.0, 4.0])
    torch.testing.assert_close(plane_depths(z_range, 5), torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]))
    torch.testing.assert_close(plane_depths(z_range, 3, "inverse"), torch.tensor([2.0, 1 / (0.5 * 0.75), 4.0]))
    torch.testing.assert_close(plane_depths(z_range, 3, offset=0.1), torch.tensor([2.2, 3.2, 4.2]))
    by_pixel = torch.stack([torch.full((3, 2), 1.0), torch.tensor([[2.0, 3.0]]).expand(3, 2)])
    assert plane_depths(by_pixel, 4).shape == (4, 3, 2)
    torch.testing.assert_close(plane_depths(by_pixel, 4)[-1], by_pixel[1])


@pytest.mark.parametrize("mode", ["linear", "inverse"])
def test_fractions_invert_depths(mode: str) -> None:
    fractions, near, far = torch.rand(9), torch.tensor(1.5), torch.tensor(4.0)
    depths = depth_at(fractions, near, far, mode)  # type: ignore[arg-type]
    torch.testing.assert_close(fraction_at(depths, near, far, mode), fractions)  # type: ignore[arg-type]
    assert float(fraction_at(near, near, near, mode)) == 0  # type: ignore[arg-type]


def test_sizes_are_rounded_up_so_that_no_pixel_lies_outside() -> None:
    assert scaled_size((192, 190), 0.25) == (48, 48)
    assert scaled_size((3, 512), 0.5) == (2, 256)


def test_points_of_planes_project_to_their_pixels_at_their_depth() -> None:
    pose = camera_at(0.3, -0.2, -1.0, turn=0.4)
    depths = plane_depths(torch.tensor([1.0, 3.0]), 4)[:, None, None].expand(4, *SIZE)
    points = plane_points(INTRINSICS, pose, depths)
    uv, z = project_to_sources(points.reshape(-1, 3), INTRINSICS[None], pose[None])
    torch.testing.assert_close(z[0].view(4, *SIZE), depths)
    pixels = uv[0].view(4, *SIZE, 2)
    torch.testing.assert_close(pixels[2, 7, 11], torch.tensor([11.0, 7.0]), atol=1e-4, rtol=0)


def test_the_homography_of_a_plane_maps_pixels_as_the_projection_of_its_points_does() -> None:
    # x_source ~ K' (R - t n^T / d) K^-1 x_target in the target's camera, whose plane is z = d.
    target, source, depth = camera_at(0.1, 0.2, -1.5, 0.2), camera_at(-0.4, 0.0, -1.2, -0.1), 1.8
    scaled = scaled_intrinsics(INTRINSICS, 0.5)
    rotation = source[:, :3] @ target[:, :3].T
    translation = source[:, 3] - rotation @ target[:, 3]
    normal = torch.tensor([0.0, 0.0, 1.0])
    homography = scaled @ (rotation + translation[:, None] * normal / depth) @ torch.linalg.inv(INTRINSICS)
    points = plane_points(INTRINSICS, target, torch.full((1, *SIZE), depth))
    uv, _ = project_to_sources(points.reshape(-1, 3), scaled[None], source[None])
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).float().reshape(-1, 3)
    mapped = pixels @ homography.T
    torch.testing.assert_close(uv[0], mapped[:, :2] / mapped[:, 2:], atol=1e-3, rtol=1e-4)


def texture(points: Tensor) -> Tensor:
    """Colours of a plane at its points ``(*batch, 3)``, channels last."""
    waves = [torch.sin(5 * points[..., 0]), torch.cos(7 * points[..., 1]), torch.sin(4 * points[..., :2].sum(-1))]
    return torch.stack(waves, dim=-1)


def picture_of_plane(pose: Tensor, height: float) -> Tensor:
    """What a camera that is not turned sees of the textured plane z = height, ``(3, h, w)``."""
    depth = height + float(pose[2, 3])
    return texture(plane_points(INTRINSICS, pose, torch.full((1, *SIZE), depth))[0]).permute(2, 0, 1)


def test_variance_is_least_at_the_depth_of_a_textured_plane() -> None:
    height = 0.4
    target = camera_at(0.0, 0.0, -2.0)
    poses = torch.stack([camera_at(x, y, z) for x, y, z in [(-0.3, 0.1, -2.0), (0.25, -0.1, -2.1), (0.1, 0.3, -1.9)]])
    pictures = torch.stack([picture_of_plane(pose, height) for pose in poses])
    depths = plane_depths(torch.tensor([1.9, 2.9]), 11)
    points = plane_points(INTRINSICS, target, depths[:, None, None].expand(11, *SIZE))
    warped = warp_to_planes(pictures, INTRINSICS.expand(3, 3, 3), poses, points)
    assert warped.shape == (3, 3, 11, *SIZE)
    # Away from the border, where a source may not see the plane.
    inner = variance_volume(warped).sum(dim=0)[:, 6:-6, 8:-8]
    found = depths[inner.mean(dim=(1, 2)).argmin()]
    assert float(found) == pytest.approx(height + 2.0, abs=1e-5)
    assert (inner.argmin(dim=0) == 5).float().mean() > 0.9


def test_warped_volumes_are_what_the_sources_show_at_the_points() -> None:
    poses = torch.stack([camera_at(-0.2, 0.0, -2.0, 0.05), camera_at(0.2, 0.1, -2.0, -0.05)])
    maps = torch.rand(2, 5, *SIZE, generator=torch.Generator().manual_seed(0))
    points = plane_points(
        INTRINSICS, camera_at(0, 0, -2.0), torch.full((2, *SIZE), 2.0) + torch.arange(2.0).view(2, 1, 1)
    )
    warped = warp_to_planes(maps, INTRINSICS.expand(2, 3, 3), poses, points)
    uv, _ = project_to_sources(points[1, 4, 9][None], INTRINSICS.expand(2, 3, 3), poses)
    torch.testing.assert_close(warped[:, :, 1, 4, 9], sample_sources(maps, uv)[:, 0])


def test_a_single_source_has_no_variance() -> None:
    assert float(variance_volume(torch.rand(1, 2, 3, 4, 5)).abs().max()) == 0
