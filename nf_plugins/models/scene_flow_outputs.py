"""What scene flow fields show of rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nf_plugins.model_components.blended_rendering import render_field
from nf_plugins.model_components.flow_colors import flow_colors
from nf_plugins.model_components.sample_space import SampleSpace
from nf_plugins.models.scene_flow_pass import Reference

LEAST_WEIGHT = 1e-6


@dataclass(frozen=True)
class SceneFlowPainter:
    """Makes images of what both networks say along rays."""

    space: SampleSpace
    """Where samples lie."""
    num_frames: int
    """Frames of the sequence; the last one has no flow to a next."""
    additive: bool
    """Whether densities add up instead of being shared."""
    flow_scale: float
    """Motion per frame with full colour, as a share of the image's width."""

    def outputs(self, reference: Reference, origins: Tensor, frame_coordinates: Tensor) -> dict[str, Tensor]:
        """Outputs of R rays.

        Args:
            reference: Both networks along the rays.
            origins: Of the rays in the world ``(R, 3)``.
            frame_coordinates: Frame of each ray ``(R,)``.

        Returns:
            ``rgb`` (R, 3), both fields together, the first as the viewer opens on it; ``rgb_dynamic`` and
            ``rgb_static``, each field alone; ``depth`` (R, 1), the distance along the ray, scene units;
            ``accumulation`` (R, 1); ``blend_weight`` (R, 1), the share that the dynamic field is given where the ray
            ends; ``dynamicness`` (R, 1), the share that it has in the colour; ``scene_flow_rgb`` (R, 3), the motion of
            what the ray sees to the next frame, on a colour wheel, as the space's ``seen_motion`` describes.
        """
        samples, weights = reference.samples, reference.blended.weights
        both = weights.dynamic + weights.static
        weight_sum = both.sum(-1)
        shares = weights.dynamic if self.additive else both * reference.static.blend_weight
        blend_weight = shares.sum(-1) / weight_sum.clamp(min=LEAST_WEIGHT)
        static = render_field(reference.static.rgb, reference.static_opacity, samples.ray_parameters)
        depth = self.depth(origins, samples.view_directions, reference.blended.ray_parameter, weight_sum)
        # Where both fields are opaque at one place both count, so that weights may add up to more than 1.
        return {
            "rgb": reference.blended.rgb.clamp(max=1),
            "rgb_dynamic": reference.dynamic_render.rgb,
            "rgb_static": static.rgb,
            "depth": depth[..., None],
            "accumulation": self._stopped_light(reference)[..., None],
            "blend_weight": blend_weight[..., None],
            "dynamicness": reference.dynamicness[..., None],
            "scene_flow_rgb": self._flow_colors(reference, origins, frame_coordinates),
        }

    def depth(self, origins: Tensor, directions: Tensor, ray_parameter: Tensor, weight_sum: Tensor) -> Tensor:
        """Distance to where rays are expected to end, of the average parameter, which is affine in disparity.

        Args:
            origins: World ``(*batch, 3)``.
            directions: World ``(*batch, 3)``.
            ray_parameter: Sum of weights times ray parameters ``(*batch)``.
            weight_sum: Sum of weights ``(*batch)``.

        Returns:
            Scene units ``(*batch)``.
        """
        return self.space.distances(origins, directions, ray_parameter / weight_sum.clamp(min=LEAST_WEIGHT))

    def _stopped_light(self, reference: Reference) -> Tensor:
        """Share of the light that does not reach infinity ``(R,)``."""
        dynamic, static = reference.dynamic_opacity, reference.static_opacity
        if not self.additive:
            weight = reference.static.blend_weight
            dynamic, static = weight * dynamic, (1 - weight) * static
        return 1 - ((1 - dynamic) * (1 - static)).prod(-1)

    def _flow_colors(self, reference: Reference, origins: Tensor, frame_coordinates: Tensor) -> Tensor:
        last = (frame_coordinates > self.num_frames - 1.5)[:, None, None]
        flow = torch.where(last, -reference.dynamic.flow_backward, reference.dynamic.flow_forward)
        shares = self.space.seen_motion(reference.blended.weights.dynamic, reference.samples, flow, origins)
        return flow_colors(shares, self.flow_scale)
