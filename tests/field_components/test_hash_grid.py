"""Hash grids against plain interpolation, finite differences and published parameter counts."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.hash_grid import (
    PRIMES,
    GridLevel,
    HashGridEncoding,
    HashGridNetwork,
    Interpolation,
    grid_levels,
    interpolate_level,
)


def interpolated_by_hand(points: Tensor, table: Tensor, level: GridLevel) -> Tensor:
    """One point and one corner at a time; vertex i of a dense level lies at (i - 0.5) / scale."""
    features = torch.zeros(len(points), table.shape[-1], dtype=points.dtype)
    for row, point in enumerate(points.tolist()):
        positions = [coordinate * level.scale + 0.5 for coordinate in point]
        for corner in itertools.product((0, 1), repeat=len(point)):
            weight, vertex = 1.0, []
            for position, step in zip(positions, corner, strict=True):
                fraction = position - int(position)
                weight *= fraction if step else 1 - fraction
                vertex.append(int(position) + step)
            if level.is_dense:
                vertex = [min(index, level.resolution - 1) for index in vertex]
                entry = sum(index * level.resolution**axis for axis, index in enumerate(vertex))
            else:
                entry = 0
                for index, prime in zip(vertex, PRIMES, strict=False):
                    entry ^= (index * prime) % 2**32
                entry %= level.num_entries
            features[row] += weight * table[entry]
    return features


@pytest.mark.parametrize("in_dim", [2, 3, 4])
def test_levels_are_interpolated_between_the_entries_of_their_vertices(in_dim: int) -> None:
    torch.manual_seed(0)
    encoding = HashGridEncoding(
        in_dim, num_levels=4, log2_table_size=8, base_resolution=4, growth=1.7, features_per_level=3
    ).double()
    torch.nn.init.normal_(encoding.table)
    assert encoding.levels[0].is_dense and not encoding.levels[-1].is_dense
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=in_dim)), dtype=torch.float64)
    points = torch.cat([torch.rand(20, in_dim, dtype=torch.float64), corners])
    levels = zip(encoding.level_tables(), encoding.levels, strict=True)
    expected = torch.cat([interpolated_by_hand(points, table, level) for table, level in levels], dim=-1)
    torch.testing.assert_close(encoding(points), expected, rtol=0, atol=1e-12)
    batched = encoding(points[:20].view(4, 5, in_dim))
    torch.testing.assert_close(batched, expected[:20].view(4, 5, -1), rtol=0, atol=1e-12)


def test_a_dense_level_is_the_multilinear_interpolation_that_torch_makes_of_its_table() -> None:
    """grid_sample with its corners at the outermost vertices, an implementation of its own."""
    torch.manual_seed(0)
    encoding = HashGridEncoding(3, num_levels=1, base_resolution=5, log2_table_size=10).double()
    torch.nn.init.normal_(encoding.table)
    (level,), (table,) = encoding.levels, encoding.level_tables()
    volume = table[: level.resolution**3].view(5, 5, 5, 2).permute(3, 0, 1, 2)  # indexed z, y, x
    points = torch.rand(50, 3, dtype=torch.float64)
    positions = (points * level.scale + 0.5).clamp(max=level.resolution - 1)
    grid = positions / (level.resolution - 1) * 2 - 1
    expected = torch.nn.functional.grid_sample(volume[None], grid[None, :, None, None], align_corners=True)
    torch.testing.assert_close(encoding(points), expected[0, :, :, 0, 0].T, rtol=0, atol=1e-12)


def test_a_constant_table_gives_its_constant_everywhere() -> None:
    encoding = HashGridEncoding(4, num_levels=5, log2_table_size=8, base_resolution=3)
    torch.nn.init.constant_(encoding.table, 0.7)
    torch.testing.assert_close(encoding(torch.rand(100, 4)), torch.full((100, 10), 0.7))


@pytest.mark.parametrize("in_dim", [2, 3, 4])
def test_gradients_to_the_inputs_and_the_table(in_dim: int) -> None:
    torch.manual_seed(1)
    encoding = HashGridEncoding(in_dim, num_levels=3, log2_table_size=6, base_resolution=3, growth=1.6).double()
    torch.nn.init.normal_(encoding.table)
    points = torch.rand(200, in_dim, dtype=torch.float64)
    # Interpolation has a kink at cell borders, where finite differences mean nothing.
    distances = torch.stack([(points * level.scale + 0.5) % 1 for level in encoding.levels])
    inside = ((distances > 1e-3) & (distances < 1 - 1e-3)).all(0).all(-1)
    points = points[inside][:3].requires_grad_()
    table = encoding.table

    def features(points: Tensor, table: Tensor) -> Tensor:
        tables = table.view(-1, 2).split([level.num_entries for level in encoding.levels])
        levels = zip(tables, encoding.levels, strict=True)
        return torch.cat([interpolate_level(points, entries, level) for entries, level in levels], dim=-1)

    torch.testing.assert_close(features(points, table), encoding(points))
    assert torch.autograd.gradcheck(features, (points, table))
    assert torch.autograd.gradgradcheck(lambda points: features(points, table.detach()).sin(), (points,))


def test_smoothstep_makes_the_gradient_continuous_across_cells() -> None:
    torch.manual_seed(5)
    border = torch.tensor([[0.5, 0.31, 0.77]], dtype=torch.float64)  # x = 0.5 is a vertex of 4 cells shifted by a half
    gradients = {}
    for interpolation in get_args(Interpolation):
        encoding = HashGridEncoding(
            3, num_levels=1, base_resolution=4, log2_table_size=10, interpolation=interpolation
        ).double()
        torch.nn.init.normal_(encoding.table)
        below, above = ((border + shift).requires_grad_() for shift in (-1e-9, 1e-9))
        torch.testing.assert_close(encoding(below), encoding(above), rtol=0, atol=1e-6)
        gradients[interpolation] = [torch.autograd.grad(encoding(x)[0, 0], x)[0] for x in (below, above)]
        inside = torch.rand(3, 3, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(encoding, inside)
        assert torch.autograd.gradgradcheck(encoding, inside)
    torch.testing.assert_close(*gradients["smoothstep"], rtol=0, atol=1e-6)
    assert (gradients["linear"][0] - gradients["linear"][1]).abs().max() > 0.1


def test_levels_that_are_not_active_are_zero_and_get_no_gradient() -> None:
    torch.manual_seed(6)
    encoding = HashGridEncoding(3, num_levels=4, log2_table_size=8, base_resolution=4)
    points = torch.rand(50, 3)
    features = encoding(points, num_active=2)
    assert torch.equal(features[:, :4], encoding(points)[:, :4])
    assert (features[:, 4:] == 0).all()
    features.sum().backward()
    assert encoding.table.grad is not None
    entries = [2 * level.num_entries for level in encoding.levels]
    reached = [bool(gradient.any()) for gradient in encoding.table.grad.split(entries)]
    assert reached == [True, True, False, False]


def test_outside_the_unit_cube_the_border_repeats_and_has_no_gradient() -> None:
    torch.manual_seed(2)
    encoding = HashGridEncoding(2, num_levels=2, base_resolution=4)
    torch.nn.init.normal_(encoding.table)
    outside = torch.tensor([[-0.3, 0.4], [1.7, 0.4], [0.2, 5.0]], requires_grad=True)
    border = torch.tensor([[0.0, 0.4], [1.0, 0.4], [0.2, 1.0]])
    features = encoding(outside)
    torch.testing.assert_close(features, encoding(border))
    features.sum().backward()
    assert outside.grad is not None
    assert outside.grad[0, 0] == outside.grad[1, 0] == outside.grad[2, 1] == 0
    assert (outside.grad[[0, 1, 2], [1, 1, 0]] != 0).all()


def test_parameter_counts_are_the_published_ones() -> None:
    """24.6 million for the default video grid, 34.2 for 2^23 entries x 8 levels, about 30 in four dimensions."""

    def count(in_dim: int, **sizes: int) -> int:
        options = {"num_levels": 16, "log2_table_size": 20, "base_resolution": 16, **sizes}
        return 2 * sum(level.num_entries for level in grid_levels(in_dim, growth=1.5, **options))

    assert count(3) == 24_575_648
    assert count(3, num_levels=8, log2_table_size=23) == 34_172_864
    assert count(4) == 30_154_752
    levels = grid_levels(3, num_levels=16, log2_table_size=20, base_resolution=16, growth=1.5)
    assert [level.resolution for level in levels[:7]] == [16, 24, 36, 54, 81, 122, 183]
    assert [level.is_dense for level in levels[:7]] == [True] * 5 + [False] * 2
    network = HashGridNetwork(3, 3, num_levels=4, log2_table_size=8)
    own = sum(parameter.numel() for parameter in network.parameters()) - network.encoding.table.numel()
    assert own == (8 * 64 + 64) + (64 * 64 + 64) + (64 * 3 + 3)


def test_the_network_takes_coordinates_from_minus_one_to_one() -> None:
    torch.manual_seed(3)
    network = HashGridNetwork(3, 2, num_levels=3, log2_table_size=8, hidden_dim=8, num_hidden_layers=1)
    torch.nn.init.normal_(network.encoding.table)
    coordinates = torch.rand(4, 5, 3) * 2 - 1
    expected = network.mlp(network.encoding((coordinates + 1) / 2))
    torch.testing.assert_close(network(coordinates, frames=None), expected)
    assert network(coordinates).shape == (4, 5, 2)
    assert network(coordinates).min() < 0, "the output is not passed through a ReLU"


def test_the_network_learns_a_signal_finer_than_its_coarse_levels() -> None:
    torch.manual_seed(0)
    network = HashGridNetwork(2, 1, num_levels=6, log2_table_size=10, base_resolution=4, hidden_dim=16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    points = torch.rand(512, 2) * 2 - 1
    target = torch.sin(9 * points.sum(-1, keepdim=True))
    for _ in range(150):
        loss = (network(points) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


def test_what_makes_no_grid_is_refused() -> None:
    with pytest.raises(InputError, match="2 to 4 dimensions, got 5"):
        HashGridEncoding(5)
    with pytest.raises(InputError, match="at least 1 level"):
        HashGridEncoding(3, num_levels=0)
    with pytest.raises(InputError, match="log2-table-size is 40"):
        HashGridEncoding(3, log2_table_size=40)
    with pytest.raises(InputError, match="interpolation is 'cubic', expected linear or smoothstep"):
        HashGridEncoding(3, log2_table_size=4, interpolation="cubic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="negative number of hidden layers"):
        HashGridNetwork(3, 3, num_levels=1, log2_table_size=4, num_hidden_layers=-1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what a machine without CUDA cannot do")
def test_tiny_cuda_nn_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="tiny-cuda-nn is not installed or there is no CUDA device"):
        HashGridEncoding(3, log2_table_size=4, implementation="tcnn")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="tiny-cuda-nn runs on CUDA alone")
@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
@pytest.mark.parametrize("in_dim", [2, 3, 4])
def test_tiny_cuda_nn_gives_the_same_features(in_dim: int, interpolation: Interpolation) -> None:
    pytest.importorskip("tinycudann")
    torch.manual_seed(4)
    options = {"log2_table_size": 14, "interpolation": interpolation}
    fast = HashGridEncoding(in_dim, **options, implementation="tcnn").cuda()
    torch.nn.init.normal_(fast.table)
    slow = HashGridEncoding(in_dim, **options, implementation="torch").cuda()
    slow.load_state_dict(fast.state_dict())
    points = torch.rand(1000, in_dim, device="cuda") * 0.9  # away from the upper border, where the two differ
    torch.testing.assert_close(fast(points), slow(points), rtol=1e-4, atol=1e-4)
