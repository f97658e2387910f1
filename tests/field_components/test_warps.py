"""Warps: identity at the start where promised, what each may and may not do, inverses."""

import pytest
import torch
from motion_helpers import context, grouped_points, perturb

from nf_plugins.field_components.bijective_warp import BijectiveWarp, CouplingBlock, turn_plane
from nf_plugins.field_components.warps import RigidWarp, SkipMLP, TranslationWarp


def warps() -> dict[str, torch.nn.Module]:
    return {
        "translation": TranslationWarp(10, 16, 3, starts_as_identity=True),
        "rigid": RigidWarp(8, 16, 3, 2, starts_as_identity=True),
        "bijective": BijectiveWarp(8, 16, 3, 2),
    }


@pytest.mark.parametrize("name", ["translation", "rigid", "bijective"])
def test_starts_as_the_identity(name: str) -> None:
    points = grouped_points()
    assert torch.equal(warps()[name](points, context()), points)


@pytest.mark.parametrize("name", ["translation", "rigid", "bijective"])
def test_every_parameter_learns_once_the_start_is_left(name: str) -> None:
    warp = warps()[name]
    perturb(warp)
    warp(grouped_points(), context()).square().sum().backward()
    for parameter_name, parameter in warp.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", ["translation", "rigid", "bijective"])
def test_groups_do_not_mix(name: str) -> None:
    warp, points, frames = warps()[name], grouped_points(), context()
    perturb(warp)
    changed = points.clone()
    changed[1] += 0.3
    before, after = warp(points, frames), warp(changed, frames)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1])


def test_published_heads_start_at_random() -> None:
    points = grouped_points()
    for warp in (TranslationWarp(10), RigidWarp(8)):
        displacement = (warp(points, context()) - points).norm(dim=-1)
        assert displacement.min() > 1e-4 and displacement.max() < 1


def test_skip_mlp_sees_its_input_again() -> None:
    mlp = SkipMLP(5, 16, num_layers=6, skip_after=4)
    assert [layer.in_features for layer in mlp.layers] == [5, 16, 16, 16, 16, 21]


def test_rigid_warp_with_equal_twists_keeps_distances() -> None:
    warp = RigidWarp(8, 16, 3, 2, starts_as_identity=True)
    with torch.no_grad():
        warp.rotation[2].bias.copy_(torch.tensor([0.3, -0.2, 0.5]))
        warp.translation[2].bias.copy_(torch.tensor([0.1, 0.4, -0.3]))
    points = grouped_points()
    moved = warp(points, context())
    torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(points, points), atol=1e-5, rtol=1e-5)
    assert (moved - points).norm(dim=-1).min() > 0.1


@pytest.mark.parametrize("num_blocks", [1, 3, 6])
def test_bijective_warp_undoes_itself(num_blocks: int) -> None:
    warp = BijectiveWarp(8, 16, num_blocks, 2).double()
    perturb(warp, 0.5)
    points, frames = grouped_points().double(), context(dtype=torch.float64)
    canonical_points = warp(points, frames)
    assert (canonical_points - points).norm(dim=-1).mean() > 0.05
    torch.testing.assert_close(warp.inverse(canonical_points, frames), points)
    torch.testing.assert_close(warp(warp.inverse(points, frames), frames), points)


def test_bijective_blocks_go_round_z_y_x_and_back() -> None:
    assert [block.axis for block in BijectiveWarp(num_blocks=6).blocks] == [2, 1, 0, 0, 1, 2]


def test_coupling_block_keeps_volume() -> None:
    block = CouplingBlock(1, 8, 16, 2).double()
    perturb(block, 0.5)
    codes, window = torch.randn(1, 8, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    point = torch.tensor([[[0.2, -0.1, 0.4]]], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda p: block(p, codes, window), point).view(3, 3)
    torch.testing.assert_close(torch.linalg.det(jacobian), torch.ones((), dtype=torch.float64))
    assert not torch.allclose(jacobian, torch.eye(3, dtype=torch.float64), atol=1e-2)


def test_turn_plane_turns_counter_clockwise() -> None:
    turned = turn_plane(torch.tensor([[1.0, 0.0]]), torch.tensor([[torch.pi / 2]]))
    torch.testing.assert_close(turned, torch.tensor([[0.0, 1.0]]), atol=1e-6, rtol=0)


def test_double_backward_through_every_warp() -> None:
    for name, warp in warps().items():
        perturb(warp)
        points = grouped_points().requires_grad_()
        (gradient,) = torch.autograd.grad(warp(points, context()).square().sum(), points, create_graph=True)
        gradient.square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in warp.parameters()), name
