"""What one step of NSFF computes: the frame itself, its neighbours along the flow, and a chain of two steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nf_plugins.fields.scene_flow_field import DynamicSamples, SceneFlowField, StaticSamples
from nf_plugins.model_components.blended_rendering import (
    BlendedRender,
    FieldRender,
    disocclusion_map,
    dynamicness_map,
    render_blended,
    render_field,
    sample_opacity,
)
from nf_plugins.model_components.loss_stages import LossStages
from nf_plugins.model_components.plane_samples import PlaneSamples
from nf_plugins.model_components.scene_flow_losses import chained_disocclusion


@dataclass(frozen=True)
class PassPlan:
    """Which frames a step looks at. It follows from step and frame alone, so a resumed run goes on as it was."""

    followed: tuple[int, ...]
    """Neighbours, -1 and 1, that the flow of the frame itself is followed to; costs no network evaluation."""
    queried: tuple[int, ...]
    """Those of them at which the dynamic network is asked, too."""
    chained: int | None
    """Direction of the chain of two steps, one of the queried; None without chain."""
    renders_chain: bool
    """Whether the dynamic network is asked at the end of the chain."""

    @property
    def query_weight(self) -> float:
        """What makes losses of queried neighbours as large, on average, as if all had been queried."""
        return len(self.followed) / max(len(self.queried), 1)

    @property
    def dynamic_evaluations(self) -> int:
        """Evaluations of the dynamic network per sample."""
        return 1 + len(self.queried) + self.renders_chain


def plan_pass(
    step: int,
    frame: int,
    num_frames: int,
    stages: LossStages,
    *,
    chains: bool = True,
    alternates: bool = False,
    leaves_sequence: bool = False,
) -> PassPlan:
    """The plan of a step.

    Args:
        step: Of training.
        frame: Index of the frame that the rays are of.
        num_frames: Frames N of the sequence.
        stages: When chains are rendered, and in which direction.
        chains: Whether chains may be rendered at all; their points are followed in any case.
        alternates: Query one neighbour a step instead of both.
        leaves_sequence: Whether frames before the first and after the last are looked at, as the published code does.
    """

    def exists(other: int) -> bool:
        return leaves_sequence or 0 <= other < num_frames

    turn = stages.chain_direction(step)
    followed = tuple(offset for offset in (-1, 1) if exists(frame + offset))
    queried = followed
    if alternates and len(followed) > 1:
        queried = (turn,)
    chained = turn if turn in queried and exists(frame + 2 * turn) else None
    return PassPlan(followed, queried, chained, chained is not None and chains and stages.renders_chain(step))


@dataclass
class Reference:
    """Both networks at a frame's own time."""

    samples: PlaneSamples
    dynamic: DynamicSamples
    static: StaticSamples
    dynamic_opacity: Tensor
    """Of the dynamic field alone ``(R, K)``."""
    static_opacity: Tensor
    """Of the static field alone ``(R, K)``."""
    dynamic_render: FieldRender
    blended: BlendedRender
    dynamicness: Tensor
    """``(R,)``, without gradient."""


@dataclass
class FlowStep:
    """A step of one frame along the flow: from the frame itself to a neighbour, or from there on."""

    direction: int
    """-1 or 1."""
    flow: Tensor
    """Displacement of the samples ``(R, K, 3)``, sample coordinates."""
    points: Tensor
    """Where the samples are then ``(R, K, 3)``, sample coordinates."""
    disocclusion: Tensor
    """Probability ``(R, K)`` that they are hidden then."""
    samples: DynamicSamples | None = None
    """The dynamic network at these points; None where it was not asked."""
    render: FieldRender | None = None
    """Its colours, with the intervals of the frame's own samples."""
    visibility: Tensor | None = None
    """Disocclusion map ``(R,)``, of all steps from the frame itself to here."""


@dataclass
class TrainingPass:
    """All that the losses of a step need."""

    reference: Reference
    frame: int
    """Index of the frame."""
    plan: PassPlan
    neighbours: dict[int, FlowStep] = field(default_factory=dict)
    """The first step, by offset."""
    chain: FlowStep | None = None
    """The second step, from the neighbour at ``plan.chained`` on in the same direction."""


def flow_towards(samples: DynamicSamples, direction: int) -> Tensor:
    """Scene flow to the frame before (-1) or after (1)."""
    return samples.flow_backward if direction < 0 else samples.flow_forward


def disocclusion_towards(samples: DynamicSamples, direction: int) -> Tensor:
    """Probability of being hidden in the frame before (-1) or after (1)."""
    return samples.disocclusion_backward if direction < 0 else samples.disocclusion_forward


def density_noise(like: Tensor, noise_std: float) -> Tensor | float:
    """One draw of the noise that is added to raw densities, shaped like them."""
    return noise_std * torch.randn_like(like) if noise_std > 0 else 0.0


def reference_pass(
    scene: SceneFlowField,
    samples: PlaneSamples,
    frame_coordinates: Tensor,
    *,
    noise_std: float = 0.0,
    additive: bool = False,
    static: StaticSamples | None = None,
) -> Reference:
    """Both networks at the samples' own time.

    Args:
        scene: The networks.
        samples: On R rays.
        frame_coordinates: Frame of each ray ``(R,)``.
        noise_std: Standard deviation of the noise on densities; one draw for both networks.
        additive: Add up the two densities instead of sharing by the blending weight.
        static: The static network at these samples, where it is known already.
    """
    dynamic = scene.dynamic(samples.points, samples.view_directions, frame_coordinates)
    if static is None:
        static = scene.static(samples.points, samples.view_directions)
    noise = density_noise(dynamic.density, noise_std)
    dynamic_opacity = sample_opacity(dynamic.density, samples.lengths, noise)
    static_opacity = sample_opacity(static.density, samples.lengths, noise)
    blend_weight = None if additive else static.blend_weight
    blended = render_blended(
        dynamic.rgb,
        dynamic_opacity,
        static.rgb,
        static_opacity,
        blend_weight=blend_weight,
        ray_parameters=samples.ray_parameters,
    )
    alone = render_field(dynamic.rgb, dynamic_opacity, samples.ray_parameters)
    return Reference(
        samples, dynamic, static, dynamic_opacity, static_opacity, alone, blended, dynamicness_map(blended.weights)
    )


def training_pass(
    scene: SceneFlowField,
    samples: PlaneSamples,
    frame: int,
    plan: PassPlan,
    *,
    noise_std: float = 0.0,
    additive: bool = False,
) -> TrainingPass:
    """Everything that a step renders; both neighbours go through the network as one batch.

    Args:
        scene: The networks.
        samples: On R rays of one frame.
        frame: Its index.
        plan: Which other frames to look at.
        noise_std: Standard deviation of the noise on densities.
        additive: See :func:`reference_pass`.
    """
    coordinates = torch.full_like(samples.ray_parameters[:, 0], float(frame))
    reference = reference_pass(scene, samples, coordinates, noise_std=noise_std, additive=additive)
    result = TrainingPass(reference, frame, plan)
    for offset in plan.followed:
        flow = flow_towards(reference.dynamic, offset)
        result.neighbours[offset] = FlowStep(
            offset, flow, samples.points + flow, disocclusion_towards(reference.dynamic, offset)
        )
    if plan.queried:
        _query_neighbours(scene, result, coordinates, noise_std)
    if plan.chained is not None:
        result.chain = _follow_chain(scene, result, plan.chained, coordinates, noise_std)
    return result


def _query_neighbours(scene: SceneFlowField, result: TrainingPass, coordinates: Tensor, noise_std: float) -> None:
    offsets, samples = result.plan.queried, result.reference.samples
    queried = scene.dynamic(
        torch.cat([result.neighbours[offset].points for offset in offsets]),
        samples.view_directions.repeat(len(offsets), 1),
        torch.cat([coordinates + offset for offset in offsets]),
    )
    for index, offset in enumerate(offsets):
        rows = slice(index * len(coordinates), (index + 1) * len(coordinates))
        neighbour = result.neighbours[offset]
        neighbour.samples = DynamicSamples._make(value[rows] for value in queried)
        neighbour.render = _render_moved(neighbour.samples, samples, noise_std)
        neighbour.visibility = disocclusion_map(neighbour.render.weights, neighbour.disocclusion)


def _follow_chain(
    scene: SceneFlowField, result: TrainingPass, direction: int, coordinates: Tensor, noise_std: float
) -> FlowStep:
    neighbour, samples = result.neighbours[direction], result.reference.samples
    assert neighbour.samples is not None
    flow = flow_towards(neighbour.samples, direction)
    second_disocclusion = disocclusion_towards(neighbour.samples, direction)
    chain = FlowStep(direction, flow, neighbour.points + flow, second_disocclusion)
    if result.plan.renders_chain:
        chain.samples = scene.dynamic(chain.points, samples.view_directions, coordinates + 2 * direction)
        chain.render = _render_moved(chain.samples, samples, noise_std)
        either = chained_disocclusion(neighbour.disocclusion, second_disocclusion)
        chain.visibility = disocclusion_map(chain.render.weights, either)
    return chain


def _render_moved(moved: DynamicSamples, samples: PlaneSamples, noise_std: float) -> FieldRender:
    """The dynamic field at moved points, with the parameters and intervals of the points they were moved from."""
    opacity = sample_opacity(moved.density, samples.lengths, density_noise(moved.density, noise_std))
    return render_field(moved.rgb, opacity, samples.ray_parameters)
