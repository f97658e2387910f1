"""One level of ENeRF: a cost volume that says where the surface may be, and rendering with few samples there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_pyramid import CHANNELS
from nf_plugins.field_components.view_blending import ViewBlending
from nf_plugins.field_components.volume_regulariser import FEATURE_DIM, VolumeRegulariser
from nf_plugins.model_components.depth_interval import VARIANCE_FLOOR, depth_interval, lookup, lookup_volume
from nf_plugins.model_components.interval_weights import interval_weights
from nf_plugins.model_components.plane_sweep import (
    DepthMode,
    depth_at,
    fraction_at,
    pixel_grid,
    plane_depths,
    plane_fractions,
    plane_points,
    scaled_intrinsics,
    scaled_size,
    variance_volume,
    warp_to_planes,
)
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.source_projection import direction_code, project_to_sources, sample_sources
from nf_plugins.model_components.target_view import TargetView

DensityActivation = Literal["exp", "softplus"]
"""exp: ``exp(relu(x) - 1)``, which is never 0."""


@dataclass
class CostVolumeLevelConfig:
    """A cost volume and the rendering that it guides."""

    scale: float = 0.25
    """Resolution of the volume, relative to the rendered image."""
    num_planes: int = 48
    """Planes of constant depth."""
    depth_mode: DepthMode = "linear"
    """Planes at equal steps of depth, or of its inverse."""
    feature_level: int = 2
    """Image features that are compared: 0 at full, 1 at half, 2 at quarter resolution."""
    blend_level: int = 0
    """Image features by which colours are blended, likewise."""
    num_samples: int = 2
    """Samples of a ray within the interval of depths."""
    loss_weight: float = 1.0
    """Weight of the loss of this level's colours; 0 renders the last level alone in training too."""
    volume_features: bool = False
    """Let the volume's features join in the density and the blending."""
    direction_pooling: bool = False
    """Let views' directions join in before views are pooled."""
    density_activation: DensityActivation = "exp"
    """exp(relu(x) - 1), which is never 0, or softplus."""
    variance_floor: float = VARIANCE_FLOOR
    """Smallest variance of the depth, in fractions of its range, squared."""


@dataclass(frozen=True)
class SourcePyramid:
    """S source images of one target with their features at three resolutions."""

    rgb: Tensor
    """Colours ``(S, 3, h, w)`` in [0, 1]."""
    levels: tuple[Tensor, Tensor, Tensor]
    """Features ``(S, 8, h, w)``, ``(S, 16, h / 2, w / 2)``, ``(S, 32, h / 4, w / 4)``."""
    intrinsics: Tensor
    """``(S, 3, 3)``."""
    world_to_cameras: Tensor
    """``(S, 3, 4)``."""
    centers: Tensor
    """``(S, 3)``."""
    ids: tuple[int, ...]
    """Which images these are."""

    @staticmethod
    def of(batch: SourceBatch, levels: tuple[Tensor, Tensor, Tensor], group: int) -> SourcePyramid:
        """The sources of one target of a batch, with the features of all its images ``(G * S, C, h, w)``."""
        rows = slice(group * batch.images.shape[1], (group + 1) * batch.images.shape[1])
        full, half, quarter = (level[rows] for level in levels)
        return SourcePyramid(
            batch.images[group], (full, half, quarter), batch.intrinsics[group], batch.world_to_cameras[group],
            batch.centers[group], batch.ids[group],
        )  # fmt: skip

    @property
    def num_bytes(self) -> int:
        """Memory of images and features."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.rgb, *self.levels))


@dataclass(frozen=True)
class LevelDepths:
    """What a cost volume says of a target; maps ``(h, w)``, depths along the camera's axis."""

    low: Tensor
    """Where the interval begins."""
    high: Tensor
    """Where it ends."""
    std: Tensor
    """Standard deviation of the depth."""
    near: Tensor
    """Depth of the volume's first plane."""
    far: Tensor
    """Depth of its last."""
    features: Tensor | None
    """Of the volume ``(8, D, h, w)``, where they are used."""
    scale: float
    """Of the maps."""

    def detached(self) -> LevelDepths:
        """The same interval without gradient."""
        return replace(self, low=self.low.detach(), high=self.high.detach())

    @property
    def num_bytes(self) -> int:
        """Memory of maps and features."""
        tensors = (self.low, self.high, self.std, self.near, self.far, self.features)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


class LevelRays(NamedTuple):
    """Rays of one target."""

    origins: Tensor
    """``(R, 3)``."""
    directions: Tensor
    """Unit ``(R, 3)``."""
    norms: Tensor
    """Length of the rays with unit depth ``(R, 1)``: ray distance = depth times this."""
    picture_uv: Tensor
    """Column and row in the target's picture ``(R, 2)``."""


class LevelColors(NamedTuple):
    """What a level renders, not yet on a background."""

    rgb: Tensor
    """Premultiplied ``(R, 3)``."""
    accumulation: Tensor
    """``(R, 1)``."""
    depth: Tensor
    """Expected ray distance, over the opacity ``(R, 1)``."""
    depth_std: Tensor
    """Standard deviation that the volume gives ``(R, 1)``, ray distance."""
    view_weights: Tensor
    """Of the sources at the samples ``(S, R * n)``."""


class CostVolumeLevel(nn.Module):
    """Cost volume, regulariser, blending network.

    Args:
        config: See its fields.
        signed_scores: See :class:`~nf_plugins.field_components.view_blending.ViewBlending`.
        positive_start: Likewise.

    Raises:
        InputError: Options out of range.
    """

    def __init__(
        self, config: CostVolumeLevelConfig, *, signed_scores: bool = False, positive_start: bool = True
    ) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.regulariser = VolumeRegulariser(CHANNELS[config.feature_level])
        self.blending = ViewBlending(
            CHANNELS[config.blend_level],
            signed_scores=signed_scores,
            positive_start=positive_start,
            density_head=True,
            volume_dim=FEATURE_DIM if config.volume_features else 0,
            direction_pooling=config.direction_pooling,
        )

    def depths(
        self, sources: SourcePyramid, target: TargetView, before: LevelDepths | None, offset: float = 0.0
    ) -> LevelDepths:
        """Where the surface may be.

        Args:
            sources: Images and features.
            target: The camera.
            before: Of the coarser level; its intervals are the range of depths here. None: the target's range.
            offset: Added to all planes, a fraction of the range, at most one over their number.
        """
        config = self.config
        size = scaled_size(target.size, config.scale)
        near, far = self._range(target, before, size)
        depths = plane_depths(torch.stack([near, far]), config.num_planes, config.depth_mode, offset)
        points = plane_points(scaled_intrinsics(target.intrinsics, config.scale), target.world_to_camera, depths)
        maps = sources.levels[config.feature_level]
        intrinsics = scaled_intrinsics(sources.intrinsics, 0.5**config.feature_level)
        warped = warp_to_planes(maps, intrinsics, sources.world_to_cameras, points)
        logits, features = self.regulariser(variance_volume(warped))
        fractions = plane_fractions(config.num_planes, offset, depths.device)
        interval = depth_interval(logits, fractions, config.variance_floor)
        low, high = (depth_at(part, near, far, config.depth_mode) for part in (interval.low, interval.high))
        # Of equal steps in depth exactly, else to first order: half of what mean +- std spans.
        upper, lower = (
            depth_at((interval.mean + sign * interval.std).clamp(0, 1), near, far, config.depth_mode)
            for sign in (1, -1)
        )
        return LevelDepths(
            low, high, (upper - lower) / 2, near, far, features if config.volume_features else None, config.scale
        )

    def render(self, sources: SourcePyramid, target: TargetView, depths: LevelDepths, rays: LevelRays) -> LevelColors:
        """Renders rays with few samples in the intervals of their pixels."""
        config = self.config
        maps = torch.stack([depths.low, depths.high, depths.std, depths.near, depths.far])
        low, high, std, near, far = lookup(maps, rays.picture_uv, depths.scale).split(1, dim=-1)
        fractions = torch.linspace(0, 1, config.num_samples + 1, device=low.device)
        edges = depth_at(fractions, low, high, config.depth_mode)
        middles = (edges[:, 1:] + edges[:, :-1]) / 2
        points = rays.origins[:, None] + rays.directions[:, None] * (middles * rays.norms)[..., None]
        volume_features = None
        if depths.features is not None:
            positions = rays.picture_uv[:, None].expand(-1, config.num_samples, 2).reshape(-1, 2)
            heights = fraction_at(middles, near, far, config.depth_mode).reshape(-1)
            volume_features = lookup_volume(depths.features, positions, heights, depths.scale)
        colors, densities, view_weights = self._blend(points.reshape(-1, 3), target.center, sources, volume_features)
        distances = edges * rays.norms
        weights = interval_weights(distances, densities.view(-1, config.num_samples))
        accumulation = weights.sum(dim=-1, keepdim=True)
        centers = middles * rays.norms
        depth = (weights * centers).sum(dim=-1, keepdim=True) / accumulation.clamp(min=1e-10)
        rgb = (weights[..., None] * colors.view(-1, config.num_samples, 3)).sum(dim=1)
        return LevelColors(rgb, accumulation, depth, std * rays.norms, view_weights)

    def _range(self, target: TargetView, before: LevelDepths | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if before is None:
            near, far = target.z_range.to(target.intrinsics)
            return near.expand(size), far.expand(size)
        positions = pixel_grid(size, before.low.device).reshape(-1, 2) / self.config.scale
        low, high = lookup(torch.stack([before.low, before.high]), positions, before.scale).T.reshape(2, *size)
        return low, high

    def _blend(
        self, points: Tensor, target_center: Tensor, sources: SourcePyramid, volume_features: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Colours ``(N, 3)``, densities ``(N, 1)`` per scene unit and weights of the views ``(S, N)``."""
        level = self.config.blend_level
        uv, _ = project_to_sources(points, sources.intrinsics, sources.world_to_cameras)
        inputs = [
            sample_sources(sources.rgb, uv),
            sample_sources(sources.levels[level], uv * 0.5**level),
            direction_code(points, target_center, sources.centers),
        ]
        colors, hidden, weights = self.blending(torch.cat(inputs, dim=-1), None, volume_features)
        return colors, activated(self.blending.raw_density(hidden).float(), self.config.density_activation), weights


def activated(raw: Tensor, activation: DensityActivation) -> Tensor:
    """Density of what a network says."""
    if activation == "softplus":
        return F.softplus(raw)
    # exp overflows float32 above 88; nothing is more opaque than that.
    return (F.relu(raw).clamp(max=80.0) - 1).exp()


def _check(config: CostVolumeLevelConfig) -> None:
    if not 0 < config.scale <= 1:
        raise InputError(f"levels: scale {config.scale} of a cost volume, expected in (0, 1].")
    if config.num_planes < 2 or config.num_samples < 1:
        raise InputError(
            f"levels: num-planes {config.num_planes} and num-samples {config.num_samples}, expected at least 2 and 1."
        )
    levels = (config.feature_level, config.blend_level)
    if not all(level in range(len(CHANNELS)) for level in levels):
        raise InputError(f"levels: feature-level {levels[0]} and blend-level {levels[1]}, expected 0, 1 or 2.")
