"""The losses of NSFF by name, from what a step rendered and what the data says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nf_plugins.model_components import scene_flow_losses as losses
from nf_plugins.model_components.blended_rendering import expected_pixel
from nf_plugins.model_components.loss_stages import LossVariant
from nf_plugins.model_components.sample_space import SampleSpace
from nf_plugins.models.scene_flow_pass import FlowStep, TrainingPass, flow_towards

PRIORS = ("depth", "flow")
"""Losses whose weights decay."""
FLOW_KEYS = {-1: "optical_flow_backward", 1: "optical_flow_forward"}
"""Batch keys of the optical flow to the frame before and after."""


@dataclass(frozen=True)
class SceneFlowTarget:
    """What the data says of R rays of one frame."""

    image: Tensor
    """Colour ``(R, 3)``."""
    pixels: Tensor
    """Column and row of the rays ``(R, 2)``, pixel centres at half-integers."""
    disparity: Tensor | None = None
    """Inverse depth of unknown scale and shift ``(R,)``."""
    optical_flow: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By offset, -1 and 1: flow ``(R, 2)`` in pixels and where it is valid ``(R,)``."""
    disparity_valid: Tensor | None = None
    """Which rays have a disparity, bool ``(R,)``; None means all."""

    @staticmethod
    def of(batch: Mapping[str, Tensor]) -> SceneFlowTarget:
        """The target of a batch with ``image`` and ``indices``; disparity and flow where there are any."""
        disparity = batch.get("disparity")
        optical_flow = {
            offset: (batch[key], batch[f"{key}_valid"][:, 0]) for offset, key in FLOW_KEYS.items() if key in batch
        }
        pixels = batch["pinhole_pixels"] if "pinhole_pixels" in batch else batch["indices"][:, [2, 1]] + 0.5
        valid = batch.get("disparity_valid")
        return SceneFlowTarget(
            batch["image"],
            pixels,
            None if disparity is None else disparity[:, 0],
            optical_flow,
            None if valid is None else valid[:, 0] > 0.5,
        )


@dataclass(frozen=True)
class LossGeometry:
    """How sample coordinates, the world and the images of the training frames belong together."""

    space: SampleSpace
    """The sample coordinates."""
    camera_to_worlds: Tensor
    """Pose of each frame's training camera ``(N, 3, 4)``."""
    intrinsics: Tensor
    """fx, fy, cx, cy of it ``(N, 4)``, pixels."""
    limits_depth: bool
    """Whether points are brought to where they can be seen before they are taken to the world."""
    normalised: bool
    """Whether expected points are divided by the opacity."""

    def world(self, points: Tensor) -> Tensor:
        """World points of sample coordinates ``(*batch, 3)``, near enough that their distances mean something."""
        return self.space.world(points, "distances" if self.limits_depth else "unlimited")

    def pixel(self, weights: Tensor, points: Tensor, frame: int) -> Tensor:
        """Where a frame's camera sees the expected point ``(R, 2)``; a frame beyond the ends has the nearest one's.

        Points reach so far that the limit moves no pixel: at that of :meth:`world` what is farther away would seem to
        move with the camera. Infinite where the camera cannot see the point.
        """
        index = min(max(frame, 0), len(self.camera_to_worlds) - 1)
        return expected_pixel(
            weights,
            points,
            self.space,
            self.camera_to_worlds[index],
            self.intrinsics[index],
            normalised=self.normalised,
            reach="pixels" if self.limits_depth else "unlimited",
        )


@dataclass(frozen=True)
class SceneFlowTerms:
    """The losses of one step, each computed when asked for.

    A loss that nothing of this step contributes to is None: a neighbour that does not exist, a chain that is not
    rendered, a prior without data.
    """

    rendered: TrainingPass
    target: SceneFlowTarget
    geometry: LossGeometry
    variant: LossVariant
    sparsity: losses.SparsityVariant
    masked: bool
    """Whether the dynamic field counts only where it gives the blended colour."""
    num_uniform: int | None
    """Rays, the first ones, that were drawn uniformly; None means all."""

    def by_name(self) -> dict[str, Callable[[], Tensor | None]]:
        """The losses, without their weights."""
        return {
            "combined": self.combined,
            "dynamic": self.dynamic,
            "warped": self.warped,
            "chained": self.chained,
            "cycle": self.cycle,
            "disocclusion": self.disocclusion,
            "sparsity": self.flow_sparsity,
            "spatial": self.spatial,
            "temporal": self.temporal,
            "depth": self.depth,
            "flow": self.flow,
            "entropy": self.entropy,
        }

    @property
    def dynamicness(self) -> Tensor | None:
        """The mask of the dynamic field's colours, where there is one."""
        return self.rendered.reference.dynamicness if self.masked else None

    @property
    def full_chain(self) -> FlowStep | None:
        """The chain of two steps where the paper's code uses it in further losses."""
        return self.rendered.chain if self.variant == "paper" and self.rendered.plan.renders_chain else None

    @cached_property
    def points(self) -> Tensor:
        """World points ``(R, K, 3)`` of the samples."""
        return self.geometry.world(self.rendered.reference.samples.points)

    @cached_property
    def moved_points(self) -> dict[int, Tensor]:
        """World points ``(R, K, 3)`` of the samples at the neighbouring frames, by offset."""
        return {offset: self.geometry.world(other.points) for offset, other in self.rendered.neighbours.items()}

    def combined(self) -> Tensor:
        """Colour of both fields together, on the uniformly drawn rays."""
        return losses.combined_photometric_loss(
            self.rendered.reference.blended.rgb, self.target.image, self.num_uniform
        )

    def dynamic(self) -> Tensor:
        """Colour of the dynamic field alone."""
        predicted = self.rendered.reference.dynamic_render.rgb
        return losses.dynamic_photometric_loss(predicted, self.target.image, self.dynamicness)

    def warped(self) -> Tensor | None:
        """Colours of the neighbouring frames along the flow."""
        parts = [
            losses.warped_photometric_loss(
                neighbour.render.rgb, self.target.image, neighbour.visibility, self.dynamicness
            )
            for neighbour in self.rendered.neighbours.values()
            if neighbour.render is not None and neighbour.visibility is not None
        ]
        return self._of_queried(parts)

    def chained(self) -> Tensor | None:
        """Colours two frames away along the flow."""
        chain = self.rendered.chain
        if chain is None or chain.render is None or chain.visibility is None:
            return None
        mask = chain.visibility if self.variant == "paper" else self.rendered.reference.dynamicness
        return losses.chained_photometric_loss(chain.render.rgb, self.target.image, mask)

    def cycle(self) -> Tensor | None:
        """Moving there and back leads where it started."""
        parts = [
            losses.cycle_loss(neighbour.flow, flow_towards(neighbour.samples, -offset), neighbour.disocclusion)
            for offset, neighbour in self.rendered.neighbours.items()
            if neighbour.samples is not None
        ]
        total, chain = self._of_queried(parts), self.full_chain
        if chain is not None and chain.samples is not None and total is not None:
            returning = flow_towards(chain.samples, -chain.direction)
            total = total + losses.cycle_loss(chain.flow, returning, chain.disocclusion)
        return total

    def disocclusion(self) -> Tensor | None:
        """Disocclusion has a price."""
        parts = [losses.disocclusion_loss(neighbour.disocclusion) for neighbour in self.rendered.neighbours.values()]
        if self.full_chain is not None:
            parts.append(losses.disocclusion_loss(self.full_chain.disocclusion))
        return _sum(parts)

    def flow_sparsity(self) -> Tensor | None:
        """Little motion."""
        weights = self.rendered.reference.dynamic_render.weights
        flows = [neighbour.flow for neighbour in self.rendered.neighbours.values()]
        if self.full_chain is not None:
            flows.append(self.full_chain.flow)
        return _sum([losses.flow_sparsity_loss(flow, weights, self.sparsity) for flow in flows])

    def spatial(self) -> Tensor | None:
        """Neighbouring samples of a ray move alike."""
        start, moved = self.points, self.moved_points
        parts = [losses.spatial_smoothness_loss(start, points, self.variant) for points in moved.values()]
        chain = self.full_chain
        if chain is not None:
            end = self.geometry.world(chain.points)
            parts.append(losses.spatial_smoothness_loss(moved[chain.direction], end, self.variant))
        return _sum(parts)

    def temporal(self) -> Tensor | None:
        """Velocities change slowly: around the frame itself, and along the chain."""
        start, moved = self.points, self.moved_points
        parts = []
        if -1 in moved and 1 in moved:
            parts.append(losses.centre_smoothness_loss(moved[-1], start, moved[1]))
        chain = self.rendered.chain
        if chain is not None:
            end = self.geometry.world(chain.points)
            parts.append(losses.temporal_smoothness_loss(start, moved[chain.direction], end))
        return _sum(parts)

    def depth(self) -> Tensor | None:
        """The dynamic field's depth is the given one up to scale and shift."""
        if self.target.disparity is None:
            return None
        reference = self.rendered.reference
        render, directions = reference.dynamic_render, reference.samples.view_directions
        pose = self.geometry.camera_to_worlds[self.rendered.frame]
        predicted = self.geometry.space.axial_parameter(render.ray_parameter, render.weights.sum(-1), directions, pose)
        return losses.depth_prior_loss(predicted, self.target.disparity, self.target.disparity_valid)

    def flow(self) -> Tensor | None:
        """The scene flow, seen by the neighbouring cameras, is the given optical flow."""
        reference, parts = self.rendered.reference, []
        weights = reference.dynamic_render.weights
        # Matrix products in half precision would cost pixels.
        with torch.autocast(weights.device.type, enabled=False):
            pixels = self.target.pixels
            if self.variant == "paper":
                pixels = self.geometry.pixel(weights, reference.samples.points, self.rendered.frame)
            for offset, neighbour in self.rendered.neighbours.items():
                if offset not in self.target.optical_flow:
                    continue
                flow, valid = self.target.optical_flow[offset]
                moved = self.geometry.pixel(weights, neighbour.points, self.rendered.frame + offset)
                seen = ~(moved.isinf() | pixels.isinf()).any(-1)
                target = torch.where(seen[:, None], pixels, 0.0)
                moved = torch.where(seen[:, None], moved, target)
                parts.append(losses.flow_prior_loss(moved, target, flow, valid * seen))
        return _sum(parts)

    def entropy(self) -> Tensor:
        """A sample belongs to one of the fields."""
        return losses.blend_entropy_loss(self.rendered.reference.static.blend_weight)

    def _of_queried(self, parts: list[Tensor]) -> Tensor | None:
        """The sum over queried neighbours, as large as over all."""
        total = _sum(parts)
        return None if total is None else self.rendered.plan.query_weight * total


def _sum(parts: list[Tensor]) -> Tensor | None:
    return torch.stack(parts).sum() if parts else None
