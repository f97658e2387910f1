import torch

from nf_plugins.model_components.temporal_occupancy import CARVED, EMPTY, OCCUPIED, TemporalOccupancyGrid

BOX = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 2.0, 1.0]])


def test_every_cell_is_found_at_its_own_centre() -> None:
    grid = TemporalOccupancyGrid(BOX, num_frames=2, resolution=4)
    grid.states[1] = torch.arange(64, dtype=torch.uint8)
    assert torch.equal(grid.lookup(grid.cell_centers(), torch.tensor(1)), torch.arange(64, dtype=torch.uint8))
    assert (grid.lookup(grid.cell_centers(), torch.tensor(0)) == OCCUPIED).all()


def test_outside_the_box_counts_as_carved() -> None:
    grid = TemporalOccupancyGrid(BOX, num_frames=1, resolution=4)
    points = torch.tensor([[0.0, 0.0, 0.5], [1.5, 0.0, 0.5], [0.0, 0.0, -0.1]])
    assert grid.lookup(points, torch.tensor(0)).tolist() == [OCCUPIED, CARVED, CARVED]


def test_carving_is_permanent_and_emptied_cells_can_return() -> None:
    grid = TemporalOccupancyGrid(BOX, num_frames=2, resolution=4)
    keep = torch.zeros(64, dtype=torch.bool)
    keep[:10] = True
    grid.carve(0, keep)
    grid.update_frames(torch.tensor([0]), lambda centers, frame: torch.zeros(len(centers), dtype=torch.bool))
    assert (grid.states[0][:10] == EMPTY).all() and (grid.states[0][10:] == CARVED).all()
    grid.update_frames(torch.tensor([0]), lambda centers, frame: torch.ones(len(centers), dtype=torch.bool))
    assert (grid.states[0][:10] == OCCUPIED).all() and (grid.states[0][10:] == CARVED).all()
    assert (grid.states[1] == OCCUPIED).all(), "other frames are untouched"
    assert grid.occupied_fraction().item() == (10 + 64) / 128


def test_the_look_receives_the_frame_and_only_cells_that_are_left() -> None:
    grid = TemporalOccupancyGrid(BOX, num_frames=3, resolution=2)
    grid.carve(2, torch.tensor([True] * 3 + [False] * 5))
    seen = []
    grid.update_frames(torch.tensor([2, 0]), lambda c, f: seen.append((f, len(c))) or torch.ones(len(c)).bool())
    assert seen == [(2, 3), (0, 8)]


def test_state_survives_a_checkpoint() -> None:
    grid, other = (TemporalOccupancyGrid(BOX, 2, 4) for _ in range(2))
    grid.carve(1, torch.zeros(64, dtype=torch.bool))
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other.states, grid.states)
