"""Appearance from nearby source images: features, projection, blending (Im4D, SIGGRAPH Asia 2023, Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from nf_plugins.field_components.feature_pyramid import FeaturePyramid, Normalisation
from nf_plugins.field_components.view_blending import ViewBlending, Visibility, weight_entropy
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.source_projection import (
    direction_code,
    inside_sources,
    project_to_sources,
    sample_sources,
)


@dataclass(frozen=True)
class SourceFeatures:
    """S source images of one target with their features, on the model's device."""

    rgb: Tensor
    """Colours ``(S, 3, h, w)`` in [0, 1]."""
    maps: Tensor
    """Features ``(S, 8, h, w)``."""
    masks: Tensor
    """``(S, 1, h, w)``: what belongs to the image and its foreground."""
    intrinsics: Tensor
    """``(S, 3, 3)``; the centre of the first pixel is (0, 0)."""
    world_to_cameras: Tensor
    """OpenCV's axes ``(S, 3, 4)``, scene units."""
    centers: Tensor
    """Positions of the cameras ``(S, 3)``."""
    ids: tuple[int, ...]
    """Which images these are."""

    @property
    def num_bytes(self) -> int:
        """Memory that the images and maps take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.rgb, self.maps, self.masks))


@dataclass
class BlendedAppearanceConfig(InstantiateConfig):
    """Colours that are blended from source images."""

    _target: type = field(default_factory=lambda: BlendedAppearance)
    """Target class to instantiate."""
    normalisation: Normalisation = "instance"
    """What the feature network normalises over: the canvas with its padding (instance, published), or the foreground
    (masked), so that features do not depend on which images were chosen together."""
    signed_scores: bool = False
    """Let scores of source views be negative, so that a bad view can be left out; published scores are not."""
    positive_start: bool = True
    """Let scores of source views start above 0. As published they start around it, where a ReLU may cut off all of them
    and with them what the blending could learn."""
    visibility: Visibility = "ignore"
    """ignore (published): every source view counts everywhere; mask: only views in whose image and foreground a point
    lies, all where there are none."""


class BlendedAppearance(nn.Module):
    """Feature pyramid and blending network. The colour at a point is a convex combination of source pixels.

    Args:
        config: See its fields.
    """

    def __init__(self, config: BlendedAppearanceConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = FeaturePyramid(config.normalisation)
        # Only the finest level is looked at here; a parameter without gradient would stop distributed training.
        self.pyramid.smooth1.requires_grad_(False)
        self.blending = ViewBlending(signed_scores=config.signed_scores, positive_start=config.positive_start)

    def features(self, batch: SourceBatch) -> list[SourceFeatures]:
        """Features of all source images of a batch, by target; the network runs once."""
        num_groups, num_sources = batch.images.shape[:2]
        images, masks = batch.images.flatten(0, 1), batch.masks.flatten(0, 1)
        maps = self.pyramid(2 * images - 1, masks)[0].unflatten(0, (num_groups, num_sources))
        centers = batch.centers
        return [
            SourceFeatures(
                batch.images[group], maps[group], batch.masks[group], batch.intrinsics[group],
                batch.world_to_cameras[group], centers[group], batch.ids[group],
            )
            for group in range(num_groups)
        ]  # fmt: skip

    def colors(self, points: Tensor, target_center: Tensor, features: SourceFeatures) -> Tensor:
        """Colours of points.

        Args:
            points: Scene units ``(N, 3)``.
            target_center: Position of the camera that looks at them ``(3,)``, or one for each ``(N, 3)``.
            features: Of the sources.

        Returns:
            ``(N, 3)`` in [0, 1].
        """
        return self.colors_and_weights(points, target_center, features)[0]

    def colors_and_weights(
        self, points: Tensor, target_center: Tensor, features: SourceFeatures
    ) -> tuple[Tensor, Tensor]:
        """Colours ``(N, 3)`` and the weights of the views ``(S, N)``; arguments as of :meth:`colors`."""
        uv, depth = project_to_sources(points, features.intrinsics, features.world_to_cameras)
        inputs = [
            sample_sources(features.rgb, uv),
            sample_sources(features.maps, uv),
            direction_code(points, target_center, features.centers),
        ]
        visible = None
        if self.config.visibility == "mask":
            size = (int(features.rgb.shape[-2]), int(features.rgb.shape[-1]))
            visible = inside_sources(uv, depth, size) & (sample_sources(features.masks, uv)[..., 0] > 0.5)
        colors, _, weights = self.blending(torch.cat(inputs, dim=-1), visible)
        return colors, weights

    @staticmethod
    def entropy(weights: Tensor) -> Tensor:
        """See :func:`~nf_plugins.field_components.view_blending.weight_entropy`."""
        return weight_entropy(weights)
