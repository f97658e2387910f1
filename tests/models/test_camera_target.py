"""nerfstudio's cameras as targets."""

import torch
from ball_pipeline import SIZE, ball_cameras

from nf_plugins.models.camera_target import opencv_camera, picture_positions, target_view


def test_points_on_rays_project_to_their_pixels() -> None:
    camera = ball_cameras()[5:6]
    camera.cx, camera.cy = camera.cx + 1.3, camera.cy - 0.4
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    points = rays.origins + 2.7 * rays.directions
    intrinsics, world_to_camera = opencv_camera(camera)
    projected = (points @ world_to_camera[:, :3].T + world_to_camera[:, 3]) @ intrinsics.T
    assert bool((projected[..., 2] > 0).all())
    assert torch.allclose(projected[..., :2] / projected[..., 2:], picture_positions(SIZE, SIZE), atol=1e-3)


def test_a_view_reaches_over_its_box() -> None:
    camera = ball_cameras()[2:3]
    box = torch.tensor([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]])
    view = target_view(camera, box, 0.5)
    assert torch.allclose(view.center, camera.camera_to_worlds[0, :, 3], atol=1e-5)
    assert view.size == (SIZE, SIZE) and view.time == 0.5
    distance = float(view.center.norm())
    assert distance - 0.87 <= float(view.z_range[0]) < distance < float(view.z_range[1]) <= distance + 0.87
