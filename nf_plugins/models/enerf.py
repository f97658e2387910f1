"""Cost volumes that guide rendering with few samples (Lin et al., *Efficient Neural Radiance Fields for Interactive
Free-viewpoint Video*, SIGGRAPH Asia 2022).

Nothing belongs to a scene: the networks see source images alone, so that a checkpoint renders other scenes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.config_utils import to_immutable_dict
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_pyramid import FeaturePyramid
from nf_plugins.field_components.view_blending import weight_entropy
from nf_plugins.model_components.feature_cache import FeatureCache
from nf_plugins.model_components.ray_camera import camera_of_rays
from nf_plugins.model_components.ray_groups import RayGroup, group_rays
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.target_view import TargetView
from nf_plugins.models.enerf_cascade import CostVolumeCascade, SweptView
from nf_plugins.models.enerf_levels import CostVolumeLevelConfig, LevelColors, LevelRays, SourcePyramid
from nf_plugins.models.image_based_model import ImageBasedModel, ImageBasedModelConfig


@dataclass
class EnerfModelConfig(ImageBasedModelConfig):
    """Depth-guided rendering from source images; one cost volume."""

    _target: type = field(default_factory=lambda: EnerfModel)
    """Target class to instantiate."""
    levels: tuple[CostVolumeLevelConfig, ...] = (CostVolumeLevelConfig(),)
    """Cost volumes from coarse to fine; each looks within the intervals of the one before."""
    random_planes: bool = True
    """Shift all planes by a random part of their distance in each training step."""
    signed_scores: bool = False
    """Let scores of source views be negative, so that a bad view can be left out; published scores are not."""
    positive_start: bool = True
    """Let densities and scores of source views start above 0. As published they start around it, where a ReLU may cut
    off all of them and with them what could be learnt."""
    loss_coefficients: dict[str, float] = to_immutable_dict({"rgb": 1.0, "mask": 0.0})
    """Weights of the squared errors of colours (on top of each level's) and of the last level's opacity against the
    foreground masks, which is published without: images then have no opacity of their own."""
    source_canvas: Literal["crop", "whole"] = "whole"
    """Whether source images of rendered views are cut to their foreground, or used whole, as in training."""
    volume_cache_bytes: int = 256 << 20
    """Memory for cost volumes of rendered views."""
    eval_num_rays_per_chunk: int = 1 << 14
    """Rays per forward pass when rendering."""


class EnerfModel(ImageBasedModel):
    """Feature pyramid and levels of cost volumes.

    Densities are per scene unit: a scene's box has the same size in all scenes.
    """

    config: EnerfModelConfig

    def populate_modules(self) -> None:
        """Builds the networks; what the dataparser says of a scene stays out of checkpoints.

        Raises:
            InputError: No source views, no levels or levels out of range.
        """
        super().populate_modules()
        for module in self.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, buffer, persistent=False)
        self.pyramid = FeaturePyramid()
        self.cascade = CostVolumeCascade(
            self.config.levels, signed_scores=self.config.signed_scores, positive_start=self.config.positive_start
        )
        # What gets no gradient is no trained parameter: distributed training would wait for it.
        used = self.cascade.feature_levels
        for module, is_used in (
            (self.pyramid.smooth0, 0 in used),
            (self.pyramid.smooth1, 1 in used),
            (self.pyramid.lateral0, 0 in used),
            (self.pyramid.lateral1, bool(used & {0, 1})),
        ):
            module.requires_grad_(is_used)
        self._volumes: FeatureCache[SweptView] = FeatureCache(self.config.volume_cache_bytes)
        self.step = 0

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One group, as published."""
        parameters = [*self.pyramid.parameters(), *self.cascade.parameters()]
        return {"networks": [parameter for parameter in parameters if parameter.requires_grad]}

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the networks do not tell."""
        shapeless = [
            (level.scale, level.num_planes, level.depth_mode, level.num_samples, level.density_activation)
            for level in self.config.levels
        ]
        return super().signature() | {"levels": str(shapeless), "signed_scores": str(self.config.signed_scores)}

    def required_inputs(self) -> list[str]:
        """Foreground masks where the opacity has a loss."""
        return ["fg_mask_filenames"] if self.config.loss_coefficients.get("mask", 0.0) > 0 else []

    def use_occupancy_cache(self, cache: Any) -> None:
        """Refuses a cache: there is nothing to skip.

        Raises:
            InputError: There is a cache.
        """
        if cache is not None:
            raise InputError(
                "ENeRF looks at a few samples of a ray, which its cost volume places; an occupancy cache would save "
                "nothing: render without it."
            )

    def update_to_step(self, step: int) -> None:
        """Sets what follows from the step alone."""
        self.step = step

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Keeps the step."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        return [*callbacks, TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self.update_to_step)]

    def encode_sources(self, batch: SourceBatch) -> Sequence[SourcePyramid]:
        """Features of the source images of each target at three resolutions."""
        levels = self.pyramid(2 * batch.images.flatten(0, 1) - 1)
        return [SourcePyramid.of(batch, levels, group) for group in range(len(batch.images))]

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays ``(R,)`` of one or more target views.

        Returns:
            rgb (R, 3) on the background, accumulation, depth (ray distance) and depth_std (R, 1). In training also
            ``level_rgb``, the colours of every level that has a loss by its number, and ``blend_entropy``.

        Raises:
            InputError: Rays of no camera.
        """
        if any(ray_bundle.metadata.get(key) is None for key in ("z_range", "picture_uv", "directions_norm")):
            raise InputError(
                "ENeRF renders views of a camera, and these rays belong to none (ns-export casts such): use nf-render."
            )
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            groups = group_rays(ray_bundle, self.ray_times(ray_bundle))
            rendered = [
                self._render(ray_bundle, group, sources)
                for group, sources in zip(groups, self.features_of(groups), strict=True)
            ]
            order = torch.argsort(torch.cat([group.rows for group in groups]))
            return self._joined(rendered, order, self._hits(ray_bundle))

    def _hits(self, ray_bundle: RayBundle) -> Tensor | None:
        """Rays that cross the subject's box; in training all do, maybe that of another scene."""
        return None if self.training else self.ray_bounds(ray_bundle)[2][:, None]

    def _joined(self, rendered: list[list[LevelColors]], order: Tensor, hits: Tensor | None) -> dict[str, Any]:
        by_level = list(zip(*rendered, strict=True))
        joined = [
            {name: torch.cat([getattr(part, name) for part in parts])[order] for name in LevelColors._fields[:4]}
            for parts in by_level
        ]
        for values in joined:
            if hits is not None:
                for name in ("rgb", "accumulation", "depth", "depth_std"):
                    values[name] = torch.where(hits, values[name], 0.0)
            values["rgb"] = values["rgb"] + (1 - values["accumulation"]) * self.background_color
        outputs: dict[str, Any] = dict(joined[-1])
        if self.training:
            colors = [values["rgb"] for values in joined]
            outputs["level_rgb"] = dict(zip(self.cascade.rendered, colors, strict=True))
            entropies = [weight_entropy(part.view_weights.detach()) for part in by_level[-1]]
            outputs["blend_entropy"] = torch.stack(entropies).mean()
        return outputs

    def _render(self, ray_bundle: RayBundle, group: RayGroup, sources: SourcePyramid) -> list[LevelColors]:
        """What a group of rays is: in training by every level that has a loss, otherwise by the last alone."""
        target = self._target(ray_bundle, group, sources)
        view = self._swept(target, sources)
        rays = LevelRays(
            ray_bundle.origins[group.rows], ray_bundle.directions[group.rows],
            ray_bundle.metadata["directions_norm"][group.rows], ray_bundle.metadata["picture_uv"][group.rows],
        )  # fmt: skip
        return self.cascade.render(view, sources, target, rays, all_levels=self.training)

    def _swept(self, target: TargetView, sources: SourcePyramid) -> SweptView:
        """Cost volumes of a target; in evaluation kept for the next chunk of rays."""
        if self.training:
            return self.cascade.sweep(sources, target, self._offsets())
        return self._volumes.get(_key(target, sources), lambda: self.cascade.sweep(sources, target, self._offsets()))

    def _offsets(self) -> list[float]:
        """By how much the planes of the levels are shifted, a function of the step: a resumed run repeats it."""
        if self.training and self.config.random_planes:
            return self.cascade.random_offsets(self.step)
        return [0.0] * len(self.config.levels)

    def _target(self, ray_bundle: RayBundle, group: RayGroup, sources: SourcePyramid) -> TargetView:
        """The view that rays belong to.

        Without a target id or a camera being rendered it is found from the rays themselves; it then has the size of
        its first source image.
        """
        metadata = ray_bundle.metadata
        z_range = metadata["z_range"][group.rows[0]]
        target = self.target_of_group(group)
        if target is not None:
            # The batch knows the boxes of all scenes, the model those of one.
            pose, intrinsics = target.world_to_camera.to(z_range), target.intrinsics.to(z_range)
            return replace(target, intrinsics=intrinsics, world_to_camera=pose, z_range=z_range)
        directions = ray_bundle.directions[group.rows] * metadata["directions_norm"][group.rows]
        camera = camera_of_rays(group.center, directions, metadata["picture_uv"][group.rows])
        if camera is None:
            raise InputError(
                f"ENeRF got {len(group.rows)} rays of a view, which do not tell its camera: render whole images with "
                "nf-render, or draw more pixels of an image."
            )
        size = tuple(int(side) for side in self.source_views.sizes[sources.ids[0]])
        return TargetView(*camera, (size[0], size[1]), z_range, group.time)

    def train(self, mode: bool = True) -> EnerfModel:
        """Also forgets cost volumes, which belong to the parameters of the moment."""
        if hasattr(self, "_volumes") and (mode or self.training):
            self._volumes.clear()
        super().train(mode)
        return self

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Also forgets cost volumes."""
        self._volumes.clear()
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted squared errors of the colours of every level that is trained; in evaluation of the last.

        Args:
            outputs: Of :meth:`get_outputs`.
            batch: ``image`` (R, 3), and ``fg_mask`` (R, 1) where the opacity has a loss.
        """
        image, last = batch["image"].to(self.device), len(self.config.levels) - 1
        losses = {}
        for index, rgb in outputs.get("level_rgb", {last: outputs["rgb"]}).items():
            weight = self.config.loss_coefficients["rgb"] * self.config.levels[index].loss_weight
            losses["rgb_loss" if index == last else f"rgb_loss_{index}"] = weight * (rgb - image).square().mean()
        mask_weight = self.config.loss_coefficients.get("mask", 0.0)
        if mask_weight > 0:
            difference = outputs["accumulation"] - batch["fg_mask"].to(outputs["accumulation"])
            losses["mask_loss"] = mask_weight * difference.square().mean()
        return losses

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the batch, how sure the volume is of the depth, how evenly views are blended."""
        error = (outputs["rgb"] - batch["image"].to(self.device)).square().mean()
        metrics = {"psnr": -10 * torch.log10(error.clamp(min=1e-10)), "depth_std": outputs["depth_std"].mean()}
        entropy = outputs.get("blend_entropy")
        return metrics if entropy is None else metrics | {"blend_entropy": entropy}


def _key(target: TargetView, sources: SourcePyramid) -> Hashable:
    numbers = [*target.intrinsics.flatten().tolist(), *target.world_to_camera.flatten().tolist()]
    return (sources.ids, target.size, *numbers, *target.z_range.tolist())
