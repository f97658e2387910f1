"""Cells by point, by ray and as a box."""

import torch

from nf_plugins.model_components.occupied_space import OccupiedSpace, lookup_cells, occupied_range

BOX = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 2.0, 1.0]])


def random_grid(seed: int = 0, shape: tuple[int, int, int] = (4, 5, 3), share: float = 0.3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def test_every_cell_is_found_at_its_centre_and_nothing_outside() -> None:
    grid = random_grid()
    shape = torch.tensor(grid.shape)
    centers = BOX[0] + (torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]) + 0.5) / shape * (BOX[1] - BOX[0])
    assert torch.equal(lookup_cells(centers, BOX, grid), grid.flatten())
    full = torch.ones_like(grid)
    outside = torch.tensor([[1.001, 0, 0.5], [-1.001, 0, 0.5], [0, 0, 1.0], [0, 2.5, 0.5], [1e9, 0, 0]])
    assert not lookup_cells(outside, BOX, full).any()
    assert lookup_cells(torch.tensor([[-1.0, -2.0, 0.0]]), BOX, full).all(), "the lower corner is inside"


def test_two_frames_count_together_over_their_own_boxes() -> None:
    second = BOX + torch.tensor([2.0, 0.0, 0.0])
    first_grid, second_grid = torch.zeros(2, 1, 1).bool(), torch.zeros(2, 1, 1).bool()
    first_grid[0], second_grid[1] = True, True
    space = OccupiedSpace((BOX, second), (first_grid, second_grid))
    points = torch.tensor([[-0.5, 0, 0.5], [0.5, 0, 0.5], [1.5, 0, 0.5], [2.5, 0, 0.5]])
    assert space.lookup(points).tolist() == [True, False, False, True]
    assert torch.equal(space.box, torch.stack([BOX[0], second[1]]))
    assert torch.equal(space.occupied_box(), torch.stack([BOX[0], second[1]]))


def test_the_box_of_what_is_occupied_is_tight() -> None:
    grid = torch.zeros(4, 4, 4, dtype=torch.bool)
    assert torch.equal(*OccupiedSpace((BOX,), (grid,)).occupied_box()), "nothing has no extent"
    grid[1, 2, 3] = grid[2, 2, 3] = True
    expected = torch.tensor([[-0.5, 0.0, 0.75], [0.5, 1.0, 1.0]])
    assert torch.allclose(OccupiedSpace((BOX,), (grid,)).occupied_box(), expected)


def test_segments_are_those_whose_middles_are_in_occupied_cells() -> None:
    generator = torch.Generator().manual_seed(3)
    origins = 4 * torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=-1)
    aims = BOX[0] + torch.rand(200, 3, generator=generator) * (BOX[1] - BOX[0])
    directions = torch.nn.functional.normalize(aims - origins, dim=-1)
    nears, fars = torch.full((200, 1), 1.0), torch.full((200, 1), 7.0)
    fars[:10] = nears[:10]
    space = OccupiedSpace((BOX,), (random_grid(share=0.1),))
    occupied = space.segments(origins, directions, nears, fars, 24)
    middles = nears + (torch.arange(24) + 0.5) / 24 * (fars - nears)
    truth = space.lookup(origins[:, None] + middles[..., None] * directions[:, None]) & (fars > nears)
    assert torch.equal(occupied, truth) and 50 < truth.sum() < truth.numel() / 2


def test_the_occupied_part_of_rays() -> None:
    occupied = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]]).bool()
    start, end = occupied_range(occupied, torch.full((4, 1), 2.0), torch.full((4, 1), 6.0))
    assert start[:, 0].tolist() == [3, 2, 2, 5] and end[:, 0].tolist() == [6, 2, 6, 6]
