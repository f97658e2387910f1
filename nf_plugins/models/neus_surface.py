"""NeuS on the same fields: surfaces by volume rendering (Wang et al., NeurIPS 2021), with any encoding of the points.

Sampling and the learned sharpness are nerfstudio's. Rays are rendered within the sphere that holds the object; what
lies beyond is the data's background colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.configs.config_utils import to_immutable_dict
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.fields.sdf_field import LearnedVariance
from nerfstudio.model_components.ray_samplers import NeuSSampler
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.fields.surface_field import SurfaceGeometry
from nf_plugins.model_components.losses import eikonal_loss, foreground_l1_loss, mask_cross_entropy_loss
from nf_plugins.model_components.neus_alpha import annealed_slope, neus_alpha
from nf_plugins.model_components.occupied_space import occupied_range
from nf_plugins.model_components.sphere_intersection import intersect_sphere
from nf_plugins.model_components.temporal_occupancy import TemporalOccupancyGrid
from nf_plugins.models.occupancy_schedule import OccupancySchedule, TrainingOccupancyConfig, occupied_segments
from nf_plugins.models.surface_model import SurfaceModel, SurfaceModelConfig

POINTS_PER_CHUNK = 65536
"""Of what is asked to update the occupancy."""
POINTS_WITHOUT_RAYS = 64
"""Random points for the eikonal term of a batch whose rays all miss the sphere, so that it has a gradient."""


@dataclass
class NeuSSurfaceModelConfig(SurfaceModelConfig):
    """A surface rendered as the volume around it, learned from colours, with or without silhouettes."""

    _target: type = field(default_factory=lambda: NeuSSurfaceModel)
    """Target class to instantiate."""
    num_samples: int = 64
    """Uniform samples on a ray, within the sphere."""
    num_importance_samples: int = 64
    """Samples added where the surface is."""
    num_upsample_steps: int = 4
    """Rounds in which they are added, each twice as sharp as the one before."""
    upsampling_sharpness: float = 64.0
    """Sharpness of the first round, per scene unit."""
    initial_variance: float = 0.3
    """Start of the learned sharpness: its logarithm by ten, thus exp(3) = 20 per scene unit."""
    cosine_annealing_steps: int = 0
    """Steps over which rays that leave the surface lose their opacity, which helps at the start of training without
    masks: published are 0 with masks and 50000 without."""
    loss_coefficients: dict[str, float] = to_immutable_dict({"rgb": 1.0, "eikonal": 0.1, "mask": 0.1, "curvature": 0.0})
    """Weight of each loss; 0 switches it off. With mask 0 no masks are needed and the colours of all pixels count.
    curvature asks for flat surfaces by the Laplacian of the distance (Neuralangelo uses 5e-4)."""
    occupancy: TrainingOccupancyConfig = TrainingOccupancyConfig()
    """Skipping of empty space: rays are cut to the part between the first and the last occupied cell."""
    eval_num_rays_per_chunk: int = 1024
    """Rays per forward pass when rendering."""


class NeuSSurfaceModel(SurfaceModel):
    """Composites colours along rays with opacities that follow from the signed distance."""

    config: NeuSSurfaceModelConfig

    def populate_modules(self) -> None:
        """Adds the sampler and the learned sharpness."""
        super().populate_modules()
        config = self.config
        self.variance = LearnedVariance(init_val=config.initial_variance)
        self.sampler = NeuSSampler(
            num_samples=config.num_samples,
            num_samples_importance=config.num_importance_samples,
            num_upsample_steps=config.num_upsample_steps,
            base_variance=config.upsampling_sharpness,
        )
        self.occupancy: TemporalOccupancyGrid | None = None
        self.occupancy_schedule: OccupancySchedule | None = None
        if config.occupancy.enabled:
            self.occupancy = TemporalOccupancyGrid(self.frame_box(0.0), 1, config.occupancy.resolution)
            self.occupancy_schedule = OccupancySchedule(config.occupancy, self.occupancy)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Adds the occupancy's."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        if self.occupancy_schedule is not None:
            assert training_callback_attributes.pipeline is not None
            datamanager: Any = training_callback_attributes.pipeline.datamanager
            schedule = self.occupancy_schedule
            callbacks.append(
                TrainingCallback(
                    [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                    lambda step: schedule.before_step(step, datamanager, self),
                )
            )
        return callbacks

    def frame_box(self, time: float) -> Tensor:
        """The box ``(2, 3)`` around the sphere that rays are rendered in, scene units."""
        return self.config.radius * self.scene_aabb.new_tensor([[-1.0] * 3, [1.0] * 3])

    def density_at(self, points: Tensor, time: float = 0.0) -> Tensor:
        """Density per scene unit ``(N, 1)`` at points ``(N, 3)``, the same at all times.

        With the learned sharpness ``k`` and the distance f it is ``k S(-k f)``: what a ray straight inwards meets (the
        paper's Eq. 10). All others meet less.
        """
        sharpness = self.variance.get_variance()
        return sharpness * torch.sigmoid(-sharpness * self.field.signed_distance(points))

    @property
    def spreads(self) -> bool:
        """Whether neighbours of an occupied cell are to be occupied: a network's distance is not quite one."""
        return True

    @torch.no_grad()
    def density_bound(self, centers: Tensor, frame_id: int, radius: float) -> Tensor:
        """Greatest density ``(N,)`` within a radius of points ``(N, 3)``, as far as the field is a distance."""
        sharpness = self.variance.get_variance()
        distances = [self.field.signed_distance(chunk)[:, 0] for chunk in centers.split(POINTS_PER_CHUNK)]
        return sharpness * torch.sigmoid(-sharpness * (torch.cat(distances) - radius))

    def required_inputs(self) -> list[str]:
        """Masks, unless their loss is off."""
        return ["fg_mask_filenames"] if self.needs_masks else []

    def network_parameters(self) -> list[Parameter]:
        """The networks and the sharpness."""
        return [*super().network_parameters(), *self.variance.parameters()]

    @property
    def needs_masks(self) -> bool:
        """Whether silhouettes take part in training."""
        return self.config.loss_coefficients.get("mask", 0) > 0

    @property
    def cosine_ratio(self) -> float:
        """How far rays that leave the surface have lost their opacity at this step; 1 is the method as it is."""
        steps = self.config.cosine_annealing_steps
        return min(self.step / steps, 1.0) if steps > 0 else 1.0

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Renders rays ``(R,)``; those that miss the sphere are background and cost nothing.

        Returns:
            ``rgb`` (R, 3) on the data's background, ``accumulation`` (R, 1), ``depth`` (R, 1; expected ray distance
            over opacity, 0 without any), ``normal`` (R, 3; unit times opacity, scene axes) and ``normal_rgb``. In
            training also ``eikonal_gradient`` and, where the curvature counts, ``laplacian``, of all samples.
        """
        ray_bundle = self.refined_rays(ray_bundle)
        with torch.no_grad():
            near, far, hits = intersect_sphere(ray_bundle.origins, ray_bundle.directions, self.config.radius)
            ray_bundle.nears, ray_bundle.fars = near[:, None], far[:, None]
            hits = self._cut_to_occupied(ray_bundle, hits)
        if not bool(hits.any()):
            return self._background(ray_bundle)
        inside = ray_bundle if bool(hits.all()) else ray_bundle[hits]
        samples = self._sample(inside)
        middles = ((samples.frustums.starts + samples.frustums.ends) / 2)[..., 0]
        points = (inside.origins[:, None] + middles[..., None] * inside.directions[:, None]).view(-1, 3)
        directions = inside.directions[:, None].expand(*middles.shape, 3).reshape(-1, 3)
        geometry = self.field.geometry_and_gradient(points)
        colors = self.field.color(points, directions, geometry.gradient, geometry.feature)
        weights = self._weights(samples, geometry, directions)
        found = composite(weights, colors.view(*middles.shape, 3), middles, geometry.gradient.view(*middles.shape, 3))
        rows = torch.where(hits)[0]
        outputs = self.picture(*(part.new_zeros(len(hits), part.shape[1]).index_copy(0, rows, part) for part in found))
        return outputs | self._for_losses(points, geometry)

    def _cut_to_occupied(self, ray_bundle: RayBundle, hits: Tensor) -> Tensor:
        """Cuts rays ``(R,)`` to the part between their first and last occupied cell; which of them have any."""
        still = torch.zeros_like(ray_bundle.origins[:, 0])
        occupied = occupied_segments(
            self.occupancy_schedule, self.occupancy_cache, ray_bundle, still, training=self.training
        )
        if occupied is None:
            return hits
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        ray_bundle.nears, ray_bundle.fars = occupied_range(occupied, ray_bundle.nears, ray_bundle.fars)
        hits = hits & occupied.any(1)
        if self.occupancy_cache is not None and not self.training:
            per_ray = self.config.num_samples + self.config.num_importance_samples
            self.occupancy_cache.count(rays=len(hits), samples=int(hits.sum()) * per_ray)
        return hits

    def _sample(self, ray_bundle: RayBundle) -> RaySamples:
        """Intervals on rays ``(K,)`` that cross the sphere, ``(K, S)``, dense at the surface."""

        def signed_distance(samples: RaySamples) -> Tensor:
            points = samples.frustums.get_start_positions()
            return self.field.signed_distance(points.reshape(-1, 3)).view(*points.shape[:-1], 1)

        with torch.no_grad(), self.field.cached_weights():
            return self.sampler(ray_bundle, sdf_fn=signed_distance)

    def _weights(self, samples: RaySamples, geometry: SurfaceGeometry, directions: Tensor) -> Tensor:
        """What each interval adds to its ray ``(K, S)``."""
        cosine = (directions * geometry.gradient).sum(-1, keepdim=True)
        slope = annealed_slope(cosine, self.cosine_ratio)
        lengths = samples.frustums.ends - samples.frustums.starts
        alphas = neus_alpha(geometry.signed_distance, slope, lengths.view(-1, 1), self.variance.get_variance())
        return samples.get_weights_and_transmittance_from_alphas(alphas.view(lengths.shape), weights_only=True)[..., 0]

    def _background(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """The outputs of rays ``(R,)`` none of which meets the sphere."""
        nothing = torch.zeros_like(ray_bundle.origins)
        outputs = self.picture(nothing[:, :1], nothing, nothing[:, :1], nothing)
        if not self.training:
            return outputs
        points = self.config.radius * (2 * torch.rand(POINTS_WITHOUT_RAYS, 3, device=self.device) - 1)
        return outputs | self._for_losses(points, self.field.geometry_and_gradient(points))

    def _for_losses(self, points: Tensor, geometry: SurfaceGeometry) -> dict[str, Tensor]:
        """What the regularisers need of points ``(N, 3)``; nothing in evaluation."""
        if not self.training:
            return {}
        needed = {"eikonal_gradient": geometry.gradient}
        if self.config.loss_coefficients.get("curvature", 0) > 0:
            needed["laplacian"] = self.laplacian(points, geometry)
        return needed

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; those of the distances in training alone."""
        image = batch["image"].to(self.device)
        in_mask = batch["fg_mask"].to(self.device) if self.needs_masks else torch.ones_like(image[:, :1])
        terms: dict[str, Callable[[], Tensor]] = {
            # Published is the sum over the channels.
            "rgb": lambda: 3 * foreground_l1_loss(outputs["rgb"], image, (in_mask > 0.5).to(image.dtype)),
            "mask": lambda: mask_cross_entropy_loss(outputs["accumulation"], in_mask),
        }
        if "eikonal_gradient" in outputs:
            terms["eikonal"] = lambda: eikonal_loss(outputs["eikonal_gradient"])
        if "laplacian" in outputs:
            terms["curvature"] = lambda: outputs["laplacian"].abs().mean()
        weights = self.config.loss_coefficients
        losses = {f"{name}_loss": weights[name] * term() for name, term in terms.items() if weights.get(name, 0) > 0}
        return losses | self.camera_losses()

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of all rays and of those in the mask, agreement with the masks, sharpness, movement of the cameras."""
        squared = (outputs["rgb"] - batch["image"].to(self.device)) ** 2
        metrics = {
            "psnr": -10 * torch.log10(squared.mean().clamp(min=1e-10)),
            "sharpness": self.variance.get_variance()[0],
        }
        if "fg_mask" in batch:
            in_mask, opaque = batch["fg_mask"].to(self.device)[:, 0] > 0.5, outputs["accumulation"][:, 0] > 0.5
            metrics["mask_iou"] = (opaque & in_mask).sum() / (opaque | in_mask).sum().clamp(min=1)
            if bool(in_mask.any()):
                metrics["psnr_fg"] = -10 * torch.log10(squared[in_mask].mean().clamp(min=1e-10))
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics


def composite(weights: Tensor, colors: Tensor, distances: Tensor, gradients: Tensor) -> list[Tensor]:
    """What rays see, given the weights ``(K, S)`` of their intervals.

    Args:
        weights: ``(K, S)``, of a ray at most 1 in all.
        colors: ``(K, S, 3)``.
        distances: Of the intervals' middles along the ray ``(K, S)``, scene units.
        gradients: Of the signed distance ``(K, S, 3)``.

    Returns:
        Opacity ``(K, 1)``, colour times opacity ``(K, 3)``, expected distance over opacity ``(K, 1)`` and unit normal
        times opacity ``(K, 3)``; all 0 where no interval has a weight.
    """
    opacity = weights.sum(-1, keepdim=True)
    rgb = (weights[..., None] * colors).sum(-2)
    depth = (weights * distances).sum(-1, keepdim=True) / opacity.clamp(min=1e-6)
    normal = torch.nn.functional.normalize((weights[..., None] * gradients).sum(-2), dim=-1)
    return [opacity, rgb, depth, normal * opacity]
