"""Neural Scene Flow Fields: space-time view synthesis from a monocular video (Li et al., CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.nsff import NSFFDataParserConfig
from method_configs.trainers import method_trainer
from nf_plugins.data.monocular_datamanager import MonocularDataManagerConfig
from nf_plugins.data.one_frame_sampler import OneFramePixelSamplerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import ExponentialSchedulerConfig
from nf_plugins.fields.scene_flow_field import SceneFlowFieldConfig
from nf_plugins.model_components.loss_stages import effective_decay
from nf_plugins.model_components.scene_flow_losses import SparsityVariant
from nf_plugins.models.nsff import NSFFModelConfig
from nf_plugins.models.nsff_options import sparsity_variant

PUBLISHED_STEPS = 360_000
"""Of the published model; its training has no end of its own."""
PUBLISHED_RAYS = 1024
PAPER_STEPS = 500_000
PAPER_DECAY_STEPS = 250_000
PAPER_SPARSITY = 0.01
"""Weight of the flow-sparsity loss over all samples."""
TINY_STEPS = 1500


@dataclass(frozen=True)
class ScenePreset:
    """What the published configuration of a scene sets."""

    frames: tuple[int, int]
    """First frame, and the one to stop before."""
    decay_iteration: int = 25
    """Thousands of steps of a stage, if there are not more frames."""
    depth: float = 0.04
    """Weight of the depth loss."""
    flow: float = 0.02
    """Weight of the flow loss."""
    summed_sparsity: float = 0.1
    """Weight of the flow-sparsity loss as the published code measures it (summed_axes)."""
    height: int = 288
    """Rows of the images as they were prepared; no option."""
    decay_steps: int = 300_000
    """Steps in which the learning rate falls to a tenth."""

    @property
    def steps(self) -> int:
        """Training steps: those of the published model, but no less than three stages."""
        first, end = self.frames
        return max(PUBLISHED_STEPS, 3 * 1000 * effective_decay(self.decay_iteration, end - first))

    @property
    def expected_sparsity(self) -> float:
        """Weight of the flow-sparsity loss as it is measured by default: a tenth of the published one.

        What it measures is 60 to 100 times as large, so that it pulls about as hard as that of the paper, and 6 to 10
        times as hard as that of the published code.
        """
        return self.summed_sparsity / 10

    def sparsity(self, variant: SparsityVariant) -> float:
        """Weight of the flow-sparsity loss that belongs to what it measures."""
        weights = {"expected": self.expected_sparsity, "summed_axes": self.summed_sparsity}
        return weights.get(variant, PAPER_SPARSITY)


SCENES = {
    "kid-running": ScenePreset((0, 30), decay_iteration=30),
    "balloon1-2": ScenePreset((0, 24), depth=0.02, flow=0.01),
    "balloon2-2": ScenePreset((0, 24), depth=0.02, flow=0.01),
    "playground": ScenePreset((0, 24), depth=0.02, flow=0.01),
    "skating-2": ScenePreset((0, 24)),
    "truck2": ScenePreset((0, 24)),
    "umbrella": ScenePreset((0, 24)),
    "dynamicface-2": ScenePreset((0, 24), summed_sparsity=0.01),
    "jumping": ScenePreset((0, 24), decay_iteration=48, summed_sparsity=0.01),
    "broom": ScenePreset((0, 196), decay_iteration=150, height=480, decay_steps=500_000),
    "curls": ScenePreset((0, 56), decay_iteration=60, height=480, decay_steps=500_000),
}
"""Published values by scene, each a method ``nsff-SCENE``; docs/methods/nsff.md shows them as options."""


def nsff_trainer(
    method_name: str,
    model: NSFFModelConfig,
    *,
    steps: int = PUBLISHED_STEPS,
    rays: int = PUBLISHED_RAYS,
    extra_rays: int = 512,
    learning_rate: float = 5e-4,
    decay_steps: int = 300_000,
    steps_per_save: int = 10_000,
) -> DynamicTrainerConfig:
    """The published optimiser: Adam on both networks, exponential decay, fp32, one frame a step.

    Args:
        method_name: Name on the command line.
        model: The method.
        steps: Training steps in all.
        rays: Uniform rays of a batch.
        extra_rays: Rays through moving pixels on top, in the first stage.
        learning_rate: Adam's, at the start.
        decay_steps: Steps in which it falls to a tenth.
        steps_per_save: Steps between checkpoints.
    """
    datamanager = MonocularDataManagerConfig(
        dataparser=NSFFDataParserConfig(),
        pixel_sampler=OneFramePixelSamplerConfig(num_extra_rays=extra_rays),
        train_num_rays_per_batch=rays,
        eval_num_rays_per_batch=rays,
    )
    group = {
        "optimizer": AdamOptimizerConfig(lr=learning_rate, eps=1e-8),
        "scheduler": ExponentialSchedulerConfig(decay_steps=decay_steps),
    }
    viewer = ViewerConfig(num_rays_per_chunk=1 << 12)
    return method_trainer(
        method_name, datamanager, model, {"fields": group}, steps=steps, steps_per_save=steps_per_save, viewer=viewer
    )


def published_model() -> NSFFModelConfig:
    """The improved published code with its slips, whose flow sparsity is weighted by 0.1."""
    coefficients = dict(NSFFModelConfig().loss_coefficients) | {"sparsity": 0.1}
    return NSFFModelConfig(reference_quirks=True, loss_coefficients=coefficients)


def paper_model() -> NSFFModelConfig:
    """The losses that the paper's numbers were made with: no entropy, flow sparsity over all samples.

    The slips of that code are kept too: times beyond the ends, points not divided by the opacity, unbounded depths.
    """
    coefficients = dict(NSFFModelConfig().loss_coefficients) | {"sparsity": PAPER_SPARSITY, "entropy": 0.0}
    return NSFFModelConfig(loss_variant="paper", reference_quirks=True, loss_coefficients=coefficients)


def tiny_model() -> NSFFModelConfig:
    """What trains in minutes on a CPU: networks of 4 x 64, 24 planes, stages of 500 steps.

    With more than 25 frames stages have 20 steps a frame, and TINY_STEPS hold three of them up to 25 frames alone.
    """
    return NSFFModelConfig(
        field=SceneFlowFieldConfig(num_layers=4, hidden_dim=64, skip_layer=2, num_position_frequencies=6),
        num_samples=24,
        steps_per_decay=20,
    )


def paper_preset(scene: str) -> ScenePreset:
    """What the paper's numbers of a scene were made with: the same for all scenes but for one stage length."""
    preset, usual = SCENES[scene], ScenePreset((0, 0))
    decay_iteration = preset.decay_iteration if scene == "kid-running" else usual.decay_iteration
    return replace(
        usual,
        frames=preset.frames,
        height=preset.height,
        decay_iteration=decay_iteration,
        decay_steps=PAPER_DECAY_STEPS,
    )


def scene_trainer(scene: str, model: NSFFModelConfig | None = None) -> DynamicTrainerConfig:
    """The trainer config with a scene's published values: those that belong to the model's losses.

    With the default model it is that of the method ``nsff-SCENE``. ``nsff-published`` and ``nsff-paper`` have no
    methods by scene: scripts make their configs here, and they keep the names of the variants.

    Args:
        scene: A key of ``SCENES``.
        model: What to change, e.g. ``published_model()``, ``paper_model()``; None takes the default. Its weights of
            depth, flow and sparsity and its stage length are replaced.
    """
    model = NSFFModelConfig() if model is None else model
    is_paper = model.loss_variant == "paper"
    preset = paper_preset(scene) if is_paper else SCENES[scene]
    coefficients = dict(model.loss_coefficients) | {
        "depth": preset.depth, "flow": preset.flow, "sparsity": preset.sparsity(sparsity_variant(model)),
    }  # fmt: skip
    model = replace(model, decay_iteration=preset.decay_iteration, loss_coefficients=coefficients)
    config = nsff_trainer(
        "nsff-paper" if is_paper else "nsff-published" if model.reference_quirks else f"nsff-{scene}",
        model,
        steps=PAPER_STEPS if is_paper else preset.steps,
        decay_steps=preset.decay_steps,
    )
    start, end = preset.frames
    parser = NSFFDataParserConfig(start_frame=start, end_frame=end)
    datamanager = replace(config.pipeline.datamanager, dataparser=parser)  # type: ignore[call-arg]
    return replace(config, pipeline=replace(config.pipeline, datamanager=datamanager))


nsff = MethodSpecification(
    nsff_trainer("nsff", NSFFModelConfig()),
    "Neural scene flow fields: space-time view synthesis from a monocular video with poses, flow and depth.",
)
nsff_published = MethodSpecification(
    nsff_trainer("nsff-published", published_model()),
    "nsff as its published code trains, slips included.",
)
nsff_paper = MethodSpecification(
    nsff_trainer("nsff-paper", paper_model(), steps=PAPER_STEPS, decay_steps=PAPER_DECAY_STEPS),
    "nsff with the losses that the paper's numbers were made with, slips included.",
)
nsff_tiny = MethodSpecification(
    nsff_trainer(
        "nsff-tiny",
        tiny_model(),
        steps=TINY_STEPS,
        rays=256,
        extra_rays=128,
        learning_rate=1e-3,
        decay_steps=3 * TINY_STEPS,
        steps_per_save=500,
    ),
    "nsff small enough for tests and a first look.",
)


def scene_method(scene: str) -> MethodSpecification:
    """The method ``nsff-SCENE``."""
    (start, end), height = SCENES[scene].frames, SCENES[scene].height
    return MethodSpecification(
        scene_trainer(scene),
        f"nsff with the published values of the scene {scene}: frames {start} to {end - 1}, of data prepared with "
        f"images of {height} rows.",
    )


scenes = SimpleNamespace(**{scene.replace("-", "_"): scene_method(scene) for scene in SCENES})
"""The methods of the scenes, by attribute: entry points name them ``scenes.kid_running``, ..."""
