"""Space-time view synthesis from a monocular video (Li, Niklaus, Snavely, Wang, *Neural Scene Flow Fields*, CVPR 2021).

A field of what moves and a field of what stands are blended along rays, in normalised device coordinates or, where
cameras look around, in contracted space. What moves also knows where it was and where it will be a frame away, so that
neighbouring frames supervise each other, and frames between them can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.config_utils import to_immutable_dict
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.fields.scene_flow_field import SceneFlowField, SceneFlowFieldConfig
from nf_plugins.model_components.loss_stages import LossStages, LossVariant
from nf_plugins.models.between_frames import BetweenFrames
from nf_plugins.models.dynamic_model import DynamicModel, DynamicModelConfig
from nf_plugins.models.nsff_options import (
    LOSSES,
    PRIOR_INPUTS,
    check_options,
    space_of,
    sparsity_variant,
    warn_of_missing_stages,
)
from nf_plugins.models.projected_flow import optical_flow_image
from nf_plugins.models.scene_flow_outputs import SceneFlowPainter
from nf_plugins.models.scene_flow_pass import (
    PassPlan,
    Reference,
    TrainingPass,
    plan_pass,
    reference_pass,
    training_pass,
)
from nf_plugins.models.scene_flow_terms import PRIORS, LossGeometry, SceneFlowTarget, SceneFlowTerms


@dataclass
class NSFFModelConfig(DynamicModelConfig):
    """Neural scene flow fields; the defaults are the improved published code with its evident slips mended."""

    _target: type = field(default_factory=lambda: NSFFModel)
    """Target class to instantiate."""
    field: SceneFlowFieldConfig = field(default_factory=SceneFlowFieldConfig)
    """The dynamic and the static network."""
    num_samples: int = 128
    """Samples per ray, the planes of renders between frames; the authors advise 256 and more for large images."""
    density_noise_std: float = 1.0
    """Standard deviation of the noise on densities while training."""
    blend_mode: Literal["weight", "additive"] = "weight"
    """Share opacities by the static network's blending weight, as published, or add the densities of both networks."""
    loss_variant: LossVariant = "main"
    """Losses of the improved published code (main), or of the one that the paper's numbers were made with (paper),
    which has no entropy."""
    flow_sparsity: Literal["auto", "expected", "summed_axes", "all_samples"] = "auto"
    """What the sparsity loss measures: a ray's expected flow, its samples' weighted flow summed over x, y and z (the
    published slip, 60 to 100 times smaller), or all samples alike. auto is expected, with reference-quirks summed_axes,
    with loss-variant paper all_samples."""
    loss_coefficients: dict[str, float] = to_immutable_dict(LOSSES)
    """Weight of each loss; 0 switches a loss off. Those of depth and flow fall to a tenth with each stage."""
    decay_iteration: int = 25
    """Length of a stage in units of steps-per-decay, if there are not more frames than that; never above 250."""
    steps_per_decay: int = 1000
    """What one unit is; less shortens all stages."""
    render_chains: bool = True
    """Whether, in the third stage, frames two steps away along the flow are rendered too."""
    alternate_neighbours: bool = False
    """Ask the dynamic network at one neighbouring frame a step, in turns, with twice the weight, instead of at both."""
    reference_quirks: bool = False
    """Keeps what the published code does by mistake: times before the first and after the last frame, expected points
    that are not divided by the opacity, unbounded depths, flow-sparsity summed_axes. Not with contracted space."""
    between_frames: Literal["splat", "network"] = "splat"
    """How images between two frames are made: from the planes of both, moved along the flow, or by asking the network
    for a time that it was not trained at."""
    splat_planes_per_chunk: int | None = None
    """Planes that are moved at once, which bounds memory; None for what suits the device."""
    scene_flow_scale: float = 0.02
    """Motion per frame, as a share of the image's width, that has full colour in scene_flow_rgb."""
    eval_num_rays_per_chunk: int = 2048
    """Rays per forward pass when rendering."""
    enable_collider: bool = False
    """Rays reach from where sampling begins to infinity."""


class NSFFModel(DynamicModel):
    """Two radiance fields, one of them with scene flow.

    A training batch holds rays of one frame. What a step does follows from its number and the frame alone.
    """

    config: NSFFModelConfig
    frame_camera_to_worlds: Tensor
    frame_intrinsics: Tensor

    def populate_modules(self) -> None:
        """Builds the networks.

        Raises:
            InputError: The data has neither normalised device coordinates nor contracted space, or no camera per frame;
                a loss that does not exist, or options out of range.
        """
        super().populate_modules()
        self.space = space_of(self.metadata, type(self).__name__)
        check_options(self.config, self.metadata.get("space"))
        for key in ("frame_camera_to_worlds", "frame_intrinsics"):
            self.register_buffer(key, self.metadata[key].float(), persistent=False)
        if self.metadata.get("background_color") is None:
            # There is nothing behind the far plane; rays that nothing stops stay black.
            self.background_color.zero_()
        self.num_frames = len(self.frame_times)
        self.field: SceneFlowField = self.config.field.setup(num_frames=self.num_frames)
        self.stages = LossStages.of(
            self.config.decay_iteration, self.num_frames, self.config.loss_variant, self.config.steps_per_decay
        )
        self.painter = SceneFlowPainter(self.space, self.num_frames, self.additive, self.config.scene_flow_scale)
        self.between = BetweenFrames(
            self.field,
            self.painter,
            num_samples=self.config.num_samples,
            rays_per_chunk=self.config.eval_num_rays_per_chunk,
            planes_per_chunk=self.config.splat_planes_per_chunk,
        )
        self.step = 0

    @property
    def additive(self) -> bool:
        """Whether densities add up instead of being shared."""
        return self.config.blend_mode == "additive"

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One group, as published."""
        return {"fields": list(self.field.parameters())}

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the networks do not tell."""
        residual = ("residual_mode", "residual_factorisation", "residual_fuse")
        shapeless = {"blend_mode": self.config.blend_mode, "space": self.metadata.get("space", "ndc")} | {
            name: getattr(self.config.field, name) for name in residual
        }
        return super().signature() | shapeless

    def required_inputs(self) -> list[str]:
        """Disparity and optical flow where their losses count."""
        if self.config.field.static_only:
            return []
        return [key for loss, key in PRIOR_INPUTS.items() if self.config.loss_coefficients.get(loss, 0) > 0]

    def ways_out(self) -> dict[str, str]:
        """The losses can be switched off."""
        return {
            key: f" Or train without it: --pipeline.model.loss-coefficients.{loss} 0."
            for loss, key in PRIOR_INPUTS.items()
        }

    def update_to_step(self, step: int) -> None:
        """Sets everything that follows from the step alone."""
        self.step = step

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Keeps the step, and says how long moving pixels are to be drawn on top."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        datamanager: Any = getattr(training_callback_attributes.pipeline, "datamanager", None)
        if hasattr(datamanager, "set_hard_mining_steps"):
            datamanager.set_hard_mining_steps(0 if self.config.field.static_only else self.stages.length)
        trainer = getattr(training_callback_attributes, "trainer", None)
        warn_of_missing_stages(trainer, self.config, self.stages, self.num_frames)
        return [*callbacks, TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self.update_to_step)]

    def train(self, mode: bool = True) -> NSFFModel:
        """Also forgets key times before training goes on."""
        if mode and hasattr(self, "between"):
            self.between.clear()
        return super().train(mode)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays ``(R,)``.

        Returns:
            In evaluation what :class:`~nf_plugins.models.scene_flow_outputs.SceneFlowPainter` gives; rays may be of any
            times. In training ``rgb`` (R, 3) and ``rendered``, what the losses need.
        """
        times = self.ray_times(ray_bundle)[:, 0]
        coordinates = frame_coordinates(times, self.frame_times)
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            if self.training:
                rendered = self.training_pass(ray_bundle, self._only_frame(coordinates))
                return {"rgb": rendered.reference.blended.rgb, "rendered": rendered}
            reference = self.reference_at(ray_bundle.origins, ray_bundle.directions, coordinates)
            return self.painter.outputs(reference, ray_bundle.origins, coordinates)

    def reference_at(self, origins: Tensor, directions: Tensor, frames: Tensor) -> Reference:
        """Both networks along world rays ``(R, 3)`` at frames ``(R,)``, fractional between them."""
        samples = self.space.place_samples(origins, directions, self.config.num_samples, jitter=False)
        return reference_pass(self.field, samples, frames, additive=self.additive)

    def training_pass(self, ray_bundle: RayBundle, frame: int) -> TrainingPass:
        """Everything that this step renders of rays ``(R,)`` of a frame."""
        config = self.config
        plan = plan_pass(
            self.step, frame, self.num_frames, self.stages, chains=config.render_chains,
            alternates=config.alternate_neighbours, leaves_sequence=config.reference_quirks,
        )  # fmt: skip
        if config.field.static_only:
            plan = PassPlan(followed=(), queried=(), chained=None, renders_chain=False)
        samples = self.space.place_samples(ray_bundle.origins, ray_bundle.directions, config.num_samples, jitter=True)
        return training_pass(
            self.field, samples, frame, plan, noise_std=config.density_noise_std, additive=self.additive
        )

    def _only_frame(self, coordinates: Tensor) -> int:
        frame = float(coordinates[0].round())
        if bool(((coordinates - frame).abs() > 1e-3).any()):
            raise InputError(
                "A training batch holds rays of several frames, or of none, and depth and flow belong to one: use the "
                "datamanager of nsff, which draws one frame a step."
            )
        return int(frame)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """An image, also between two frames.

        Args:
            camera: One camera with a time.
            obb_box: Without effect: rays reach to infinity.

        Returns:
            ``(H, W, C)``; see :meth:`get_outputs`. Between frames rgb, accumulation and depth are splatted, the other
            outputs are those of the nearer key time.
        """
        if self.training or self.config.between_frames == "network" or camera.times is None:
            return super().get_outputs_for_camera(camera, obb_box)
        coordinate = float(frame_coordinates(camera.times.to(self.frame_times), self.frame_times).flatten()[0])
        outputs = self.between.image(camera.to(self.device), coordinate)
        if outputs is None:
            return super().get_outputs_for_camera(camera, obb_box)
        return {name: value.to(camera.device) for name, value in outputs.items()}

    @torch.no_grad()
    def optical_flow(self, camera: Cameras, direction: int) -> Tensor:
        """What the scene flow looks like to the camera of the video.

        Args:
            camera: The training camera of a frame.
            direction: 1 for the flow to the next frame, -1 to the previous one.

        Returns:
            ``(H, W, 2)``, to the right and downwards, pixels of the camera without its distortion.
        """
        assert camera.times is not None
        frame = int(frame_coordinates(camera.times.to(self.frame_times), self.frame_times).flatten()[0].round())
        return optical_flow_image(
            self.reference_at, self.space, camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True),
            frame=frame, direction=direction, camera_to_worlds=self.frame_camera_to_worlds,
            intrinsics=self.frame_intrinsics[frame], rays_per_chunk=self.config.eval_num_rays_per_chunk,
        )  # fmt: skip

    def loss_weight(self, name: str) -> float:
        """Weight of a loss at the current step."""
        if self.config.field.static_only and name != "combined":
            return 0.0
        factor = self.stages.prior_factor(self.step) if name in PRIORS else 1.0
        if name == "entropy" and (self.additive or self.config.loss_variant == "paper"):
            return 0.0
        return factor * self.config.loss_coefficients.get(name, 0.0)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; in evaluation the colour's alone.

        Args:
            outputs: Of :meth:`get_outputs`.
            batch: ``image`` (R, 3), ``indices`` (R, 3), and where there are any ``disparity`` (R, 1), ``hard_mined``
                (R, 1), ``optical_flow_forward`` and ``optical_flow_backward`` (R, 2), with ``_valid`` (R, 1) of each.
        """
        image = batch["image"].to(self.device)
        if "rendered" not in outputs:
            return {"combined_loss": self.loss_weight("combined") * (outputs["rgb"] - image).square().mean()}
        terms = self.loss_terms(outputs["rendered"], batch).by_name()
        weighted = {name: self.loss_weight(name) for name in terms}
        values = {name: terms[name]() for name, weight in weighted.items() if weight > 0}
        return {f"{name}_loss": weighted[name] * value for name, value in values.items() if value is not None}

    def loss_terms(self, rendered: TrainingPass, batch: dict[str, Tensor]) -> SceneFlowTerms:
        """The losses of a step, not yet weighted."""
        config, quirks = self.config, self.config.reference_quirks
        on_device = {key: value.to(self.device) for key, value in batch.items() if isinstance(value, Tensor)}
        mined = on_device.get("hard_mined")
        geometry = LossGeometry(
            self.space, self.frame_camera_to_worlds, self.frame_intrinsics, limits_depth=not quirks,
            normalised=not quirks,
        )  # fmt: skip
        return SceneFlowTerms(
            rendered, SceneFlowTarget.of(on_device), geometry, config.loss_variant, sparsity_variant(config),
            masked=self.stages.masks_by_dynamicness(self.step),
            num_uniform=None if mined is None else int((~mined.bool()).sum()),
        )  # fmt: skip

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the batch and, in training, how much of it is dynamic and what the step cost."""
        error = (outputs["rgb"] - batch["image"].to(self.device)).square().mean()
        metrics = {"psnr": -10 * torch.log10(error.clamp(min=1e-10))}
        if "rendered" in outputs:
            rendered: TrainingPass = outputs["rendered"]
            metrics["dynamicness"] = rendered.reference.dynamicness.mean()
            samples = rendered.reference.samples.ray_parameters.numel()
            dynamic = 0 if self.config.field.static_only else rendered.plan.dynamic_evaluations
            metrics["field_evaluations"] = error.new_tensor(float(samples * (1 + dynamic)))
        return metrics
