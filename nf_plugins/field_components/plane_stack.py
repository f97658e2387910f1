"""Feature planes over pairs of the four coordinates x, y, z and time, at several resolutions.

Six planes make a scale: xy, yz, xz hold what stands still, xt, yt, zt what changes (Fridovich-Keil et al., *K-Planes*,
CVPR 2023). The features of a point are those that its six projections read, multiplied or added up within a scale as in
K-Planes, or laid side by side as in Im4D (Lin et al., SIGGRAPH Asia 2023); those of different scales are always laid
side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError

Reduce = Literal["concat", "product", "sum"]
SPATIAL_AXES = ((0, 1), (1, 2), (0, 2))
"""Which coordinates a spatial plane spans: xy, yz, xz; the first runs along its columns, the second along its rows."""
INITIAL_RANGE = (-0.1, 0.1)
PRODUCT_SPATIAL_RANGE = (0.1, 0.15)


class PlaneStackEncoding(nn.Module):
    """Features of points in space and time, read from planes by bilinear interpolation.

    Attributes:
        spatial: For each scale of R cells ``(3, C, R, R)``, planes xy, yz, xz.
        temporal: For each scale ``(3, C, T, R)``, planes xt, yt, zt; time runs along the rows.
        out_dim: Features of a point: 6 C per scale where they are laid side by side, else C per scale.

    Args:
        scales: Resolution R along each axis of space, by scale.
        temporal_resolution: T, the same at every scale.
        channels: C, features of a plane.
        reduce: How the six planes of a scale become one vector.
        spatial_init: Range of the uniform initial values of the spatial planes; None is [-0.1, 0.1], for products
            [0.1, 0.15]. Temporal planes start in [-0.1, 0.1], for products at 1.

    Raises:
        InputError: A size that is not positive, or no scale.
    """

    def __init__(
        self,
        scales: Sequence[int] = (64, 128, 256, 512),
        temporal_resolution: int = 150,
        channels: int = 16,
        *,
        reduce: Reduce = "concat",
        spatial_init: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if not scales or min(*scales, temporal_resolution, channels, 1) < 1:
            raise InputError(
                f"Feature planes have scales {tuple(scales)}, temporal resolution {temporal_resolution} and {channels} "
                "channels; expected at least one scale and positive numbers."
            )
        self.reduce, self.channels, self.temporal_resolution = reduce, channels, temporal_resolution
        self.scales = tuple(scales)
        is_product = reduce == "product"
        low, high = spatial_init or (PRODUCT_SPATIAL_RANGE if is_product else INITIAL_RANGE)
        self.spatial = nn.ParameterList(
            nn.Parameter(torch.empty(3, channels, size, size).uniform_(low, high)) for size in self.scales
        )
        self.temporal = nn.ParameterList(
            nn.Parameter(torch.ones(3, channels, temporal_resolution, size))
            if is_product
            else nn.Parameter(torch.empty(3, channels, temporal_resolution, size).uniform_(*INITIAL_RANGE))
            for size in self.scales
        )
        self.out_dim = len(self.scales) * channels * (6 if reduce == "concat" else 1)

    def forward(self, unit_points: Tensor, unit_times: Tensor | float) -> Tensor:
        """Features ``(N, out_dim)``, float32.

        Args:
            unit_points: Points in the unit cube ``(N, 3)``; what lies outside reads the border.
            unit_times: Times in [0, 1] ``(N,)``, or one for all; clamped likewise.
        """
        with torch.autocast(unit_points.device.type, enabled=False):
            points = unit_points.float().clamp(0, 1) * 2 - 1
            times = torch.as_tensor(unit_times, dtype=points.dtype, device=points.device).reshape(-1)
            times = (times.clamp(0, 1) * 2 - 1).expand(len(points))
            in_space = torch.stack([points[:, list(axes)] for axes in SPATIAL_AXES])
            in_time = torch.stack([points.T, times.expand(3, -1)], dim=-1)
            return torch.cat(
                [
                    self._reduce(torch.cat([read_planes(spatial, in_space), read_planes(temporal, in_time)]))
                    for spatial, temporal in zip(self.spatial, self.temporal, strict=True)
                ],
                dim=-1,
            )

    def _reduce(self, features: Tensor) -> Tensor:
        """Of the six planes ``(6, C, N)``, one vector a point ``(N, 6 C)`` or ``(N, C)``."""
        if self.reduce == "concat":
            return features.flatten(0, 1).T
        # prod() over a dimension has a slow backward pass; there are six factors.
        total = features[0]
        for other in features[1:]:
            total = total * other if self.reduce == "product" else total + other
        return total.T

    def time_lines(self, time: float) -> list[Tensor]:
        """What the temporal planes hold at a time in [0, 1]: for each scale ``(3, C, R)``, along x, y and z."""
        position = min(max(float(time), 0.0), 1.0) * (self.temporal_resolution - 1)
        lower = min(int(position), max(self.temporal_resolution - 2, 0))
        upper = min(lower + 1, self.temporal_resolution - 1)
        return [torch.lerp(planes[:, :, lower], planes[:, :, upper], position - lower) for planes in self.temporal]


def read_planes(planes: Tensor, coordinates: Tensor) -> Tensor:
    """Bilinear interpolation; -1 and 1 are the centres of the first and last cell.

    Args:
        planes: ``(P, C, rows, columns)``.
        coordinates: Column and row of N points on each plane, in [-1, 1], ``(P, N, 2)``.

    Returns:
        ``(P, C, N)``.
    """
    sampled = nn.functional.grid_sample(
        planes, coordinates[:, None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[:, :, 0]
