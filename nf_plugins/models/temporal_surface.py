"""A temporal signed-distance field at one time, as exporters want it."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.fields.temporal_sdf_field import TemporalSDFField


class TemporalSurface:
    """Signed distance and colour at a fixed time.

    Args:
        field: The field.
        frame_times: Training times ``(T,)``.
        bounds: Lower and upper corner of the scene ``(2, 3)``, scene units.
        time: Time in [0, 1].
    """

    def __init__(self, field: TemporalSDFField, frame_times: Tensor, bounds: Tensor, time: float) -> None:
        self.field = field
        self.bounds = bounds
        self.frames = FrameBatch.from_times(frame_times.new_tensor([time]), frame_times)

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance ``(N, 1)``, negative inside, at scene points ``(N, 3)``."""
        return self.field.geometry(points[None].to(self.bounds.device), self.frames)[0][0]

    @torch.no_grad()
    def color(self, points: Tensor) -> Tensor:
        """RGB ``(N, 3)`` in [0, 1] at scene points ``(N, 3)``."""
        return self.field.color(self.field.geometry(points[None].to(self.bounds.device), self.frames)[1][0])
