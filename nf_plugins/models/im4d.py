"""Im4D: a dynamic scene as a density on feature planes whose colours are blended from nearby images.

Lin, Peng, Xu, Xie, He, Bao, Zhou, *Im4D: High-Fidelity and Real-Time Novel View Synthesis for Dynamic Scenes*,
SIGGRAPH Asia 2023. The geometry is learnt and varies smoothly in time; what the surface looks like is never stored, it
is read from the images of the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn
from torch.nn import Parameter

from nf_plugins.fields.blended_appearance import BlendedAppearance, BlendedAppearanceConfig, SourceFeatures
from nf_plugins.fields.plane_density_field import PlaneDensityField
from nf_plugins.model_components.ray_groups import RayGroup, group_rays
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.models.im4d_options import check_counts
from nf_plugins.models.image_based_model import ImageBasedModel, ImageBasedModelConfig
from nf_plugins.models.plane_model import FieldSamples, PlaneModel, parameters_of
from nf_plugins.models.plane_options import PlaneModelConfig


@dataclass
class Im4DModelConfig(PlaneModelConfig, ImageBasedModelConfig):
    """Im4D; the defaults are the published sizes with the evident slips of the published code mended."""

    _target: type = field(default_factory=lambda: Im4DModel)
    """Target class to instantiate."""
    appearance: BlendedAppearanceConfig = field(default_factory=BlendedAppearanceConfig)
    """Features of source images and how colours are blended."""
    num_proposal_samples: int = 64
    """Intervals of a ray in which the proposal density is asked."""
    feature_gradient_start: int = 5000
    """Up to this step the feature network learns in every step."""
    feature_gradient_interval: int = 20
    """From then on it learns in every so many steps."""


@dataclass
class BlendingContext:
    """The images that each ray of a bundle is blended from."""

    groups: list[RayGroup]
    """Rays of one camera and time each."""
    features: list[SourceFeatures]
    """For each group."""
    group_of_ray: Tensor
    """Which group a ray belongs to, int64 ``(R,)``."""
    entropies: list[Tensor]
    """How evenly views were weighed so far, by call, in training."""


class Im4DModel(PlaneModel, ImageBasedModel):
    """Density on feature planes, colours from source images."""

    config: Im4DModelConfig
    field: PlaneDensityField

    def build_fields(self) -> None:
        """Density, proposal and appearance."""
        check_counts(
            {
                "num-proposal-samples": self.config.num_proposal_samples,
                "feature-gradient-interval": self.config.feature_gradient_interval,
            }
        )
        num_frames = len(self.frame_times)
        self.field = PlaneDensityField(self.config.density, self.scene_aabb, num_frames, self.metres_per_unit)
        self.proposals = nn.ModuleList([self.proposal_field(self.config.proposal)])
        self.proposal_counts = (self.config.num_proposal_samples,)
        self.appearance: BlendedAppearance = self.config.appearance.setup()

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Planes, the networks on top of them and of the blending, and the feature network; the first learn faster."""
        networks = [self.field.network, *(proposal.network for proposal in self.proposal_fields)]
        return {
            "planes": parameters_of(self.encodings),
            "networks": parameters_of([*networks, self.appearance.blending]),
            "features": parameters_of([self.appearance.pyramid]),
        }

    @property
    def features_learn(self) -> bool:
        """Whether the feature network learns in this step."""
        config = self.config
        return self.step < config.feature_gradient_start or self.step % config.feature_gradient_interval == 0

    def encode_sources(self, batch: SourceBatch) -> list[SourceFeatures]:
        """Feature maps of source images, with a gradient in the steps that have one."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.features_learn):
            return self.appearance.features(batch)

    def ray_context(self, ray_bundle: RayBundle) -> BlendingContext:
        """Groups rays ``(R,)`` by camera and time and computes the features of their sources."""
        times = self.ray_times(ray_bundle)
        groups = group_rays(ray_bundle, times)
        group_of_ray = torch.zeros(len(times), dtype=torch.long, device=times.device)
        for index, group in enumerate(groups):
            group_of_ray[group.rows] = index
        return BlendingContext(groups, self.features_of(groups), group_of_ray, [])

    def sample_field(self, points: Tensor, times: Tensor) -> FieldSamples:
        """Densities; colours need nothing of them."""
        return FieldSamples(self.field.density(points, times), None)

    def colors_at(self, points: Tensor, times: Tensor, ray_ids: Tensor, context: BlendingContext) -> Tensor:
        """Colours of points, which need nothing of the density."""
        return self.sample_colors(points, None, ray_ids, context)

    def sample_colors(self, points: Tensor, hidden: Tensor | None, ray_ids: Tensor, context: BlendingContext) -> Tensor:
        """Blends the sources of each ray's group."""
        group_ids = context.group_of_ray[ray_ids]
        colors = torch.zeros_like(points)
        for index, (group, features) in enumerate(zip(context.groups, context.features, strict=True)):
            rows = (group_ids == index).nonzero()[:, 0]
            if not len(rows):
                continue
            blended, weights = self.appearance.colors_and_weights(points[rows], group.center, features)
            if self.training:
                context.entropies.append(self.appearance.entropy(weights.detach()))
            colors = colors.index_copy(0, rows, blended.to(colors))
        return colors

    def _train(self, span: Any, context: BlendingContext) -> dict[str, Any]:
        outputs = super()._train(span, context)
        return {**outputs, "blend_entropy": torch.stack(context.entropies).mean()}

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds how evenly source views are weighed: 1 as at the start, where no view is told from another."""
        metrics = super().get_metrics_dict(outputs, batch)
        return metrics | {name: outputs[name] for name in ("blend_entropy",) if name in outputs}
