import torch

from nf_plugins.model_components.box_collider import intersect_box

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def test_known_crossings() -> None:
    origins = torch.tensor([[0.0, 0, -3], [0.0, 0, 0], [0.0, 0, 3], [0.0, 5, -3], [-1.0, 0, -3]])
    directions = torch.tensor([[0.0, 0, 1]] * 5)
    near, far = intersect_box(origins, directions, BOX)
    assert torch.allclose(near[:3, 0], torch.tensor([2.0, 0.0, 0.0])), "outside, inside, behind"
    assert torch.allclose(far[:3, 0], torch.tensor([4.0, 1.0, 0.0]))
    assert near[3] == far[3], "a miss has no extent"
    assert torch.isfinite(near).all() and torch.isfinite(far).all(), "a ray in a face divides by no zero"


def test_random_rays_agree_with_dense_marching() -> None:
    generator = torch.Generator().manual_seed(0)
    origins = torch.randn(300, 3, generator=generator) * 2
    directions = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=-1)
    near, far = intersect_box(origins, directions, BOX)
    distances = torch.linspace(0, 12, 6001)
    points = origins[:, None] + distances[:, None] * directions[:, None]
    inside = (points.abs() <= 1).all(-1)
    length = inside.float().sum(1) * (distances[1] - distances[0])
    assert torch.allclose(length, (far - near)[:, 0], atol=5e-3)


def test_far_away_cameras_keep_their_rays() -> None:
    targets = torch.rand(1000, 3, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    origin = torch.tensor([20.0, -25.0, 9.0])
    directions = torch.nn.functional.normalize(targets - origin, dim=-1)
    near, far = intersect_box(origin.expand_as(targets), directions, BOX)
    assert (far > near).all()
