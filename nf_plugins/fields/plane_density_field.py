"""A density in space and time, read from feature planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.field_components.activations import trunc_exp
from torch import Tensor, nn

from nf_plugins.field_components.late_skip_mlp import LateSkipMLP
from nf_plugins.field_components.plane_stack import PlaneStackEncoding, Reduce


@dataclass
class PlaneDensityFieldConfig:
    """Planes and the network on top of them; the defaults are those of Im4D's main field."""

    scales: tuple[int, ...] = (64, 128, 256, 512)
    """Resolution of the planes along each axis of the scene box."""
    channels: int = 16
    """Features of a plane."""
    temporal_resolution: int | None = None
    """Cells of the temporal planes along time; None is the number of training frames."""
    reduce: Reduce = "concat"
    """How the six planes of a scale become one vector: side by side as in Im4D, multiplied as in K-Planes, or added."""
    spatial_init: tuple[float, float] | None = None
    """Range of the uniform initial values of the spatial planes; None is -0.1 to 0.1, for products 0.1 to 0.15 (0.1 to
    0.5 in K-Planes)."""
    width: int = 64
    """Of the hidden layers."""
    num_hidden: int = 6
    """Hidden layers; the last sees the planes' features again."""


def build_planes(config: PlaneDensityFieldConfig, num_frames: int) -> PlaneStackEncoding:
    """The planes of a field for a number of training frames."""
    return PlaneStackEncoding(
        config.scales,
        config.temporal_resolution or num_frames,
        config.channels,
        reduce=config.reduce,
        spatial_init=config.spatial_init,
    )


class PlaneDensityField(nn.Module):
    """Density from feature planes that span a box.

    Densities are learnt per metre, so that what the network gives means the same for scenes of any size.

    Args:
        config: Sizes.
        aabb: Lower and upper corner ``(2, 3)`` of the box that the planes span, scene units.
        num_frames: Training frames.
        metres_per_unit: World units in a unit of the scene.
    """

    aabb: Tensor

    def __init__(self, config: PlaneDensityFieldConfig, aabb: Tensor, num_frames: int, metres_per_unit: float) -> None:
        super().__init__()
        self.encoding = build_planes(config, num_frames)
        self.network = LateSkipMLP(self.encoding.out_dim, config.width, config.num_hidden)
        self.metres_per_unit = float(metres_per_unit)
        self.register_buffer("aabb", aabb.detach().clone().float())

    def features(self, points: Tensor, times: Tensor | float) -> Tensor:
        """What the planes hold at points ``(N, 3)``, scene units, and times in [0, 1]; ``(N, out_dim)``."""
        return self.encoding((points - self.aabb[0]) / (self.aabb[1] - self.aabb[0]), times)

    def raw(self, points: Tensor, times: Tensor | float) -> Tensor:
        """The network's output ``(N, 1)``, float32: the natural logarithm of the density per metre, plus 1.

        Args:
            points: Scene units ``(N, 3)``; outside the box the border's features count.
            times: In [0, 1], ``(N,)`` or one for all.
        """
        return self.network(self.features(points, times)).float()

    def density(self, points: Tensor, times: Tensor | float) -> Tensor:
        """Density per scene unit ``(N, 1)``; see :meth:`raw`."""
        return self.from_raw(self.raw(points, times))

    def from_raw(self, raw: Tensor) -> Tensor:
        """Density per scene unit of what :meth:`raw` gives; its gradient is bounded."""
        return self.metres_per_unit * trunc_exp(raw - 1)


def world_scale(world_from_scene: Any) -> float:
    """World units in a unit of the scene: the scale of a similarity ``(4, 4)``; 1 where there is none."""
    if world_from_scene is None:
        return 1.0
    linear = torch.as_tensor(world_from_scene)[:3, :3].double()
    return float(torch.linalg.det(linear).abs() ** (1 / 3))
