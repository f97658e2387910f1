"""The lattice of probes equals probing every cell by itself."""

import itertools

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.density_lattice import cell_maxima, dilated, lattice_axes, occupied_cells

BOX = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]])


def waves(points: Tensor) -> Tensor:
    return torch.sin(9 * points[:, :1]) * torch.cos(5 * points[:, 1:2]) + torch.sin(3 * points[:, 2:])


def probes(box: Tensor, resolution: tuple[int, int, int]) -> Tensor:
    """All 27 of every cell, (X, Y, Z, 27, 3), by the definition."""
    cell = (box[1] - box[0]) / torch.tensor(resolution)
    corners = torch.cartesian_prod(*[torch.arange(count) for count in resolution]).view(*resolution, 1, 3)
    inside = torch.cartesian_prod(*[torch.linspace(0, 1, 3)] * 3)
    return box[0] + (corners + inside) * cell


def test_the_published_probes() -> None:
    where = probes(BOX, (2, 2, 2))
    assert where.shape == (2, 2, 2, 27, 3)
    assert where[0, 0, 0, 0].tolist() == [0, 0, 0] and where[0, 0, 0, -1].tolist() == [0.5, 1, 2]
    assert where[1, 1, 1, -1].tolist() == [1, 2, 4]
    axes = lattice_axes(BOX, (2, 2, 2))
    assert [len(axis) for axis in axes] == [5, 5, 5]
    lattice = {tuple(point) for point in torch.cartesian_prod(*axes).tolist()}
    assert {tuple(point) for point in where.view(-1, 3).tolist()} == lattice


@pytest.mark.parametrize("resolution", [(2, 2, 2), (3, 5, 4), (1, 6, 2)])
def test_pooling_equals_brute_force(resolution: tuple[int, int, int]) -> None:
    where = probes(BOX, resolution)
    truth = waves(where.view(-1, 3)).view(where.shape[:4]).amax(-1).clamp(min=0)
    found = cell_maxima(waves, BOX, resolution, points_per_chunk=17)
    assert torch.allclose(found, truth, atol=1e-5)
    cells = occupied_cells(waves, BOX, resolution, 1.2)
    sure = (truth - 1.2).abs() > 1e-4
    assert torch.equal(cells[sure], (truth > 1.2)[sure]) and cells.any() and not cells.all()


def test_active_cells_are_found_exactly_and_others_cost_nothing() -> None:
    resolution = (6, 5, 4)
    active = torch.rand(resolution, generator=torch.Generator().manual_seed(0)) < 0.2
    asked = []

    def counted(points: Tensor) -> Tensor:
        asked.append(len(points))
        return waves(points) + 3

    found, full = (
        cell_maxima(counted, BOX, resolution, active=active),
        cell_maxima(lambda x: waves(x) + 3, BOX, resolution),
    )
    assert torch.equal(found[active], full[active])
    assert sum(asked) < 0.8 * 13 * 11 * 9
    away = ~dilated(active, 1)
    assert away.any() and (found[away] == 0).all()


def test_skipping_empty_space_finds_a_ball_with_fewer_questions() -> None:
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    counts = {}

    def ball(name: str):
        def density(points: Tensor) -> Tensor:
            counts[name] = counts.get(name, 0) + len(points)
            distance = (points - torch.tensor([0.4, 0.3, -0.2])).norm(dim=-1, keepdim=True)
            return 100 * torch.sigmoid((0.3 - distance) / 0.02)

        return density

    everywhere = occupied_cells(ball("all"), box, (24, 20, 22), 5.0)
    skipped = occupied_cells(ball("near"), box, (24, 20, 22), 5.0, skip_empty=True)
    assert torch.equal(everywhere, skipped) and counts["near"] < 0.5 * counts["all"]


def test_dilation_reaches_the_neighbours_along_each_axis() -> None:
    cells = torch.zeros(5, 5, 5, dtype=torch.bool)
    cells[0, 2, 2] = True
    grown = dilated(cells, 1)
    expected = {(x, y, z) for x, y, z in itertools.product((0, 1), (1, 2, 3), (1, 2, 3))}
    assert {tuple(cell) for cell in grown.nonzero().tolist()} == expected
    assert dilated(cells, 0) is cells
