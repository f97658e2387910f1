"""How dense a cell may be at most, for densities of which nothing is known but their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

POINTS_PER_CHUNK = 65536


class BoundedDensity(Protocol):
    """A density that can say how large it is around points."""

    @property
    def spreads(self) -> bool:
        """Whether the neighbours of an occupied cell are to be occupied too, because the bound may be too low."""
        ...

    def density_bound(self, centers: Tensor, frame_id: int, radius: float) -> Tensor:
        """Greatest density ``(N,)`` within a radius of points ``(N, 3)`` at a training frame."""
        ...


class ProbedDensity:
    """Takes the greatest of nine probes, at the centre of a cell and half way to its corners, for the bound.

    What lies between probes is not seen; neighbours of occupied cells therefore count as occupied.

    Args:
        density_at: Density per scene unit ``(N, 1)`` at points ``(N, 3)`` and a time.
        frame_times: Training times ``(T,)``; None is one frame at time 0.
    """

    spreads = True

    def __init__(self, density_at: Callable[[Tensor, float], Tensor], frame_times: Tensor | None) -> None:
        self.density_at = density_at
        self.frame_times = frame_times

    @torch.no_grad()
    def density_bound(self, centers: Tensor, frame_id: int, radius: float) -> Tensor:
        """See :class:`BoundedDensity`; cells are taken for cubes."""
        time = 0.0 if self.frame_times is None else float(self.frame_times[frame_id])
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=centers.device)] * 3)
        offsets = torch.cat([torch.zeros_like(signs[:1]), signs]) * (radius / 2 / 3**0.5)
        bounds = []
        for chunk in centers.split(max(1, POINTS_PER_CHUNK // len(offsets))):
            probes = (chunk[:, None] + offsets).flatten(0, 1)
            bounds.append(self.density_at(probes, time).view(len(chunk), len(offsets)).amax(1))
        return torch.cat(bounds) if bounds else centers.new_zeros(0)
