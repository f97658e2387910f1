"""nerfstudio's hash encoding as a grid of ours."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_grid import (
    GridSizes,
    NerfstudioHashGrid,
    build_feature_grid,
    cell_edges,
    growth_between,
)

SIZES = GridSizes(num_levels=4, features_per_level=2, log2_table_size=10, base_resolution=4, growth=2.0)


def nerfstudio_grid() -> NerfstudioHashGrid:
    grid = build_feature_grid(3, SIZES, backend="nerfstudio", implementation="torch")
    assert isinstance(grid, NerfstudioHashGrid)
    return grid


def test_the_features_are_nerfstudios() -> None:
    from nerfstudio.field_components.encodings import HashEncoding

    grid = nerfstudio_grid()
    theirs = HashEncoding(4, 4, 32, 10, 2, implementation="torch")
    theirs.load_state_dict(grid.encoding.state_dict())
    points = torch.rand(5, 6, 3)
    torch.testing.assert_close(grid(points), theirs(points.view(-1, 3)).view(5, 6, 8))
    assert grid.encoding.hash_table.abs().max() <= 1e-4
    torch.testing.assert_close(grid.encoding.scalings, torch.tensor([4.0, 8.0, 16.0, 32.0]))


def test_levels_that_are_not_active_are_zero() -> None:
    grid = nerfstudio_grid()
    points = torch.rand(5, 3)
    features = grid(points, num_active=3)
    assert torch.equal(features[:, :6], grid(points)[:, :6])
    assert (features[:, 6:] == 0).all()


def test_the_gradient_of_a_gradient_reaches_the_table() -> None:
    grid = nerfstudio_grid()
    points = torch.rand(5, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(grid(points).sum(), points, create_graph=True)
    gradient.square().sum().backward()
    table_gradient = grid.encoding.hash_table.grad
    assert table_gradient is not None
    assert all(part.any() for part in table_gradient.split(2**10))


def test_cells_are_the_distance_between_kinks() -> None:
    for grid in (build_feature_grid(3, SIZES), nerfstudio_grid()):
        edge = cell_edges(grid)[-1]
        torch.nn.init.normal_(next(grid.double().parameters()))
        # Along a line the finest level is linear within a cell: its second difference is not 0 at kinks alone.
        line = torch.full((2001, 3), 0.2, dtype=torch.float64)
        line[:, 0] = torch.linspace(0.2, 0.8, 2001, dtype=torch.float64)
        finest = grid(line)[:, -2:]
        kinks = (finest[2:] - 2 * finest[1:-1] + finest[:-2]).norm(dim=-1) > 1e-9
        changes = torch.nonzero(kinks)[:, 0]
        starts = changes[torch.cat([torch.tensor([True]), changes[1:] - changes[:-1] > 2])]
        spacing = (starts[-1] - starts[0]) / (len(starts) - 1) * 0.6 / 2000
        assert float(spacing) == pytest.approx(edge, rel=0.02)


def test_growth_leads_from_the_coarsest_to_the_finest_level() -> None:
    growth = growth_between(16, 2048, 16)
    assert 16 * growth**15 == pytest.approx(2048)
    assert growth_between(16, 512, 1) == 1
    with pytest.raises(InputError, match="finest-resolution is 8, expected at least base-resolution, 16"):
        growth_between(16, 8, 4)


def test_what_the_backends_do_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="3 dimensions, not 2"):
        build_feature_grid(2, SIZES, backend="nerfstudio")
    with pytest.raises(InputError, match="hash-backend is 'other'"):
        build_feature_grid(3, SIZES, backend="other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="smoothstep on tiny-cuda-nn only"):
        build_feature_grid(3, SIZES, backend="nerfstudio", interpolation="smoothstep", implementation="torch")
    with pytest.raises(InputError, match="at least 1 level"):
        build_feature_grid(3, SIZES._replace(num_levels=0), backend="nerfstudio")
