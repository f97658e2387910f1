"""What the methods on feature planes share: intervals from proposal densities, rendering, losses, schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor, nn

from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.field_components.plane_stack import PlaneStackEncoding
from nf_plugins.fields.plane_density_field import PlaneDensityField, PlaneDensityFieldConfig, world_scale
from nf_plugins.model_components.cached_rendering import render_cached
from nf_plugins.model_components.probed_occupancy import ProbedDensity
from nf_plugins.model_components.proposal_resampling import anneal_exponent
from nf_plugins.model_components.ray_levels import (
    LevelSampling,
    RayLevel,
    RaySpan,
    next_coordinates,
    proposal_levels,
    scatter_rows,
)
from nf_plugins.models.boxed_model import BoxedModel
from nf_plugins.models.im4d_losses import PlaneTarget, plane_loss_terms, plane_regularisers, weighted
from nf_plugins.models.im4d_options import check_counts, check_losses
from nf_plugins.models.occupancy_schedule import cut_to_occupied, training_schedule
from nf_plugins.models.plane_options import PlaneModelConfig


class FieldSamples(NamedTuple):
    """What a field says at points, apart from their colour."""

    density: Tensor
    """Per scene unit ``(N, 1)``."""
    hidden: Tensor | None
    """What colours are made of ``(N, W)``, where they need it."""


class PlaneModel(BoxedModel):
    """Base of the methods on feature planes.

    A subclass builds ``field`` and ``proposals`` in :meth:`build_fields` and says what is seen at points.

    Attributes:
        field: The density that is rendered; it has ``encoding``.
        proposals: Densities that say where to look, from coarse to fine.
        proposal_counts: Intervals of each.
        step: Of training.
    """

    config: PlaneModelConfig
    default_density_threshold: ClassVar[float | None] = math.exp(2)
    field: Any
    proposals: nn.ModuleList
    proposal_counts: tuple[int, ...]

    def populate_modules(self) -> None:
        """Builds the fields.

        Raises:
            InputError: A loss that does not exist, or an option out of range.
        """
        super().populate_modules()
        check_losses(self.config.loss_coefficients)
        check_counts({"num-samples": self.config.num_samples, "regulariser-interval": self.config.regulariser_interval})
        self.metres_per_unit = world_scale(self.metadata.get("world_from_scene"))
        self.build_fields()
        margin = self.config.box_margin * torch.tensor([[-1.0], [1.0]]).to(self.scene_aabb)
        schedule = training_schedule(self.config.occupancy, self.scene_aabb + margin, len(self.frame_times))
        self.occupancy_schedule = schedule
        self.occupancy = None if schedule is None else schedule.grid
        self.step = 0

    def build_fields(self) -> None:
        """Sets ``field``, ``proposals`` and ``proposal_counts``."""
        raise NotImplementedError

    def proposal_field(self, config: PlaneDensityFieldConfig) -> PlaneDensityField:
        """A proposal density over the scene's box."""
        return PlaneDensityField(config, self.scene_aabb, len(self.frame_times), self.metres_per_unit)

    def ray_context(self, ray_bundle: RayBundle) -> Any:
        """What colours need to know of rays, computed before anything else of a step."""
        return ray_bundle

    def sample_field(self, points: Tensor, times: Tensor) -> FieldSamples:
        """What the field says at points ``(N, 3)`` and times ``(N,)``."""
        raise NotImplementedError

    def sample_colors(self, points: Tensor, hidden: Tensor | None, ray_ids: Tensor, context: Any) -> Tensor:
        """Colours ``(N, 3)`` in [0, 1].

        Args:
            points: ``(N, 3)``.
            hidden: Of :meth:`sample_field`.
            ray_ids: Rows of the rays in the bundle ``(N,)``.
            context: Of :meth:`ray_context`.
        """
        raise NotImplementedError

    @property
    def encodings(self) -> list[PlaneStackEncoding]:
        """All planes, those of the field first."""
        return [self.field.encoding, *(proposal.encoding for proposal in self.proposal_fields)]

    @property
    def proposal_fields(self) -> list[PlaneDensityField]:
        """The proposals as what they are."""
        return [proposal for proposal in self.proposals if isinstance(proposal, PlaneDensityField)]

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the tensors do not tell."""
        return super().signature() | {"reduce": self.config.density.reduce}

    def required_inputs(self) -> list[str]:
        """Masks for the mask loss and for random backgrounds."""
        needs_masks = self.config.loss_coefficients.get("mask", 0) > 0 or self.config.random_background
        return ["fg_mask_filenames"] if needs_masks else []

    def ways_out(self) -> dict[str, str]:
        """The losses can be switched off."""
        return {
            "fg_mask_filenames": " Or train without masks: --pipeline.model.loss-coefficients.mask 0 "
            "--pipeline.model.random-background False."
        }

    def update_to_step(self, step: int) -> None:
        """Sets everything that follows from the step alone."""
        self.step = step

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Keeps the step and looks at the occupancy."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        if (schedule := self.occupancy_schedule) is not None:
            assert training_callback_attributes.pipeline is not None
            datamanager: Any = training_callback_attributes.pipeline.datamanager
            density = ProbedDensity(self.density_at, self.frame_times)
            callbacks.append(TrainingCallback(before, lambda step: schedule.before_step(step, datamanager, density)))
        return [*callbacks, TrainingCallback(before, self.update_to_step)]

    def density_at(self, points: Tensor, time: float) -> Tensor:
        """Density per scene unit ``(N, 1)`` at points ``(N, 3)`` and a time in [0, 1]."""
        return self.sample_field(points, torch.full_like(points[:, 0], time)).density

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays ``(R,)``.

        Returns:
            ``rgb`` (R, 3) on the background, ``accumulation`` (R, 1), ``depth`` (R, 1, expected ray distance, 0 where
            nothing is) and ``median_depth`` (R, 1). In training also ``level``, ``proposals``, ``background`` and
            ``regularisers``, which the losses need.
        """
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            context = self.ray_context(ray_bundle)
            near, far, hits = self.ray_bounds(ray_bundle)
            times = self.ray_times(ray_bundle)[:, 0]
            if self.occupancy_schedule is not None:
                coordinates = frame_coordinates(times, self.frame_times)
                near, far, occupied = cut_to_occupied(
                    self.occupancy_schedule, ray_bundle, (near, far), coordinates, self.training
                )
                hits = hits & occupied
            span = RaySpan(ray_bundle.origins, ray_bundle.directions, near, far, times)
            if self.training:
                return self._train(span, context)
            if self.occupancy_cache is not None:
                return self._render_cached(span, hits, context, ray_bundle.metadata.get("directions_norm"))
            return self._render(span, hits, context)

    def levels(self, span: RaySpan) -> tuple[RayLevel, list[RayLevel], FieldSamples]:
        """The intervals of rays that are rendered, those of the proposals, and the field in the former."""
        config = self.config
        exponent = anneal_exponent(self.step, config.proposal_annealing_steps) if self.training else 1.0
        sampling = LevelSampling(self.training, config.resample_half_bin, exponent)
        densities = [proposal.density for proposal in self.proposal_fields]
        proposals = proposal_levels(span, densities, self.proposal_counts, sampling)
        coordinates = next_coordinates(span, proposals, config.num_samples, sampling)
        edges = span.edges(coordinates)
        samples = self.sample_field(*span.midpoints(edges))
        return RayLevel.of(coordinates, edges, samples.density), proposals, samples

    def _train(self, span: RaySpan, context: Any) -> dict[str, Any]:
        level, proposals, samples = self.levels(span)
        points, _ = span.midpoints(level.edges)
        ray_ids = torch.arange(len(span.origins), device=points.device).repeat_interleave(self.config.num_samples)
        colors = self.sample_colors(points, samples.hidden, ray_ids, context).view(*level.weights.shape, 3)
        background = self.background_color.expand(len(span.origins), 3)
        if self.config.random_background:
            background = torch.rand_like(background)
        foreground = (level.weights[..., None] * colors).sum(1)
        return {
            "rgb": foreground + (1 - level.accumulation) * background,
            "accumulation": level.accumulation,
            "depth": level.depth / level.accumulation.detach().clamp(min=1e-6),
            "level": level,
            "proposals": proposals,
            "background": background,
            "regularisers": self.regularisers(),
        }

    def regularisers(self) -> dict[str, Tensor]:
        """The terms on planes, not yet weighted; 0 in the steps in which they do not count.

        They belong to the forward pass: distributed training looks for the parameters in use there.
        """
        return plane_regularisers(
            self.encodings[0], self.encodings[1:], self.config.loss_coefficients,
            active=self.step % self.config.regulariser_interval == 0,
            space_axis_only=self.config.average_variation,
        )  # fmt: skip

    def _render(self, span: RaySpan, hits: Tensor, context: Any) -> dict[str, Tensor]:
        rows, count = hits.nonzero()[:, 0], len(hits)
        values = {"foreground": 3, "accumulation": 1, "depth": 1, "median_depth": 1}
        sums = {name: torch.zeros(count, channels, device=hits.device) for name, channels in values.items()}
        if len(rows):
            level, colors = self._shade(span.rows(rows), rows, context)
            of_rows = {
                "foreground": (level.weights[..., None] * colors).sum(1),
                "accumulation": level.accumulation,
                "depth": level.depth / level.accumulation.clamp(min=1e-6),
                "median_depth": level.median_depth,
            }
            sums = {name: scatter_rows(value, rows, count) for name, value in of_rows.items()}
        # The colour comes first, as the viewer opens on it.
        foreground = sums.pop("foreground")
        return {"rgb": foreground + (1 - sums["accumulation"]) * self.background_color, **sums}

    def _render_cached(self, span: RaySpan, hits: Tensor, context: Any, norms: Tensor | None) -> dict[str, Tensor]:
        assert self.occupancy_cache is not None
        coordinates = frame_coordinates(span.times, self.frame_times)
        return render_cached(
            self.occupancy_cache, span, coordinates, hits, torch.ones_like(span.nears) if norms is None else norms,
            density=lambda points, times: self.sample_field(points, times).density,
            color=lambda points, times, rows: self.colors_at(points, times, rows, context),
            background=self.background_color, num_samples=self.config.cached_samples,
            weight_threshold=self.config.cached_weight_threshold, renormalise=self.config.cached_renormalise,
        )  # fmt: skip

    def colors_at(self, points: Tensor, times: Tensor, ray_ids: Tensor, context: Any) -> Tensor:
        """Colours ``(N, 3)`` of points whose density was asked elsewhere."""
        return self.sample_colors(points, self.sample_field(points, times).hidden, ray_ids, context)

    def _shade(self, span: RaySpan, rows: Tensor, context: Any) -> tuple[RayLevel, Tensor]:
        """Intervals and colours ``(K, n, 3)`` of rays that are rows of a bundle."""
        level, _, samples = self.levels(span)
        seen = (level.weights > self.config.color_weight_threshold).flatten().nonzero()[:, 0]
        colors = torch.zeros(level.weights.numel(), 3, device=level.weights.device)
        if len(seen):
            points, _ = span.midpoints(level.edges)
            hidden = None if samples.hidden is None else samples.hidden[seen]
            ray_ids = rows[seen // level.weights.shape[1]]
            colors[seen] = self.sample_colors(points[seen], hidden, ray_ids, context).to(colors)
        return level, colors.view(*level.weights.shape, 3)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; in evaluation that of the colour alone.

        Args:
            outputs: Of :meth:`get_outputs`.
            batch: ``image`` (R, 3) on the data's background, and ``fg_mask`` (R, 1) where there is one.
        """
        coefficients = self.config.loss_coefficients
        image, fg_mask = batch["image"].to(self.device), batch.get("fg_mask")
        fg_mask = None if fg_mask is None else fg_mask.to(self.device)
        if "level" not in outputs:
            return weighted({"rgb": (outputs["rgb"] - image).square().mean()}, coefficients)
        if fg_mask is not None:
            image = image + (1 - fg_mask) * (outputs["background"] - self.background_color)
        terms = plane_loss_terms(
            outputs["rgb"], outputs["level"], outputs["proposals"], PlaneTarget(image, fg_mask), coefficients,
            detach_envelope=self.config.detach_envelope,
        )  # fmt: skip
        return weighted({**terms, **outputs["regularisers"]}, coefficients)

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the batch."""
        image = batch["image"].to(self.device)
        if "background" in outputs and "fg_mask" in batch:
            outside = 1 - batch["fg_mask"].to(self.device)
            image = image + outside * (outputs["background"] - self.background_color)
        error = (outputs["rgb"] - image).square().mean()
        return {"psnr": -10 * torch.log10(error.clamp(min=1e-10))}


def parameters_of(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters of modules, in order."""
    return [parameter for module in modules for parameter in module.parameters()]
