"""ENeRF: cost volumes guide rendering with few samples (Lin et al., SIGGRAPH Asia 2022)."""

from __future__ import annotations

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from method_configs.trainers import method_trainer
from nf_plugins.data.source_view_datamanager import SourceViewDataManagerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import WarmupCosineSchedulerConfig
from nf_plugins.models.enerf import EnerfModelConfig
from nf_plugins.models.enerf_levels import CostVolumeLevelConfig

PUBLISHED_STEPS = 160_000
PUBLISHED_PIXELS = 1024
TINY_STEPS = 600


def enerf_trainer(
    method_name: str,
    model: EnerfModelConfig,
    datamanager: SourceViewDataManagerConfig,
    *,
    steps: int = PUBLISHED_STEPS,
    warmup_steps: int = 128,
    learning_rate: float = 5e-4,
    steps_per_save: int = 10_000,
) -> DynamicTrainerConfig:
    """Adam on all networks, a rise and half a cosine wave, fp32.

    Args:
        method_name: Name on the command line.
        model: The method.
        datamanager: Where batches come from.
        steps: Training steps in all.
        warmup_steps: Over which the learning rate rises.
        learning_rate: Adam's.
        steps_per_save: Steps between checkpoints.
    """
    group = {
        "optimizer": AdamOptimizerConfig(lr=learning_rate, eps=1e-8),
        "scheduler": WarmupCosineSchedulerConfig(max_steps=steps, warmup_steps=warmup_steps),
    }
    viewer = ViewerConfig(num_rays_per_chunk=1 << 14)
    return method_trainer(
        method_name, datamanager, model, {"networks": group}, steps=steps, steps_per_save=steps_per_save,
        viewer=viewer, validations=10,
    )  # fmt: skip


def enerf_datamanager(
    pixels: int, counts: tuple[int, ...], probabilities: tuple[float, ...], test_count: int
) -> SourceViewDataManagerConfig:
    """One image a step with whole source images.

    Args:
        pixels: Of a batch.
        counts: How many sources there may be.
        probabilities: How often.
        test_count: Sources in evaluation.
    """
    return SourceViewDataManagerConfig(
        dataparser=ZjuMocapDataParserConfig(),
        images_per_batch=1,
        pixels_per_image=pixels,
        train_source_counts=counts,
        train_source_probabilities=probabilities,
        test_source_count=test_count,
        crop_sources=False,
        eval_num_rays_per_batch=pixels,
    )


def cascade_levels(coarse_planes: int = 64, fine_planes: int = 8) -> tuple[CostVolumeLevelConfig, ...]:
    """The two levels of the paper: an eighth of the resolution, then half of it within what the first found.

    Args:
        coarse_planes: Planes of the first.
        fine_planes: Planes of the second.
    """
    return (
        CostVolumeLevelConfig(
            scale=0.125, num_planes=coarse_planes, depth_mode="inverse", feature_level=2, blend_level=2, num_samples=8,
            loss_weight=0.1, volume_features=True, direction_pooling=True, density_activation="softplus",
        ),
        CostVolumeLevelConfig(
            scale=0.5, num_planes=fine_planes, depth_mode="linear", feature_level=1, blend_level=0, num_samples=2,
            loss_weight=1.0, volume_features=True, direction_pooling=True, density_activation="softplus",
        ),
    )  # fmt: skip


def tiny_model() -> EnerfModelConfig:
    """A volume of 24 planes."""
    return EnerfModelConfig(levels=(CostVolumeLevelConfig(num_planes=24),), test_source_count=3)


def cascade_model(test_count: int = 3) -> EnerfModelConfig:
    """The paper's two levels, blended from three images."""
    return EnerfModelConfig(levels=cascade_levels(), test_source_count=test_count)


def tiny_datamanager() -> SourceViewDataManagerConfig:
    """An image of 256 pixels a step, blended from two or three others."""
    return enerf_datamanager(256, (2, 3), (0.7, 0.3), 3)


enerf = MethodSpecification(
    enerf_trainer(
        "enerf", EnerfModelConfig(), enerf_datamanager(PUBLISHED_PIXELS, (2, 3, 4, 5), (0.1, 0.35, 0.45, 0.1), 4)
    ),
    "ENeRF: a cost volume of nearby images says where to look; learns to render scenes that it was not trained on.",
)
enerf_cascade = MethodSpecification(
    enerf_trainer("enerf-cascade", cascade_model(), enerf_datamanager(PUBLISHED_PIXELS, (2, 3, 4), (0.1, 0.8, 0.1), 3)),
    "enerf with the two cost volumes of the paper, one within the other.",
)
enerf_tiny = MethodSpecification(
    enerf_trainer(
        "enerf-tiny", tiny_model(), tiny_datamanager(), steps=TINY_STEPS, warmup_steps=32, learning_rate=2e-3,
        steps_per_save=200,
    ),
    "enerf small enough for tests and a first look.",
)  # fmt: skip
enerf_cascade_tiny = MethodSpecification(
    enerf_trainer(
        "enerf-cascade-tiny",
        EnerfModelConfig(levels=cascade_levels(coarse_planes=24), test_source_count=3),
        tiny_datamanager(),
        steps=TINY_STEPS, warmup_steps=32, learning_rate=2e-3, steps_per_save=200,
    ),
    "enerf-cascade small enough for tests and a first look.",
)  # fmt: skip
