"""A temporal signed-distance field at one time, as exporters want it."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.fields.temporal_sdf_field import TemporalSDFField
from nf_plugins.model_components.temporal_occupancy import CARVED, TemporalOccupancyGrid


class TemporalSurface:
    """Signed distance and colour at a fixed time.

    Args:
        field: The field.
        frame_times: Training times ``(T,)``.
        bounds: Lower and upper corner of the scene ``(2, 3)``, scene units.
        time: Time in [0, 1].
        occupancy: Where the renderer looks at all; space that the masks carved is outside for exporters too.
        level: Added to the field's values, whose zero set is the surface: the threshold of a plain density.
    """

    def __init__(
        self,
        field: TemporalSDFField,
        frame_times: Tensor,
        bounds: Tensor,
        time: float,
        *,
        occupancy: TemporalOccupancyGrid | None = None,
        level: float = 0.0,
    ) -> None:
        self.level = level
        self.field = field
        self.bounds = bounds
        self.occupancy = occupancy
        self.frames = FrameBatch.from_times(frame_times.new_tensor([time]), frame_times)

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance ``(N, 1)``, negative inside, at scene points ``(N, 3)``."""
        points = points.to(self.bounds.device)
        signed_distance = self.field.geometry(points[None], self.frames)[0][0] + self.level
        if self.occupancy is None:
            return signed_distance
        neighbours = self.frames.coordinates.floor().long(), self.frames.coordinates.ceil().long()
        carved = torch.stack([self.occupancy.lookup(points, frame) == CARVED for frame in neighbours]).all(0)
        return torch.where(
            carved[:, None], signed_distance.clamp(min=float(self.occupancy.cell_radius) / 4), signed_distance
        )

    @torch.no_grad()
    def color(self, points: Tensor) -> Tensor:
        """RGB ``(N, 3)`` in [0, 1] at scene points ``(N, 3)``."""
        return self.field.color(self.field.geometry(points[None].to(self.bounds.device), self.frames)[1][0])
