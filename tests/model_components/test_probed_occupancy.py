"""Bounds by probes, and what they make of a grid."""

import torch
from torch import Tensor

from nf_plugins.model_components.probed_occupancy import ProbedDensity
from nf_plugins.model_components.temporal_occupancy import CARVED, OCCUPIED, TemporalOccupancyGrid

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def moving_ball(points: Tensor, time: float) -> Tensor:
    centre = torch.tensor([time - 0.5, 0.0, 0.0])
    return 50.0 * ((points - centre).norm(dim=-1, keepdim=True) < 0.3)


def test_probes_reach_half_way_to_the_corners_at_the_frames_time() -> None:
    density = ProbedDensity(moving_ball, torch.tensor([0.0, 1.0]))
    near = torch.tensor([[0.5 + 0.34, 0.0, 0.0], [0.5 + 0.45, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    bound = density.density_bound(near, 1, radius=0.2)
    # Half way to the corners is 0.058 along each axis.
    assert bound.tolist() == [50.0, 0.0, 0.0]
    assert density.density_bound(near, 0, radius=0.2).tolist() == [0.0, 0.0, 50.0]
    assert ProbedDensity(moving_ball, None).density_bound(near, 0, 0.2).tolist() == [0.0, 0.0, 50.0]


def test_neighbours_of_occupied_cells_are_occupied_unless_carved() -> None:
    grid = TemporalOccupancyGrid(BOX, num_frames=1, resolution=5)
    keep = torch.ones(125, dtype=torch.bool)
    keep[(1 * 5 + 2) * 5 + 2] = False
    grid.carve(0, keep)
    grid.update_frames(torch.tensor([0]), lambda centers, frame: centers.norm(dim=-1) < 0.1, spread=1)
    states = grid.states[0].view(5, 5, 5)
    assert states[1, 2, 2] == CARVED
    assert (states[1:4, 1:4, 1:4] == OCCUPIED).sum() == 26 and (states == OCCUPIED).sum() == 26
