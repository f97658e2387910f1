import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.model_components.temporal_occupancy import TemporalOccupancyGrid
from nf_plugins.model_components.visual_hull import cells_inside_silhouette, project_points

SIZE, FOCAL, DISTANCE = 64, 80.0, 3.0


def camera_looking_along(axis: int) -> Cameras:
    """Camera on the positive axis at a distance, looking at the origin."""
    backward = torch.eye(3)[axis]
    up = torch.eye(3)[(axis + 1) % 3]
    right = torch.linalg.cross(up, backward)
    pose = torch.cat([torch.stack([right, up, backward], dim=1), backward[:, None] * DISTANCE], dim=1)
    return Cameras(pose[None], FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE)[0]


def ball_mask(camera: Cameras, radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    local = torch.stack([(columns - SIZE / 2) / FOCAL, -(rows - SIZE / 2) / FOCAL, -torch.ones_like(rows)], dim=-1)
    directions = torch.nn.functional.normalize(local @ camera.camera_to_worlds[:, :3].T, dim=-1)
    origin = camera.camera_to_worlds[:, 3]
    closest = origin - (directions @ origin)[..., None] * directions
    return closest.norm(dim=-1) < radius


def test_projection_agrees_with_the_rays_of_the_camera() -> None:
    camera = camera_looking_along(1)
    cameras = Cameras(camera.camera_to_worlds[None], FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE)
    bundle = cameras.generate_rays(camera_indices=0, keep_shape=True)
    points = (bundle.origins + 2.5 * bundle.directions).view(-1, 3)
    x, y, depth = project_points(camera, points)
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    assert torch.allclose(x.view(SIZE, SIZE), columns, atol=1e-3)
    assert torch.allclose(y.view(SIZE, SIZE), rows, atol=1e-3)
    assert (depth > 0).all()


def test_hull_of_three_views_holds_the_ball_and_little_more() -> None:
    radius = 0.5
    grid = TemporalOccupancyGrid(torch.tensor([[-1.0] * 3, [1.0] * 3]), 1, 32)
    centers, cell = grid.cell_centers(), float(grid.cell_radius)
    keep = torch.ones(len(centers), dtype=torch.bool)
    for axis in range(3):
        camera = camera_looking_along(axis)
        keep &= cells_inside_silhouette(camera, ball_mask(camera, radius), centers, cell)
    touches_ball = centers.norm(dim=-1) < radius + cell
    lost = touches_ball & ~keep
    # A mask pixel is background when its centre misses the ball: up to half a pixel of rim may be carved.
    rim = centers.norm(dim=-1) > radius + cell - 0.5 * DISTANCE / FOCAL
    assert not (lost & ~rim).any(), "no cell of the ball is lost"
    assert keep.float().mean() < 4 * touches_ball.float().mean()


def test_what_a_view_does_not_see_is_kept() -> None:
    camera = camera_looking_along(0)
    nothing = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    points = torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    assert cells_inside_silhouette(camera, nothing, points, 0.01).tolist() == [False, True, True]
