"""Levels of ENeRF one within the other: a coarse cost volume over all depths, finer ones over what it left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nf_plugins.errors import InputError
from nf_plugins.model_components.target_view import TargetView
from nf_plugins.models.enerf_levels import (
    CostVolumeLevel,
    CostVolumeLevelConfig,
    LevelColors,
    LevelDepths,
    LevelRays,
    SourcePyramid,
)


@dataclass(frozen=True)
class SweptView:
    """What the cost volumes of one target say."""

    levels: tuple[LevelDepths, ...]
    """From coarse to fine."""

    @property
    def num_bytes(self) -> int:
        """Memory."""
        return sum(level.num_bytes for level in self.levels)


class CostVolumeCascade(nn.Module):
    """Levels from coarse to fine.

    Args:
        configs: Of the levels.
        signed_scores: See :class:`~nf_plugins.field_components.view_blending.ViewBlending`.
        positive_start: Likewise.

    Attributes:
        rendered: Levels whose colours have a loss, and the last.

    Raises:
        InputError: No levels, or options out of range.
    """

    def __init__(
        self, configs: Sequence[CostVolumeLevelConfig], *, signed_scores: bool = False, positive_start: bool = True
    ) -> None:
        super().__init__()
        if not configs:
            raise InputError("--pipeline.model.levels is empty: at least one cost volume is needed.")
        self.configs = tuple(configs)
        self.levels = nn.ModuleList(
            CostVolumeLevel(config, signed_scores=signed_scores, positive_start=positive_start) for config in configs
        )
        last = len(configs) - 1
        self.rendered = [index for index, config in enumerate(configs) if config.loss_weight > 0 or index == last]
        for index, level in enumerate(self._levels):
            level.blending.requires_grad_(index in self.rendered)

    @property
    def feature_levels(self) -> set[int]:
        """Resolutions of image features that are looked at in training."""
        compared = {config.feature_level for config in self.configs}
        return compared | {self.configs[index].blend_level for index in self.rendered}

    def sweep(self, sources: SourcePyramid, target: TargetView, offsets: Sequence[float]) -> SweptView:
        """Cost volumes of a target, with the planes of each level shifted by a fraction of its range."""
        depths: list[LevelDepths] = []
        for level, offset in zip(self._levels, offsets, strict=True):
            depths.append(level.depths(sources, target, self._before(depths), offset))
        return SweptView(tuple(depths))

    def render(
        self, view: SweptView, sources: SourcePyramid, target: TargetView, rays: LevelRays, *, all_levels: bool
    ) -> list[LevelColors]:
        """What the ``rendered`` levels make of rays; without ``all_levels`` the last alone."""
        chosen = self.rendered if all_levels else self.rendered[-1:]
        levels = self._levels
        return [levels[index].render(sources, target, view.levels[index], rays) for index in chosen]

    def random_offsets(self, seed: int) -> list[float]:
        """By how much the planes of each level may be shifted, up to their distance; the same for the same seed."""
        draws = torch.rand(len(self.configs), generator=torch.Generator().manual_seed(seed))
        return [float(draw) / config.num_planes for draw, config in zip(draws, self.configs, strict=True)]

    @property
    def _levels(self) -> list[CostVolumeLevel]:
        return [level for level in self.levels if isinstance(level, CostVolumeLevel)]

    def _before(self, depths: list[LevelDepths]) -> LevelDepths | None:
        """Where the next level looks. A level that is rendered itself learns from that alone, as in stereo cascades."""
        if not depths:
            return None
        return depths[-1].detached() if len(depths) - 1 in self.rendered else depths[-1]
