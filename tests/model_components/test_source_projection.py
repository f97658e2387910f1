import pytest
import torch

from nf_plugins.model_components.source_projection import (
    direction_code,
    inside_sources,
    project_to_sources,
    sample_sources,
)

HEIGHT, WIDTH = 16, 24
INTRINSICS = torch.tensor([[20.0, 0, 11.5], [0, 20, 7.5], [0, 0, 1]]).expand(2, 3, 3)
TRANSLATIONS = torch.tensor([[0.0, 0, 2], [0.2, 0, 2]])
WORLD_TO_CAMERAS = torch.cat([torch.eye(3).expand(2, 3, 3), TRANSLATIONS[..., None]], dim=-1)
CENTERS = -TRANSLATIONS
POINT = torch.tensor([[0.1, -0.05, 0.2]])
TARGET = POINT[0] - 3.0 * torch.tensor([0.05, 0.02, 1.0])


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT).float(), torch.arange(WIDTH).float(), indexing="ij")
    colour = torch.stack([columns / 23, rows / 15, (columns + rows) / 38])
    waves = [
        torch.stack([torch.sin(0.1 * (c + 1) * columns + 0.2 * rows + view) for c in range(8)]) for view in range(2)
    ]
    return torch.stack([colour, 0.9 * colour]), torch.stack(waves)


def test_published_values_of_a_point_in_two_views() -> None:
    rgb, features = pictures()
    uv, depth = project_to_sources(POINT, INTRINSICS, WORLD_TO_CAMERAS)
    colours, waves = sample_sources(rgb, uv)[:, 0], sample_sources(features, uv)[:, 0]
    code = direction_code(POINT, TARGET, CENTERS)[:, 0]
    torch.testing.assert_close(
        colours, torch.tensor([[0.539526, 0.469697, 0.511962], [0.556719, 0.422727, 0.503828]]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(waves[:, 0], torch.tensor([0.471105, -0.635549]), atol=1e-5, rtol=0)
    expected = torch.tensor([[-0.105609, -0.994378, 0.003674, 0.999079], [0.891676, -0.444881, -0.083507, 0.995440]])
    torch.testing.assert_close(code, expected, atol=2e-5, rtol=0)
    assert inside_sources(uv, depth, (HEIGHT, WIDTH)).all()


def test_points_outside_an_image_take_its_border() -> None:
    rgb, _ = pictures()
    uv, depth = project_to_sources(torch.tensor([[3.0, 0, 0]]), INTRINSICS, WORLD_TO_CAMERAS)
    torch.testing.assert_close(sample_sources(rgb, uv)[0, 0], torch.tensor([1.0, 0.5, 0.802632]), atol=1e-5, rtol=0)
    assert not inside_sources(uv, depth, (HEIGHT, WIDTH)).any()


def test_points_behind_a_camera_are_not_inside() -> None:
    uv, depth = project_to_sources(torch.tensor([[0.0, 0, -4.0]]), INTRINSICS, WORLD_TO_CAMERAS)
    assert (depth < 0).all()
    assert torch.isfinite(uv).all()
    # Straight behind: even where the clamped division lands within the image it does not count.
    assert not inside_sources(torch.full_like(uv, 5.0), depth, (HEIGHT, WIDTH)).any()


@pytest.mark.parametrize("corner", [(0.0, 0.0), (WIDTH - 1.0, HEIGHT - 1.0), (3.0, 11.0)])
def test_whole_pixels_are_read_as_they_are(corner: tuple[float, float]) -> None:
    rgb, _ = pictures()
    uv = torch.tensor(corner).expand(2, 1, 2)
    torch.testing.assert_close(sample_sources(rgb, uv)[:, 0], rgb[:, :, int(corner[1]), int(corner[0])])


def test_a_rotated_camera_sees_what_it_looks_at() -> None:
    angle = torch.tensor(0.7)
    rotation = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    center = torch.tensor([0.3, -0.4, 0.5])
    world_to_camera = torch.cat([rotation, -rotation @ center[:, None]], dim=1)
    point = center + 1.7 * rotation[2]
    uv, depth = project_to_sources(point[None], INTRINSICS[:1], world_to_camera[None])
    torch.testing.assert_close(uv[0, 0], INTRINSICS[0, :2, 2])
    torch.testing.assert_close(depth[0, 0], torch.tensor(1.7))


def test_the_target_among_the_sources_has_a_finite_gradient() -> None:
    points = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    center = torch.tensor([0.1, 0.2, -1.7])
    code = direction_code(points, center, center[None])
    code.sum().backward()
    assert points.grad is not None and torch.isfinite(points.grad).all()
    torch.testing.assert_close(code[0, 0, 3], torch.tensor(1.0))


def test_geometry_stays_in_single_precision_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        uv, _ = project_to_sources(POINT, INTRINSICS, WORLD_TO_CAMERAS)
        values = sample_sources(pictures()[0], uv)
        code = direction_code(POINT, TARGET, CENTERS)
    exact, _ = project_to_sources(POINT, INTRINSICS, WORLD_TO_CAMERAS)
    assert uv.dtype == values.dtype == code.dtype == torch.float32
    torch.testing.assert_close(uv, exact, atol=0, rtol=0)
