import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.exporters.trajectories import look_at_pose
from nf_plugins.model_components.ray_camera import camera_of_rays
from nf_plugins.model_components.source_projection import project_to_sources


def camera() -> Cameras:
    position = torch.tensor([2.1, -1.7, 0.8], dtype=torch.float64)
    pose = look_at_pose(position, torch.tensor([0.1, 0.0, 0.2]).double(), torch.tensor([0.0, 0.0, 1.0]).double())
    return Cameras(pose[None].float(), fx=310.0, fy=290.0, cx=101.3, cy=88.9, width=192, height=180)


def test_the_camera_is_found_from_some_of_its_rays() -> None:
    rays = camera().generate_rays(camera_indices=0, keep_shape=True)
    rows, columns = torch.randint(0, 180, (40,)), torch.randint(0, 192, (40,))
    directions = rays.directions[rows, columns] * rays.metadata["directions_norm"][rows, columns]
    uv = torch.stack([columns, rows], dim=-1).float()
    found = camera_of_rays(rays.origins[0, 0], directions, uv)
    assert found is not None
    intrinsics, world_to_camera = found
    expected = torch.tensor([[310.0, 0, 100.8], [0, 290.0, 88.4], [0, 0, 1]])
    torch.testing.assert_close(intrinsics, expected, atol=0.02, rtol=0)
    points = rays.origins[0, 0] + 2.5 * directions
    pixels, depth = project_to_sources(points, intrinsics[None], world_to_camera[None])
    torch.testing.assert_close(pixels[0], uv, atol=1e-2, rtol=0)
    torch.testing.assert_close(depth[0], torch.full((40,), 2.5), atol=1e-4, rtol=0)
    assert float(torch.linalg.det(world_to_camera[:, :3])) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_rays_on_a_line_do_not_tell(num: int) -> None:
    uv = torch.stack([torch.arange(num), 2 * torch.arange(num)], dim=-1).float()
    directions = torch.cat([uv / 100, torch.ones(num, 1)], dim=-1)
    assert camera_of_rays(torch.zeros(3), directions, uv) is None
