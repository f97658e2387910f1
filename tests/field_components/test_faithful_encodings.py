"""The reference's blocks: their widths, sizes and defects as measured on its code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.faithful_encodings import FaithfulSizes, build_faithful_encoding
from nf_plugins.field_components.faithful_hash_grid import FaithfulHashEncoding, FaithfulHashGrid
from nf_plugins.field_components.faithful_nffb import FaithfulFilterBank, FaithfulStyle
from nf_plugins.field_components.faithful_octaves import FaithfulOctaveEncoding

POINTS = FaithfulSizes(6, 2, 5, 16, 512, 0.45)
VIEWS = FaithfulSizes(4, 2, 3, 16, 512, 1.0)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("kind", "sizes", "grid", "width", "parameters"),
    [
        ("hash", POINTS, "torch", 27, 384),
        ("nffb", POINTS, "torch", 59, 16_568),
        ("stylemod-nffb", POINTS, "torch", 59, 19_764),
        ("stylemod-nffb", POINTS._replace(log2_table_size=15), "tcnn", 31, 340_860),
        ("hash", VIEWS, "torch", 19, None),
        ("nffb", VIEWS, "torch", 43, None),
        ("stylemod-nffb", VIEWS, "tcnn", 23, None),
    ],
)
def test_widths_and_sizes_are_the_measured_ones(kind: str, sizes: FaithfulSizes, grid, width, parameters) -> None:
    encoding = build_faithful_encoding(kind, 3, sizes, grid)
    assert encoding(torch.rand(2, 4, 3) - 0.5).shape == (2, 4, width)
    assert encoding.out_dim == width
    assert encoding(torch.rand(0, 3)).shape == (0, width), "no ray may hit"
    assert parameters is None or num_parameters(encoding) == parameters


def test_a_large_hash_grid_has_the_measured_size() -> None:
    encoding = FaithfulHashEncoding(
        3, num_levels=16, features_per_level=2, log2_table_size=19, base_resolution=16, finest_resolution=512
    )
    assert encoding.out_dim == 67
    assert num_parameters(encoding) == pytest.approx(10.4e6, rel=0.05)


@pytest.mark.parametrize(("num_levels", "width", "frequency"), [(6, 56, 30), (4, 40, 12)])
def test_the_sine_layers_are_as_wide_and_as_fast_as_measured(num_levels: int, width: int, frequency: float) -> None:
    for grid, factor in (("torch", 1), ("tcnn", 2)):
        bank = FaithfulFilterBank(num_levels=num_levels, grid=grid)  # type: ignore[arg-type]
        assert bank.output.weight.shape == (width // factor, width // factor)
        assert bank.sines.frequency == frequency
        assert len(bank.sines.layers) == num_levels - 1


def test_octaves_hold_the_point_twice() -> None:
    points = torch.rand(4, 3)
    encoded = FaithfulOctaveEncoding(3, num_frequencies=16, max_octave=5.0)(points)
    assert encoded.shape == (4, 102)
    assert torch.equal(encoded[:, :3], points) and torch.equal(encoded[:, 3:6], points)
    torch.testing.assert_close(encoded[:, -3:], torch.cos(32 * points))
    assert FaithfulOctaveEncoding(3, 4).out_dim == 30


def test_hash_features_are_constant_within_a_cell_and_have_no_gradient() -> None:
    torch.manual_seed(0)
    grid = FaithfulHashGrid(
        3, num_levels=6, features_per_level=2, log2_table_size=5, base_resolution=16, finest_resolution=512
    )
    assert grid.resolutions == [16, 32, 64, 128, 256, 512]
    point = torch.tensor([[100.2, 37.3, 411.4]]) / 512
    same_cell = torch.tensor([[100.9, 37.9, 411.9]]) / 512
    assert torch.equal(grid(point)[:, 12:], grid(same_cell)[:, 12:])
    assert not torch.equal(grid(point), grid(point + 1 / 16))
    points = torch.rand(10, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(grid(points)[:, :12].sum(), points)
    assert gradient.any(), "Fourier features alone carry the position"
    hash_features = grid(points)[:, 12:].sum()
    (gradient,) = torch.autograd.grad(hash_features, points, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_indices_are_truncated_towards_zero_and_wrap_in_32_bits() -> None:
    grid = FaithfulHashGrid(
        3, num_levels=2, features_per_level=2, log2_table_size=5, base_resolution=16, finest_resolution=32
    )
    around_zero = torch.tensor([[0.03, 0.03, 0.03], [-0.03, -0.03, -0.03]])
    first, second = grid(around_zero)[:, 4:6]
    assert torch.equal(first, second)
    # Vertex (-8, 3, 5) by hand.
    vertex = torch.tensor([[-8.5, 3.5, 5.5]]) / 16
    entry = ((-8 * 1) ^ (3 * 3) ^ (5 * 2654435761)) % 2**32 % 32
    assert torch.equal(grid(vertex)[0, 4:6], grid.tables[0][entry])


def used_levels(bank: FaithfulFilterBank) -> list[bool]:
    bank(torch.rand(2000, 3) * 0.9 - 0.45).square().sum().backward()
    if isinstance(bank.grid, FaithfulHashGrid):
        return [table.grad is not None and bool(table.grad.any()) for table in bank.grid.tables]
    table, levels = bank.grid.table, bank.grid.levels  # type: ignore[union-attr]
    parts = table.grad.split([2 * level.num_entries for level in levels])  # type: ignore[union-attr, operator]
    return [bool(part.any()) for part in parts]


@pytest.mark.parametrize("has_style", [False, True])
def test_most_levels_of_the_filter_bank_never_learn(has_style: bool) -> None:
    assert used_levels(FaithfulFilterBank(has_style=has_style)) == [True] * 2 + [False] * 4
    tcnn = FaithfulFilterBank(has_style=has_style, grid="tcnn", log2_table_size=10)
    assert used_levels(tcnn) == [True] * 4 + [False] * 2


def by_formula(bank: FaithfulFilterBank, point: Tensor) -> Tensor:
    """Four shared output layers, one by one; fixed octaves; the chain sees no grid."""
    unit = (point + 0.45) / 0.9
    features = bank.grid(unit[None])[0]
    hidden, total = point / 0.45, torch.zeros(56)
    for layer in range(5):
        linear = bank.sines.layers[layer]
        hidden = torch.sin(30 * linear(hidden))
        if layer == 0:
            continue
        group = features[4 * (layer - 1) : 4 * layer]
        octaves = [group, group]
        for octave in range(6):
            octaves += [torch.sin(2**octave * group), torch.cos(2**octave * group)]
        octave_features = torch.cat(octaves)
        if bank.style is not None:
            octave_features = torch.nn.functional.layer_norm(bank.style.norm.linear(octave_features), (56,))
        total = total + bank.output(octave_features + hidden)
    return torch.cat([unit, total / 6])


@pytest.mark.parametrize("has_style", [False, True])
def test_the_filter_bank_is_what_the_reference_computes(has_style: bool) -> None:
    torch.manual_seed(0)
    bank = FaithfulFilterBank(has_style=has_style)
    points = torch.rand(5, 3) * 0.9 - 0.45
    expected = torch.stack([by_formula(bank, point) for point in points])
    torch.testing.assert_close(bank(points), expected, rtol=0, atol=2e-5)


def test_the_style_is_a_layer_norm_that_knows_no_position_and_its_attention_learns_nothing() -> None:
    torch.manual_seed(0)
    style = FaithfulStyle(3, 56)
    octaves = torch.randn(10, 56)
    expected = torch.nn.functional.layer_norm(style.norm.linear(octaves), (56,), eps=1e-5)
    torch.testing.assert_close(style(octaves, torch.rand(10, 3)), expected, rtol=0, atol=1e-5)
    assert torch.equal(style(octaves, torch.rand(10, 3)), style(octaves, torch.rand(10, 3)))
    style(octaves, torch.rand(10, 3)).square().sum().backward()
    assert style.attention_logit.weight.grad is not None and not style.attention_logit.weight.grad.any()


def test_biases_of_the_sine_layers_are_drawn_like_weights() -> None:
    torch.manual_seed(0)
    sines = FaithfulFilterBank().sines
    for layer, limit in zip(sines.layers, sines.limits, strict=True):
        assert 0.8 * limit < float(layer.bias.abs().max()) <= limit  # type: ignore[union-attr, operator, arg-type]


def test_what_the_reference_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="3 levels of 2 features"):
        FaithfulFilterBank(num_levels=2)
    with pytest.raises(InputError, match="2 features per level, not 4"):
        FaithfulFilterBank(features_per_level=4)
    with pytest.raises(InputError, match="faithful-grid is 'cuda'"):
        FaithfulFilterBank(grid="cuda")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="resolutions from 2 upwards"):
        FaithfulHashEncoding(
            3, num_levels=4, features_per_level=2, log2_table_size=5, base_resolution=16, finest_resolution=8
        )
