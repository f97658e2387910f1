"""What the options of NSFF mean together, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.errors import InputError
from nf_plugins.model_components.contracted_space import ContractedSpace
from nf_plugins.model_components.loss_stages import LossStages
from nf_plugins.model_components.ndc import NDCFrame
from nf_plugins.model_components.sample_space import SampleSpace
from nf_plugins.model_components.scene_flow_losses import SparsityVariant
from nf_plugins.models.required_inputs import require_inputs

if TYPE_CHECKING:
    from nf_plugins.models.nsff import NSFFModelConfig

LOSSES = {
    "combined": 1.0, "dynamic": 1.0, "warped": 1.0, "chained": 1.0, "cycle": 1.0, "disocclusion": 0.1,
    "sparsity": 0.01, "spatial": 0.1, "temporal": 0.1, "depth": 0.04, "flow": 0.02, "entropy": 1e-3,
}  # fmt: skip
"""The losses and their published weights; that of sparsity belongs to what the loss measures by default."""
PRIOR_INPUTS = {"depth": "disparity_filenames", "flow": "flow_forward_filenames"}
"""What the data must have for a loss."""


def sparsity_variant(config: NSFFModelConfig) -> SparsityVariant:
    """What the sparsity loss measures."""
    if config.flow_sparsity != "auto":
        return config.flow_sparsity
    if config.loss_variant == "paper":
        return "all_samples"
    return "summed_axes" if config.reference_quirks else "expected"


def space_of(metadata: dict[str, Any], method: str) -> SampleSpace:
    """Where samples lie.

    Args:
        metadata: Of the dataparser; with ``space`` "contracted" there has to be ``near_distance``, else ``ndc``, and in
            both ``frame_camera_to_worlds`` and ``frame_intrinsics``.
        method: What to call the method.

    Raises:
        InputError: One of them is missing.
    """
    contracted = metadata.get("space") == "contracted"
    needed = ["near_distance" if contracted else "ndc", "frame_camera_to_worlds", "frame_intrinsics"]
    require_inputs(method, metadata, needed)
    if not contracted:
        return NDCFrame(**metadata["ndc"])
    focal, _, centre, _ = metadata["frame_intrinsics"][0].tolist()
    return ContractedSpace(near=float(metadata["near_distance"]), focal=focal / (2 * centre))


def check_options(config: NSFFModelConfig, space: str | None) -> None:
    """Refuses what makes no model.

    Args:
        config: The options.
        space: That of the data.

    Raises:
        InputError: A loss that does not exist, a number out of range, or what the data's space does not have.
    """
    if space == "contracted" and config.reference_quirks:
        raise InputError(
            "--pipeline.model.reference-quirks True keeps slips of code that knows normalised device coordinates "
            "alone, but the data have --space contracted: set it to False, which makes it another method than the "
            "published one, or use --space ndc on a video that faces one way."
        )
    if config.field.static_only and config.blend_mode == "additive":
        raise InputError(
            "--pipeline.model.field.static-only leaves the dynamic network out by its blending weight, which "
            "--pipeline.model.blend-mode additive does not use: leave one of them out."
        )
    unknown = sorted(set(config.loss_coefficients) - set(LOSSES))
    if unknown:
        raise InputError(f"loss-coefficients has {', '.join(unknown)}, expected some of {', '.join(LOSSES)}.")
    for option, value, least in (
        ("num-samples", config.num_samples, 2),
        ("steps-per-decay", config.steps_per_decay, 1),
        ("decay-iteration", config.decay_iteration, 1),
        ("eval-num-rays-per-chunk", config.eval_num_rays_per_chunk, 1),
        ("splat-planes-per-chunk", 1 if config.splat_planes_per_chunk is None else config.splat_planes_per_chunk, 1),
        ("density-noise-std", config.density_noise_std, 0),
        *((f"loss-coefficients.{name}", weight, 0) for name, weight in config.loss_coefficients.items()),
    ):
        # Written so that what is not a number is refused too.
        if not value >= least:
            raise InputError(f"--pipeline.model.{option} is {value}, expected at least {least}.")
    if not config.scene_flow_scale > 0:
        raise InputError(f"--pipeline.model.scene-flow-scale is {config.scene_flow_scale}, expected more than 0.")


def warn_of_missing_stages(trainer: Any, config: NSFFModelConfig, stages: LossStages, num_frames: int) -> None:
    """Says so when a run ends before its last stage, as one with many frames may: a stage grows with their number.

    Args:
        trainer: Whose config has ``max_num_iterations``; None says nothing.
        config: The options.
        stages: What follows from them.
        num_frames: Frames of the video.
    """
    steps = getattr(getattr(trainer, "config", None), "max_num_iterations", None)
    if steps is None or config.field.static_only:
        return
    if steps <= stages.length:
        what = f"within the first stage of {stages.length}"
    elif config.render_chains and not stages.reaches_chains(steps):
        what = f"before chains of two frames are rendered (stages of {stages.length} steps)"
    else:
        return
    CONSOLE.print(
        f"[yellow]Training ends after {steps} steps, {what} with {num_frames} frames: raise --max-num-iterations to "
        f"{3 * stages.length}, or lower --pipeline.model.steps-per-decay.",
        soft_wrap=True,
    )
