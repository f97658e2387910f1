"""What methods share that blend colours from the images of nearby cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.feature_cache import FeatureCache
from nf_plugins.model_components.ray_groups import RayGroup
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.target_view import TargetView
from nf_plugins.models.boxed_model import BoxedModel, BoxedModelConfig


@dataclass
class ImageBasedModelConfig(BoxedModelConfig):
    """Options of methods that look at source images."""

    _target: type = field(default_factory=lambda: ImageBasedModel)
    """Target class to instantiate."""
    test_source_count: int = 4
    """Source images of a rendered view."""
    skip_nearest_source: bool = False
    """Never use the nearest camera's image, as published, even where it is not the rendered one."""
    source_canvas: Literal["auto", "crop", "whole"] = "auto"
    """Whether source images are cut to their foreground or used whole; auto as the datamanager prepares them."""
    feature_cache_bytes: int = 256 << 20
    """Memory for features of source images of rendered views."""


class ImageBasedModel(BoxedModel):
    """Base of methods that blend colours from source images.

    A subclass says in :meth:`encode_sources` what it computes of the images.

    Attributes:
        source_views: The images.
    """

    config: ImageBasedModelConfig

    def populate_modules(self) -> None:
        """Finds the source views.

        Raises:
            InputError: The data has none.
        """
        super().populate_modules()
        self.source_views: Any = self.metadata.get("source_views")
        if self.source_views is None:
            raise InputError(
                f"{type(self).__name__} needs source views, which its own datamanager gives: use "
                "SourceViewDataManager (the default of its methods) in place of the chosen one."
            )
        self._features: FeatureCache[Any] = FeatureCache(self.config.feature_cache_bytes)

    def encode_sources(self, batch: SourceBatch) -> Sequence[Any]:
        """What the method needs of the source images of each target; each has ``num_bytes``.

        Args:
            batch: Sources of G targets.

        Returns:
            G entries.
        """
        raise NotImplementedError

    def sources_of(self, group: RayGroup) -> tuple[int, ...]:
        """Indices of the source images of rays: those that they bring along, else the nearest of their frame."""
        if group.source_ids:
            return group.source_ids
        config = self.config
        return self.source_views.rendering_ids(
            group.center, group.time, config.test_source_count, skip_nearest=config.skip_nearest_source
        )

    def features_of(self, groups: Sequence[RayGroup]) -> list[Any]:
        """What :meth:`encode_sources` gives for each group; in evaluation kept for the next chunk of rays."""
        sources = [self.sources_of(group) for group in groups]
        if self.training and len({len(ids) for ids in sources}) == 1:
            return list(self.encode_sources(self.source_batch(sources)))
        if self.training:
            return [self.encode_sources(self.source_batch([ids]))[0] for ids in sources]
        return [
            self._features.get(ids, lambda ids=ids: self.encode_sources(self.source_batch([ids]))[0]) for ids in sources
        ]

    def source_batch(self, sources: Sequence[Sequence[int]]) -> SourceBatch:
        """Source images of targets, as many for each, on the model's device."""
        crop = None if self.config.source_canvas == "auto" else self.config.source_canvas == "crop"
        return self.source_views.batch(sources, crop=crop, device=self.device)

    def train(self, mode: bool = True) -> ImageBasedModel:
        """Also forgets features, which belong to the parameters of the moment."""
        if hasattr(self, "_features") and (mode or self.training):
            self._features.clear()
        return super().train(mode)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Also forgets features."""
        self._features.clear()
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def target_of_group(self, group: RayGroup) -> TargetView | None:
        """The view that rays belong to: the training image, or the camera being rendered; None for stray rays."""
        if group.target_id >= 0:
            return self.source_views.target(group.target_id)
        target = self.camera_target
        if target is None or not bool(coinciding_points(target.center, group.center)):
            return None
        return target


def coinciding_points(first: Tensor, second: Tensor) -> Tensor:
    """Whether two positions ``(3,)`` agree as far as float32 arithmetic can tell."""
    return (first.to(second) - second).norm() <= 1e-5 * (1 + second.norm())
