"""IDR: surfaces by differentiable sphere tracing (Yariv et al., NeurIPS 2020), with any encoding of the points.

The encodings of HashMod (hash grids, neural Fourier filter banks with and without style) differ in the field's config.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.config_utils import to_immutable_dict
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.bidirectional_tracing import (
    BidirectionalTracingSettings,
    TracedRays,
    trace_bidirectionally,
)
from nf_plugins.model_components.differentiable_intersection import differentiable_intersection
from nf_plugins.model_components.idr_losses import silhouette_loss, silhouette_sharpness, surface_color_loss
from nf_plugins.model_components.losses import eikonal_loss
from nf_plugins.models.surface_model import SurfaceModel, SurfaceModelConfig

COLLAPSE_STEPS = 200
"""So many steps without any ray on the surface are told of."""


@dataclass
class IDRModelConfig(SurfaceModelConfig):
    """A surface found by sphere tracing and learned from colours and silhouettes."""

    _target: type = field(default_factory=lambda: IDRModel)
    """Target class to instantiate."""
    tracing: BidirectionalTracingSettings = BidirectionalTracingSettings()
    """How rays are traced."""
    loss_coefficients: dict[str, float] = to_immutable_dict(
        {"rgb": 1.0, "eikonal": 0.1, "mask": 100.0, "curvature": 0.0}
    )
    """Weight of each loss; 0 switches it off. curvature asks for flat surfaces by the Laplacian of the distance
    (Neuralangelo uses 5e-4); it costs as many evaluations as the stencil has neighbours."""
    mask_alpha: float = 50.0
    """Sharpness of the silhouette loss at the start, per scene unit."""
    mask_alpha_factor: float = 2.0
    """What the sharpness is multiplied by at each milestone."""
    mask_alpha_milestones: tuple[int, ...] = (12_250, 24_500, 36_750, 49_000, 61_250)
    """Steps of these milestones: epochs 250, 500, 750, 1000 and 1250 of 49 images, as published."""
    num_eikonal_points: int | None = None
    """Random points in the cube for the eikonal term beside those of the rays; None takes half as many as rays."""


class IDRModel(SurfaceModel):
    """Traces rays to the surface, colours what they meet, and pulls the surface to the silhouettes."""

    config: IDRModelConfig

    def populate_modules(self) -> None:
        """Adds nothing that learns."""
        super().populate_modules()
        self._steps_without_surface = 0

    def required_inputs(self) -> list[str]:
        """Masks: without silhouettes nothing holds the surface."""
        return ["fg_mask_filenames"]

    def ways_out(self) -> dict[str, str]:
        """Volume rendering can do without masks."""
        return {"fg_mask_filenames": " Or train hashmod-neus with --pipeline.model.loss-coefficients.mask 0."}

    @property
    def mask_alpha(self) -> float:
        """Sharpness of the silhouette loss at this step."""
        config = self.config
        return silhouette_sharpness(
            self.step, config.mask_alpha, config.mask_alpha_milestones, config.mask_alpha_factor
        )

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Traces rays ``(R,)``.

        Returns:
            In evaluation ``rgb`` (R, 3) on the data's background, ``accumulation`` (R, 1; 1 where the ray hits),
            ``depth`` (R, 1; ray distance, 0 for misses), ``normal`` (R, 3; unit, scene axes) and ``normal_rgb``. In
            training also what the losses need; rays outside the mask have no colour there.

        Raises:
            InputError: Training rays that do not say whether they are in the mask.
        """
        if not self.training:
            with torch.no_grad():
                return self._render(ray_bundle)
        if "fg_mask" not in ray_bundle.metadata:
            raise InputError(
                "idr needs the mask of every training ray (ray_bundle.metadata has no 'fg_mask'): use its own "
                "datamanager, with --pipeline.datamanager.ray-metadata-keys fg_mask."
            )
        in_mask = ray_bundle.metadata["fg_mask"][:, 0] > 0.5
        return self._render_training(self.refined_rays(ray_bundle), in_mask)

    def trace(self, origins: Tensor, directions: Tensor, object_mask: Tensor | None = None) -> TracedRays:
        """Where rays ``(R, 3)`` meet the surface, without gradients; see ``trace_bidirectionally``."""
        with torch.no_grad(), self.field.cached_weights():
            return trace_bidirectionally(
                lambda points: self.field.signed_distance(points)[:, 0],
                origins.detach(),
                directions.detach(),
                radius=self.config.radius,
                settings=self.config.tracing,
                object_mask=object_mask,
            )

    def _render(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        origins, directions = ray_bundle.origins, ray_bundle.directions
        traced = self.trace(origins, directions)
        hit = traced.hit
        rgb, normal = torch.zeros_like(origins), torch.zeros_like(origins)
        if bool(hit.any()):
            points = origins[hit] + traced.distance[hit, None] * directions[hit]
            geometry = self.field.geometry_and_gradient(points)
            color = self.field.color(points, directions[hit], geometry.gradient, geometry.feature)
            rgb[hit] = color.to(rgb)
            normal[hit] = torch.nn.functional.normalize(geometry.gradient, dim=-1)
        opacity = hit[:, None].to(origins.dtype)
        return self.picture(opacity, rgb, traced.distance[:, None] * opacity, normal)

    def _render_training(self, ray_bundle: RayBundle, in_mask: Tensor) -> dict[str, Tensor]:
        origins, directions = ray_bundle.origins, ray_bundle.directions
        traced = self.trace(origins, directions, in_mask)
        on_surface = traced.hit & in_mask
        points = origins + traced.distance[:, None] * directions
        eikonal_points = torch.cat([self._random_points(len(points)), points.detach()])
        eikonal = self.field.geometry_and_gradient(eikonal_points)
        # One pass serves the eikonal term and the distances; these still depend on the cameras, by their gradient.
        at_rays = eikonal.signed_distance[-len(points) :]
        gradient = eikonal.gradient[-len(points) :].detach()
        signed_distance = at_rays + (gradient * (points - points.detach())).sum(-1, keepdim=True)
        rgb = torch.ones_like(points)
        if bool(on_surface.any()):
            surface_points = differentiable_intersection(
                origins[on_surface],
                directions[on_surface],
                traced.distance[on_surface],
                signed_distance[on_surface],
                gradient[on_surface],
            )
            surface = self.field.geometry_and_gradient(surface_points)
            colors = self.field.color(surface_points, directions[on_surface], surface.gradient, surface.feature)
            rgb = rgb.masked_scatter(on_surface[:, None], colors.to(rgb))
        outputs = {
            "rgb": rgb,
            "accumulation": traced.hit[:, None].to(rgb.dtype),
            "depth": traced.distance[:, None] * traced.hit[:, None],
            "signed_distance": signed_distance,
            "eikonal_gradient": eikonal.gradient,
            "on_surface": on_surface,
            "in_mask": in_mask,
        }
        if self.config.loss_coefficients.get("curvature", 0) > 0:
            outputs["laplacian"] = self.laplacian(eikonal_points, eikonal)
        self._tell_of_collapse(bool(on_surface.any()))
        return outputs

    def _random_points(self, num_rays: int) -> Tensor:
        """Uniform points in the cube around the sphere ``(K, 3)``."""
        count = self.config.num_eikonal_points
        count = num_rays // 2 if count is None else count
        return self.config.radius * (2 * torch.rand(count, 3, device=self.device) - 1)

    def _tell_of_collapse(self, has_surface: bool) -> None:
        self._steps_without_surface = 0 if has_surface else self._steps_without_surface + 1
        if self._steps_without_surface == COLLAPSE_STEPS:
            CONSOLE.print(
                f"[bold yellow]No ray within a mask has met the surface for {COLLAPSE_STEPS} steps: it is gone or lies "
                "elsewhere.[/] Check the masks and scale_mat (nf-check-data), raise "
                "--pipeline.model.loss-coefficients.mask, or lower the learning rate."
            )

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of a training batch; of an evaluation batch that of the colours, as only these are known."""
        weights = self.config.loss_coefficients
        image = batch["image"].to(self.device)
        if "on_surface" not in outputs:
            on_surface = (outputs["accumulation"][:, 0] > 0) & (batch["fg_mask"].to(self.device)[:, 0] > 0.5)
            return {"rgb_loss": weights.get("rgb", 0.0) * surface_color_loss(outputs["rgb"], image, on_surface)}
        on_surface = outputs["on_surface"]
        terms = {
            "rgb": lambda: surface_color_loss(outputs["rgb"], image, on_surface),
            "eikonal": lambda: eikonal_loss(outputs["eikonal_gradient"]),
            "mask": lambda: silhouette_loss(
                outputs["signed_distance"], outputs["in_mask"], on_surface, self.mask_alpha
            ),
            "curvature": lambda: outputs["laplacian"].abs().mean(),
        }
        losses = {f"{name}_loss": weights[name] * term() for name, term in terms.items() if weights.get(name, 0) > 0}
        return losses | self.camera_losses()

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR over the rays on the surface, agreement of hits and masks, sharpness, movement of the cameras."""
        if "on_surface" not in outputs:
            return {}
        on_surface, in_mask = outputs["on_surface"], outputs["in_mask"]
        hit = outputs["accumulation"][:, 0] > 0
        error = ((outputs["rgb"] - batch["image"].to(self.device))[on_surface] ** 2).mean()
        metrics = {
            "mask_iou": (hit & in_mask).sum() / (hit | in_mask).sum().clamp(min=1),
            "mask_alpha": torch.tensor(self.mask_alpha),
        }
        if bool(on_surface.any()):
            metrics["psnr_fg"] = -10 * torch.log10(error.clamp(min=1e-10))
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics
