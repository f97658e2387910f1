"""Im4D: density on feature planes, colours from nearby images (Lin et al., SIGGRAPH Asia 2023)."""

from __future__ import annotations

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from method_configs.trainers import method_trainer
from nf_plugins.data.source_view_datamanager import SourceViewDataManagerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import WarmupCosineSchedulerConfig
from nf_plugins.fields.blended_appearance import BlendedAppearanceConfig
from nf_plugins.fields.plane_density_field import PlaneDensityFieldConfig
from nf_plugins.models.im4d import Im4DModelConfig

PUBLISHED_STEPS = 120_000
PUBLISHED_IMAGES, PUBLISHED_PIXELS = 2, 3072
PUBLISHED_WARMUP = 128
TINY_STEPS = 600


def im4d_trainer(
    method_name: str,
    model: Im4DModelConfig,
    datamanager: SourceViewDataManagerConfig,
    *,
    steps: int = PUBLISHED_STEPS,
    warmup_steps: int = PUBLISHED_WARMUP,
    steps_per_save: int = 10_000,
) -> DynamicTrainerConfig:
    """The published optimiser: Adam, planes ten times as fast as networks, a rise and half a cosine wave, fp32.

    Args:
        method_name: Name on the command line.
        model: The method.
        datamanager: Where batches come from.
        steps: Training steps in all.
        warmup_steps: Over which the learning rate rises.
        steps_per_save: Steps between checkpoints.
    """

    def group(learning_rate: float) -> dict[str, object]:
        return {
            "optimizer": AdamOptimizerConfig(lr=learning_rate, eps=1e-8),
            "scheduler": WarmupCosineSchedulerConfig(max_steps=steps, warmup_steps=warmup_steps),
        }

    optimizers = {"planes": group(1e-2), "networks": group(1e-3), "features": group(1e-3)}
    viewer = ViewerConfig(num_rays_per_chunk=1 << 12)
    return method_trainer(
        method_name, datamanager, model, optimizers, steps=steps, steps_per_save=steps_per_save, viewer=viewer,
        validations=10,
    )  # fmt: skip


def published_datamanager(skip_nearest: bool = False) -> SourceViewDataManagerConfig:
    """Two images of 3072 pixels a step."""
    return SourceViewDataManagerConfig(
        dataparser=ZjuMocapDataParserConfig(),
        images_per_batch=PUBLISHED_IMAGES,
        pixels_per_image=PUBLISHED_PIXELS,
        skip_nearest_source=skip_nearest,
        eval_num_rays_per_batch=PUBLISHED_IMAGES * PUBLISHED_PIXELS,
    )


def published_model() -> Im4DModelConfig:
    """The published code with its slips: what the default model mends is left as it was."""
    return Im4DModelConfig(
        density=PlaneDensityFieldConfig(temporal_resolution=150),
        proposal=PlaneDensityFieldConfig(scales=(128,), channels=12, temporal_resolution=150),
        appearance=BlendedAppearanceConfig(positive_start=False),
        ray_bounds="image",
        skip_nearest_source=True,
        detach_envelope=False,
        resample_half_bin=False,
    )


def tiny_model() -> Im4DModelConfig:
    """Planes of 16, 32 and 64 cells, 32 and 16 intervals: minutes on a CPU."""
    return Im4DModelConfig(
        density=PlaneDensityFieldConfig(scales=(16, 32, 64), channels=8),
        proposal=PlaneDensityFieldConfig(scales=(32,), channels=6),
        num_proposal_samples=32,
        num_samples=16,
        test_source_count=3,
        eval_num_rays_per_chunk=2048,
    )


def tiny_datamanager() -> SourceViewDataManagerConfig:
    """Two images of 128 pixels a step, blended from two or three others."""
    return SourceViewDataManagerConfig(
        dataparser=ZjuMocapDataParserConfig(),
        images_per_batch=2,
        pixels_per_image=128,
        train_source_counts=(2, 3),
        train_source_probabilities=(0.7, 0.3),
        test_source_count=3,
        eval_num_rays_per_batch=256,
    )


im4d = MethodSpecification(
    im4d_trainer("im4d", Im4DModelConfig(), published_datamanager()),
    "Im4D: a dynamic scene from synchronised cameras, density on feature planes, colours blended from nearby images.",
)
im4d_published = MethodSpecification(
    im4d_trainer("im4d-published", published_model(), published_datamanager(skip_nearest=True)),
    "im4d as its published code trains, slips included.",
)
im4d_tiny = MethodSpecification(
    im4d_trainer("im4d-tiny", tiny_model(), tiny_datamanager(), steps=TINY_STEPS, warmup_steps=32, steps_per_save=200),
    "im4d small enough for tests and a first look.",
)
