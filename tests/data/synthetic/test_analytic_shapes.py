"""Exact shapes: where rays enter them agrees with their signed distance, which is Euclidean."""

from __future__ import annotations

import math

import pytest
import torch

from nf_plugins.data.synthetic.analytic_shapes import Box, Posed, Shape, Sphere, Torus, Union, pinhole_rays

SHAPES: dict[str, Shape] = {
    "sphere": Sphere(0.5),
    "torus": Torus(0.5, 0.2),
    "box": Box((0.5, 0.3, 0.4)),
    "posed torus": Posed(Torus(0.5, 0.2), turn=(0.9, 0.4), centre=(0.1, 0.0, -0.2)),
    "posed box": Posed(Box((0.5, 0.3, 0.4)), turn=(0.5, 0.7), centre=(0.1, 0.2, 0.3)),
}


def random_rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """From anywhere within 1.5 of the origin, in any direction."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 3 - 1.5
    targets = torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5
    return origins, torch.nn.functional.normalize(targets - origins, dim=-1)


@pytest.mark.parametrize("name", SHAPES)
def test_rays_enter_where_the_sign_changes_first(name: str) -> None:
    shape = SHAPES[name]
    origins, directions = random_rays(400)
    entry = shape.entry_distance(origins, directions)
    assert entry.dtype == torch.float64 and 0.2 < entry.isfinite().double().mean() < 1
    starts_inside = shape.signed_distance(origins) < 0
    assert starts_inside.any() and torch.equal(entry == 0, starts_inside)
    crossing = entry.isfinite() & ~starts_inside
    points = origins + entry.nan_to_num(posinf=0)[:, None] * directions
    assert shape.signed_distance(points[crossing]).abs().max() < 1e-7
    # No place on the way is inside, and just beyond the entry it is inside (except for rays that touch only).
    places = torch.linspace(0, 1, 500, dtype=torch.float64)[:, None, None]
    on_the_way = origins + places * (entry.clamp(max=6)[:, None] - 1e-6) * directions
    values = shape.signed_distance(on_the_way.view(-1, 3)).view(500, -1)
    assert (values[:, ~starts_inside] >= 0).all()
    beyond = shape.signed_distance((points + 1e-4 * directions)[crossing])
    assert (beyond < 0).double().mean() > 0.97


@pytest.mark.parametrize("name", SHAPES)
def test_signed_distances_have_slope_one(name: str) -> None:
    points = random_rays(500)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(SHAPES[name].signed_distance(points).sum(), points)
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(500).double())


def test_places_known_by_hand() -> None:
    origins, directions = torch.tensor([[-3.0, 0, 0]]), torch.tensor([[1.0, 0, 0]])
    for name, expected in {"sphere": 2.5, "torus": 2.3, "box": 2.5}.items():
        assert SHAPES[name].entry_distance(origins, directions).item() == pytest.approx(expected, abs=1e-12)
    # A quarter turn about y brings the edge of z = 0.4 to where x was.
    turned = Posed(Box((0.5, 0.3, 0.4)), turn=(0.0, math.pi / 2))
    assert turned.entry_distance(origins, directions).item() == pytest.approx(2.6, abs=1e-7)
    turned = Posed(Box((0.5, 0.3, 0.4)), turn=(math.pi / 2, 0.0), centre=(0.0, 1.0, 0.0))
    torch.testing.assert_close(turned.signed_distance(torch.tensor([[0.0, 2.0, 0.0]])), torch.tensor([0.6]))
    behind = Sphere(0.5).entry_distance(-origins, directions)
    assert behind.isinf().all()


def test_a_union_is_entered_at_its_first_member() -> None:
    union = Union((Posed(Sphere(0.2), centre=(0.5, 0.0, 0.0)), Posed(Sphere(0.1), centre=(-0.5, 0.0, 0.0))))
    origins = torch.tensor([[-3.0, 0, 0], [3.0, 0, 0], [0.0, 3.0, 0.0]])
    entry = union.entry_distance(origins, torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0.0, -1.0, 0.0]]))
    assert entry.tolist() == pytest.approx([2.4, 2.3, math.inf])
    torch.testing.assert_close(union.signed_distance(torch.zeros(1, 3)), torch.tensor([0.3]))


def test_the_principal_ray_is_the_optical_axis() -> None:
    origins, directions = pinhole_rays(4, 2.0, 3.0)
    assert origins.shape == directions.shape == (16, 3) and origins[7].tolist() == [0, 0, -3]
    assert directions[2 * 4 + 2].tolist() == [0, 0, 1]
    torch.testing.assert_close(directions[2 * 4 + 3], torch.tensor([1.0, 0, 2]).double() / math.sqrt(5))
    torch.testing.assert_close(directions[0 * 4 + 2], torch.tensor([0, -1.0, 1]).double() / math.sqrt(2))
