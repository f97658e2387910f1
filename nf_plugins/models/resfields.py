"""Dynamic surfaces from a few views: residual neural fields with signed distance and colour (ResFields, ICLR 2024).

Six methods share everything but how the field learns motion; see :mod:`nf_plugins.fields.scene_motion`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.configs.config_utils import to_immutable_dict
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components.ray_samplers import UniformSampler
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.field_components.frame_batch import FrameBatch, RowGroups, group_rows
from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.fields.scene_motion import SceneMotionConfig, build_scene_motion
from nf_plugins.fields.temporal_sdf_field import TemporalSDFField, TemporalSDFFieldConfig
from nf_plugins.model_components.box_collider import BoxCollider
from nf_plugins.model_components.occupied_sampler import OccupiedSampler
from nf_plugins.model_components.regularisation_points import RegularisationPoints, choose_regularisation_points
from nf_plugins.model_components.temporal_occupancy import TemporalOccupancyGrid
from nf_plugins.models.dynamic_model import DynamicModel, DynamicModelConfig
from nf_plugins.models.occupancy_schedule import OccupancySchedule, OccupancyScheduleConfig, occupied_segments
from nf_plugins.models.surface_losses import DISTANCE_LOSSES, SurfaceTarget, check_losses, surface_loss_terms
from nf_plugins.models.temporal_surface import TemporalSurface

RELU_DENSITY_THRESHOLD = 0.001
"""Density at which meshes of a plain NeRF density are cut, as published."""


@dataclass
class ResFieldsModelConfig(DynamicModelConfig):
    """A volume-rendered temporal signed-distance field with residual layers; skips empty space unless told not to."""

    _target: type = field(default_factory=lambda: ResFieldsModel)
    """Target class to instantiate."""
    sdf_field: TemporalSDFFieldConfig = field(default_factory=TemporalSDFFieldConfig)
    """Networks; --pipeline.model.sdf-field.residual-layers chooses the layers with residuals."""
    motion: SceneMotionConfig = SceneMotionConfig()
    """How the field learns that the scene moves: which of the six baselines this is."""
    num_samples: int = 24
    """Samples per training ray, placed in its occupied part (in the whole box without occupancy)."""
    num_eval_samples: int = 64
    """Samples per rendered ray, placed likewise."""
    occupancy: OccupancyScheduleConfig = field(default_factory=OccupancyScheduleConfig)
    """Skipping of empty space."""
    eikonal_fraction: float = 0.1
    """Share of the samples, chosen at random, at which the eikonal term is estimated."""
    box_margin: float = 0.01
    """Rays are cut by the scene box enlarged by this, scene units."""
    encoding_annealing_steps: int = 50000
    """Steps over which the frequencies of all encodings fade in; 0 starts with all of them."""
    training_background: Literal["black", "white", "random"] = "random"
    """Background that masked training images and renders are composited on; evaluation uses the data's own. Published
    runs train on black, which leaves dark surfaces transparent; a random colour for every ray does not."""
    loss_coefficients: dict[str, float] = to_immutable_dict(
        {
            "rgb": 1.0, "mask": 0.1, "eikonal": 0.1, "free_space": 1.0,
            "depth": 0.0, "sparsity": 0.0, "elastic": 0.0, "code": 0.0,
        }
    )  # fmt: skip
    """Weight of each loss; 0 switches a loss off. free_space keeps the surface out of space that the masks carved,
    where skipping leaves no samples to do so; it counts only with occupancy. elastic asks a warp to be locally rigid
    (Nerfies uses 0.001), code keeps the frames' codes short."""
    loss_start_steps: dict[str, int] = to_immutable_dict(
        {
            "rgb": 0, "mask": 0, "eikonal": 0, "free_space": 0,
            "depth": 0, "sparsity": 0, "elastic": 0, "code": 0,
        }
    )  # fmt: skip
    """Step from which each loss counts."""
    num_sparsity_points: int = 16
    """Random points per ray, uniform in the box, of the sparsity loss; the published runs use 128."""
    eval_weight_threshold: float = 1e-4
    """Rendering evaluates colour and normal only at samples with more weight than this."""
    eval_num_rays_per_chunk: int = 2048
    """Rays per forward pass when rendering."""


class ResFieldsModel(DynamicModel):
    """Volume-rendered temporal signed-distance field.

    Rays that cross no occupied cell are background and cost nothing. The others are grouped by time, so that each frame
    composes its weights once.
    """

    config: ResFieldsModelConfig

    def populate_modules(self) -> None:
        """Builds the field, the occupancy and the samplers.

        Raises:
            InputError: A loss was asked for that this method has no use for.
        """
        super().populate_modules()
        check_losses(self.config.loss_coefficients, self.config.motion, self.config.sdf_field.density)
        num_frames = len(self.frame_times)
        self.field = self.build_field()
        self.collider = BoxCollider(self.scene_aabb, self.config.box_margin)
        self.uniform_sampler = UniformSampler(self.config.num_samples)
        self.occupied_sampler = OccupiedSampler(self.config.num_samples)
        self.occupancy: TemporalOccupancyGrid | None = None
        self.occupancy_schedule: OccupancySchedule | None = None
        if self.config.occupancy.enabled:
            box = torch.stack([self.collider.box[0], self.collider.box[1]])
            self.occupancy = TemporalOccupancyGrid(box, num_frames, self.config.occupancy.resolution)
            self.occupancy_schedule = OccupancySchedule(self.config.occupancy, self.occupancy)
        self.step = 0

    def build_field(self) -> TemporalSDFField:
        """The field with the warp, hyper coordinates and codes of the configured kind of motion."""
        num_frames = len(self.frame_times)
        motion = build_scene_motion(self.config.motion, num_frames, self.config.sdf_field.num_time_frequencies)
        return self.config.sdf_field.setup(
            frame_times=self.frame_times, **motion._asdict(), default_time=self.config.default_time
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One group, as published: networks, coefficients and density width share a learning rate."""
        return {"fields": list(self.field.parameters())}

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the networks do not tell."""
        networks = self.config.sdf_field
        return super().signature() | {
            "residual_mode": networks.residual_mode,
            "residual_fuse": networks.residual_fuse,
            "residual_faithful": str(networks.residual_faithful),
            "motion": self.config.motion.kind,
            "density": networks.density,
        }

    def required_inputs(self) -> list[str]:
        """Masks for the mask loss, depth for the depth loss."""
        needed = {"mask": "fg_mask_filenames", "depth": "depth_filenames"}
        return [key for loss, key in needed.items() if self.config.loss_coefficients.get(loss, 0) > 0]

    def update_to_step(self, step: int) -> None:
        """Sets everything that follows from the step alone."""
        self.step = step
        annealing = self.config.encoding_annealing_steps
        self.field.alpha.fill_(1.0 if annealing == 0 else min(step / annealing, 1.0))

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Anneals the encodings and keeps the occupancy up to date."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        callbacks.append(TrainingCallback(before, self.update_to_step))
        if self.occupancy_schedule is not None:
            assert training_callback_attributes.pipeline is not None
            datamanager: Any = training_callback_attributes.pipeline.datamanager
            schedule = self.occupancy_schedule
            # A plain density has no bound within a cell, so it is carved by the masks alone.
            bounded = self.field if self.field.is_distance else None
            callbacks.append(TrainingCallback(before, lambda step: schedule.before_step(step, datamanager, bounded)))
        return callbacks

    def sample(self, ray_bundle: RayBundle, times: Tensor) -> tuple[RaySamples, Tensor]:
        """Samples of the rays that can hit something.

        Args:
            ray_bundle: Rays ``(R,)`` with nears and fars.
            times: Time of each ray ``(R,)``.

        Returns:
            Ray samples ``(K, S)`` of K kept rays, and their rows in the bundle, int64 ``(K,)``; in training at
            least one row, so that a batch always has a gradient.
        """
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        num_samples = self.config.num_samples if self.training else self.config.num_eval_samples
        coordinates = frame_coordinates(times, self.frame_times)
        occupied = occupied_segments(
            self.occupancy_schedule, self.occupancy_cache, ray_bundle, coordinates, training=self.training
        )
        if occupied is None:
            kept = (ray_bundle.fars > ray_bundle.nears)[:, 0].nonzero()[:, 0]
            if not len(kept) and self.training:
                kept = torch.zeros(1, dtype=torch.long, device=times.device)
            return self.uniform_sampler(ray_bundle[kept], num_samples=num_samples), kept
        kept = occupied.any(1).nonzero()[:, 0]
        if not len(kept) and self.training:
            # A batch without any sample would have no gradient.
            kept = torch.zeros(1, dtype=torch.long, device=times.device)
            occupied[0] = True
        if self.occupancy_cache is not None and not self.training:
            self.occupancy_cache.count(rays=len(times), samples=len(kept) * num_samples)
        return self.occupied_sampler(ray_bundle[kept], occupied=occupied[kept], num_samples=num_samples), kept

    def frame_box(self, time: float) -> Tensor:
        """The box ``(2, 3)`` that rays are cut by, scene units."""
        return self.collider.box

    def density_at(self, points: Tensor, time: float) -> Tensor:
        """Density per scene unit ``(N, 1)`` at points ``(N, 3)`` and a time in [0, 1]."""
        return self.field.density_at(points, time)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Renders rays ``(R,)``.

        Returns:
            In evaluation ``rgb`` (R, 3) on the data's background, ``accumulation`` (R, 1), ``depth`` (R, 1, expected
            ray distance, 0 where nothing is), ``normal`` (R, 3, scene axes, as long as the opacity) and ``normal_rgb``.
            In training ``foreground_rgb`` without background, ``accumulation``, ``depth`` not divided by the opacity
            (so the published depth loss has it) and what the other losses need.
        """
        times = self.ray_times(ray_bundle)[:, 0]
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            return self._render(ray_bundle, times)

    def _render(self, ray_bundle: RayBundle, times: Tensor) -> dict[str, Tensor]:
        ray_samples, kept = self.sample(ray_bundle, times)
        if not len(kept):
            channels = {"foreground_rgb": 3, "accumulation": 1, "depth": 1, "normal": 3}
            empty = {name: torch.zeros(len(times), count, device=times.device) for name, count in channels.items()}
            return self.finish_evaluation(empty)
        groups = group_rows(times[kept], points_per_row=ray_samples.shape[1])
        frames = FrameBatch.from_times(groups.keys, self.frame_times)
        rendered = self.render_groups(ray_samples, groups, frames)
        loss_inputs = rendered.pop("loss_inputs", {})
        outputs = {
            name: torch.zeros(len(times), value.shape[-1], device=value.device).index_copy(0, kept, value)
            for name, value in rendered.items()
        }
        if self.training:
            return {**outputs, **loss_inputs}
        return self.finish_evaluation(outputs)

    def finish_evaluation(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds the background, divides the depth by the opacity, pictures the normals.

        The colour comes first, as the viewer opens on it.
        """
        background = self.background_color.to(outputs["foreground_rgb"])
        opacity = outputs["accumulation"]
        rgb = outputs.pop("foreground_rgb") + (1 - opacity) * background
        normal_rgb = ((outputs["normal"] + opacity) / 2 + (1 - opacity) * background).clamp(0, 1)
        outputs["depth"] = outputs["depth"] / opacity.clamp(min=1e-6)
        return {"rgb": rgb, **outputs, "normal_rgb": normal_rgb}

    def render_groups(self, ray_samples: RaySamples, groups: RowGroups, frames: FrameBatch) -> dict[str, Any]:
        """Evaluates the field at samples ``(K, S)`` grouped by time and accumulates them to rays ``(K, C)``."""
        num_samples = ray_samples.shape[1]
        points = groups.split(ray_samples.frustums.get_positions()).flatten(1, 2)
        if self.training:
            return self._render_training(ray_samples, groups, frames, points)
        signed_distance, feature = self.field.geometry(points, frames)
        per_ray = groups.merge(signed_distance.view(*signed_distance.shape[:1], -1, num_samples, 1))
        weights = ray_samples.get_weights(self.field.density(per_ray))
        merged_feature = groups.merge(feature.view(len(groups.keys), -1, num_samples, feature.shape[-1]))
        seen = weights[..., 0] > self.config.eval_weight_threshold
        colors = torch.zeros(*weights.shape[:2], 3, device=weights.device)
        colors[seen] = self.field.color(merged_feature[seen])
        normals = self._normals_at(ray_samples, groups, seen)
        return accumulate(weights, colors, ray_samples) | {"normal": (weights * normals).sum(1)}

    def _normals_at(self, ray_samples: RaySamples, groups: RowGroups, seen: Tensor) -> Tensor:
        """Unit gradients of the distance at chosen samples, zero elsewhere, ``(K, S, 3)``."""
        normals = torch.zeros(*seen.shape, 3, device=seen.device)
        rows, columns = seen.nonzero(as_tuple=True)
        if not len(rows):
            return normals
        times = groups.merge(groups.keys[:, None].expand(-1, groups.capacity))
        point_groups = group_rows(times[rows])
        frames = FrameBatch.from_times(point_groups.keys, self.frame_times)
        points = point_groups.split(ray_samples.frustums.get_positions()[rows, columns])
        _, _, gradient = self.field.geometry_with_gradient(points.detach(), frames, create_graph=False)
        normals[rows, columns] = torch.nn.functional.normalize(point_groups.merge(gradient), dim=-1)
        return normals

    def _render_training(
        self, ray_samples: RaySamples, groups: RowGroups, frames: FrameBatch, points: Tensor
    ) -> dict[str, Any]:
        """One differentiable pass; the eikonal gradient rides on it, or takes its own pass over a part of it."""
        num_samples = ray_samples.shape[1]
        everywhere = self.config.eikonal_fraction >= 1
        wants_eikonal = self.loss_weight("eikonal") > 0
        gradient: Tensor | None = None
        loss_inputs: dict[str, Tensor] = {}
        if wants_eikonal and everywhere:
            signed_distance, feature, gradient = self.field.geometry_with_gradient(points, frames, create_graph=True)
        else:
            signed_distance, feature = self.field.geometry(points, frames)
            if wants_eikonal:
                chosen, is_free, counts = self.choose_regularisation_points(points, groups, frames)
                chosen_distance, _, chosen_gradient = self.field.geometry_with_gradient(
                    chosen, frames, create_graph=True
                )
                gradient = chosen_gradient[counts]
                loss_inputs |= {"chosen_signed_distance": chosen_distance, "is_free": is_free}
        if "is_free" not in loss_inputs and self.occupancy is not None and self.loss_weight("free_space") > 0:
            chosen, is_free, _ = self.choose_regularisation_points(points, groups, frames)
            loss_inputs |= {"chosen_signed_distance": self.field.geometry(chosen, frames)[0], "is_free": is_free}
        if self.loss_weight("elastic") > 0:
            where = choose_regularisation_points(points, groups, frames, self.config.eikonal_fraction, None)
            loss_inputs["warp_jacobian"] = self.field.warp_jacobian(where.points, frames)[where.counts]
        colors = self.field.color(feature)
        per_ray = groups.merge(signed_distance.view(len(groups.keys), -1, num_samples, 1))
        ray_colors = groups.merge(colors.view(len(groups.keys), -1, num_samples, 3))
        weights = ray_samples.get_weights(self.field.density(per_ray))
        loss_inputs["signed_distance"] = per_ray
        if gradient is not None:
            # Padded slots repeat a ray; it must not count twice.
            loss_inputs["gradient"] = (
                groups.merge(gradient.unflatten(1, (groups.capacity, -1))) if everywhere else gradient
            )
        if self.loss_weight("sparsity") > 0:
            loss_inputs["random_signed_distance"] = self._random_signed_distance(groups, frames)
        return {**accumulate(weights, ray_colors, ray_samples), "loss_inputs": loss_inputs}

    def choose_regularisation_points(
        self, points: Tensor, groups: RowGroups, frames: FrameBatch
    ) -> RegularisationPoints:
        """Where geometric regularisers are estimated, given the samples ``(G, P, 3)`` of a batch."""
        return choose_regularisation_points(points, groups, frames, self.config.eikonal_fraction, self.occupancy)

    def _random_signed_distance(self, groups: RowGroups, frames: FrameBatch) -> Tensor:
        """Signed distances at uniform points of the box, with the frames of the batch's rays."""
        count = groups.capacity * self.config.num_sparsity_points
        unit = torch.rand(len(groups.keys), count, 3, device=self.scene_aabb.device)
        points = self.scene_aabb[0] + unit * (self.scene_aabb[1] - self.scene_aabb[0])
        return self.field.geometry(points, frames)[0]

    def loss_weight(self, name: str) -> float:
        """Current weight of a loss: 0 before its start step, and for a loss without meaning for this density."""
        if self.config.sdf_field.density == "relu" and name in DISTANCE_LOSSES:
            return 0.0
        if self.step < self.config.loss_start_steps.get(name, 0):
            return 0.0
        return self.config.loss_coefficients.get(name, 0.0)

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; see :mod:`nf_plugins.models.surface_losses`."""
        image, fg_mask = batch["image"].to(self.device), batch.get("fg_mask")
        opacity = outputs["accumulation"]
        if fg_mask is None:
            fg_mask = torch.ones_like(opacity)
        rgb = outputs.get("rgb")
        # Evaluation divides the depth by the opacity, the loss does not.
        depth_scale = opacity if rgb is not None else torch.ones_like(opacity)
        if rgb is None:
            background = self.draw_background(len(opacity))
            rgb = outputs["foreground_rgb"] + (1 - opacity) * background
            image = image + (1 - fg_mask) * (background - self.background_color)
        target = SurfaceTarget(image, fg_mask, batch.get("depth"), "fg_mask" in batch)
        rendered = outputs | {"rgb": rgb}
        if "depth" in outputs:
            rendered["depth"] = outputs["depth"] * depth_scale
        terms = surface_loss_terms(rendered, target, None if self.field.codes is None else self.field.codes.weight)
        weights = {name: self.loss_weight(name) for name in terms}
        return {f"{name}_loss": weights[name] * term() for name, term in terms.items() if weights[name] > 0}

    def draw_background(self, num_rays: int) -> Tensor:
        """Training background of each ray ``(num_rays, 3)``."""
        if self.config.training_background == "random":
            return torch.rand(num_rays, 3, device=self.device)
        value = 0.0 if self.config.training_background == "black" else 1.0
        return torch.full((num_rays, 3), value, device=self.device)

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Foreground PSNR of the batch, density width, annealing and how much of the box is occupied."""
        if "rgb" in outputs:
            return {}
        fg_mask = batch.get("fg_mask", torch.ones_like(outputs["accumulation"]))
        target = batch["image"].to(self.device) - (1 - fg_mask) * self.background_color
        error = (fg_mask * (outputs["foreground_rgb"] - target) ** 2).sum() / (3 * fg_mask.sum()).clamp(min=1)
        metrics = {"psnr_fg": -10 * torch.log10(error.clamp(min=1e-10)), "alpha": self.field.alpha}
        if self.field.laplace_density is not None:
            metrics["beta"] = self.field.laplace_density.beta.detach()
        if self.occupancy is not None and self.step % 100 == 0:
            metrics["occupied_fraction"] = self.occupancy.occupied_fraction()
        return metrics

    def surface_at(self, time: float) -> TemporalSurface:
        """The surface and its colours at a time in [0, 1], for exporters."""
        level = RELU_DENSITY_THRESHOLD if self.config.sdf_field.density == "relu" else 0.0
        return TemporalSurface(
            self.field, self.frame_times, self.scene_aabb, time, occupancy=self.occupancy, level=level
        )


def accumulate(weights: Tensor, colors: Tensor, ray_samples: RaySamples) -> dict[str, Tensor]:
    """Sums samples ``(K, S, C)`` along rays: colour without background, opacity and ray distance ``(K, C)``."""
    distances = (ray_samples.frustums.starts + ray_samples.frustums.ends) / 2
    return {
        "foreground_rgb": (weights * colors).sum(1),
        "accumulation": weights.sum(1),
        "depth": (weights * distances).sum(1),
    }
