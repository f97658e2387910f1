"""A moving surface learned from meshes: signed distances over space and time (ResFields, ICLR 2024, Sec. 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.data.point_bundle import holds_points
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows
from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.fields.coordinate_field import CoordinateField, CoordinateFieldConfig
from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.percentage_loss import absolute_percentage_loss
from nf_plugins.model_components.sphere_tracing import SphereTracingSettings, trace_rays
from nf_plugins.models.dynamic_model import DynamicModel, DynamicModelConfig

EXPORT_MARGIN = 0.025
"""Exporters cut surfaces this far inside their bounds; the sequence reaches to the very sides of the scene box."""


@dataclass
class TemporalSDFModelConfig(DynamicModelConfig):
    """A coordinate network from (t, x, y, z) to the signed distance; pictures show its normals."""

    _target: type = field(default_factory=lambda: TemporalSDFModel)
    """Target class to instantiate."""
    field: CoordinateFieldConfig = field(default_factory=CoordinateFieldConfig)
    """The network."""
    loss_offset: float = 0.01
    """Errors are divided by the true distance plus this, scene units."""
    max_tracing_steps: int = 128
    """Steps of sphere tracing per rendered ray, before the rest of it is searched in equal steps."""
    tracing_step_scale: float = 0.9
    """Share of the learned distance that such a step covers; lower it where thin parts are missing from pictures."""
    eval_num_rays_per_chunk: int = 65_536
    """Rays per forward pass when rendering; few of them need many steps, so large chunks are fast."""


class TemporalSDFModel(DynamicModel):
    """Learns from points with known distances; renders by sphere tracing.

    Attributes:
        sequence_times: Times of all frames ``(T_all,)``, held-out ones included: the network's own time counts those.
    """

    config: TemporalSDFModelConfig
    sequence_times: Tensor

    def populate_modules(self) -> None:
        """Builds the network."""
        super().populate_modules()
        self.collider = None
        self.register_buffer("sequence_times", self.metadata.get("sequence_times", self.frame_times).float().clone())
        self.field: CoordinateField = self.config.field.setup(in_dim=4, out_dim=1, num_frames=len(self.frame_times))

    def required_inputs(self) -> list[str]:
        """Meshes."""
        return ["mesh_sequence"]

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One group, as published."""
        return {"fields": list(self.field.parameters())}

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the network do not tell."""
        config = self.config.field
        return super().signature() | {
            name: str(getattr(config, name))
            for name in (
                "network",
                "omega",
                "residual_mode",
                "residual_factorisation",
                "residual_fuse",
                "residual_faithful",
            )
        }

    def signed_distance(self, points: Tensor, times: Tensor) -> Tensor:
        """Signed distances ``(G, P, 1)``, negative inside, of points ``(G, P, 3)`` at the times ``(G,)`` in [0, 1]."""
        coordinate = network_time(frame_coordinates(times, self.sequence_times), len(self.sequence_times))
        time_column = coordinate.to(points)[:, None, None].expand(*points.shape[:2], 1)
        frames = FrameBatch.from_times(times, self.frame_times)
        return self.field(torch.cat([time_column, points], dim=-1), frames)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """``signed_distance`` (N, 1) of a bundle of points; a picture of the surface for rays.

        Returns:
            For rays ``rgb`` (R, 3), the unit normals as colours on the data's background; ``accumulation`` (R, 1), 1 on
            the surface; ``depth`` (R, 1), the ray distance, 0 where nothing is; ``normal`` (R, 3) and ``normal_rgb``.
        """
        times = self.ray_times(ray_bundle)[:, 0]
        if holds_points(ray_bundle):
            return {"signed_distance": self.signed_distance_of_rows(ray_bundle.origins, times)}
        with torch.no_grad():
            return self._render(ray_bundle, times)

    def signed_distance_of_rows(self, points: Tensor, times: Tensor) -> Tensor:
        """Signed distances ``(N, 1)`` of points ``(N, 3)``, each at its own time ``(N,)``."""
        if not len(points):
            return points[:, :1]
        groups = group_rows(times)
        return groups.merge(self.signed_distance(groups.split(points), groups.keys))

    def _render(self, ray_bundle: RayBundle, times: Tensor) -> dict[str, Tensor]:
        origins, directions = ray_bundle.origins, ray_bundle.directions
        near, far = intersect_box(origins, directions, self.scene_aabb)
        hits = trace_rays(
            lambda points, rays: self.signed_distance_of_rows(points, times[rays])[:, 0],
            origins,
            directions,
            near=near[:, 0],
            far=far[:, 0],
            settings=SphereTracingSettings(self.config.max_tracing_steps, self.config.tracing_step_scale),
        )
        opacity = hits.hit[:, None].to(origins)
        normal = torch.zeros_like(origins)
        found = hits.hit.nonzero()[:, 0]
        if len(found):
            points = origins[found] + hits.distance[found, None] * directions[found]
            normal[found] = self.unit_normals(points, times[found])
        rgb = (normal + 1) / 2 * opacity + (1 - opacity) * self.background_color.to(opacity)
        return {
            "rgb": rgb,
            "accumulation": opacity,
            "depth": hits.distance[:, None] * opacity,
            "normal": normal,
            "normal_rgb": rgb,
        }

    def unit_normals(self, points: Tensor, times: Tensor) -> Tensor:
        """Directions ``(N, 3)`` in which the distance grows, at points ``(N, 3)`` and times ``(N,)``."""
        with torch.enable_grad():
            points = points.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.signed_distance_of_rows(points, times).sum(), points)
        return torch.nn.functional.normalize(gradient, dim=-1)

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The relative error of the distances."""
        truth = batch["signed_distance"].to(self.device)
        return {"mape_loss": absolute_percentage_loss(outputs["signed_distance"], truth, self.config.loss_offset)}

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean absolute error of the distances, on the surface and elsewhere, scene units."""
        if "signed_distance" not in outputs:
            return {}
        truth = batch["signed_distance"].to(self.device)
        error = (outputs["signed_distance"] - truth).abs()
        return {"surface_error": error[truth == 0].mean(), "distance_error": error[truth != 0].mean()}

    def surface_at(self, time: float) -> LearnedSurface:
        """The surface at a time in [0, 1], for exporters."""
        return LearnedSurface(self, time)


class LearnedSurface:
    """Signed distance at a fixed time, coloured by its normals.

    Args:
        model: The model.
        time: Time in [0, 1].

    Attributes:
        bounds: The scene box ``(2, 3)``, enlarged by what exporters cut off.
    """

    def __init__(self, model: TemporalSDFModel, time: float) -> None:
        self.model = model
        self.time = model.frame_times.new_tensor([time])
        margin = model.scene_aabb.new_tensor([[-EXPORT_MARGIN], [EXPORT_MARGIN]])
        self.bounds = model.scene_aabb + margin

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance ``(N, 1)``, negative inside, at scene points ``(N, 3)``."""
        return self.model.signed_distance(points[None].to(self.bounds.device), self.time)[0]

    def color(self, points: Tensor) -> Tensor:
        """Unit normals as colours ``(N, 3)`` in [0, 1] at scene points ``(N, 3)``."""
        points = points.to(self.bounds.device)
        return (self.model.unit_normals(points, self.time.expand(len(points))) + 1) / 2


def network_time(coordinates: Tensor, num_frames: int) -> Tensor:
    """The published time coordinate ``2 (f / (T + 2) - 1/2)`` of frame coordinates f in [0, T - 1]; same shape."""
    return 2 * (coordinates / (num_frames + 2) - 0.5)
