"""ResFields: dynamic surfaces from a few views (Mihajlovic et al., ICLR 2024)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.data.dynamic_datamanager import DynamicDataManagerConfig
from nf_plugins.data.pixel_samplers import DynamicPixelSamplerConfig
from nf_plugins.engine.devices import default_machine_config
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import CosineToFinalSchedulerConfig
from nf_plugins.fields.temporal_sdf_field import TemporalSDFFieldConfig
from nf_plugins.models.occupancy_schedule import OccupancyScheduleConfig
from nf_plugins.models.resfields import ResFieldsModelConfig

PUBLISHED_STEPS = 400_000
PUBLISHED_RAYS = 1100
BALANCED_SAMPLER = DynamicPixelSamplerConfig(strategy="frame_balanced", silhouette_fraction=0.25)
"""Equal rays per frame, half of them foreground; a quarter of the rest just beside it, where the hull leaves room."""


def resfields_trainer(
    method_name: str,
    model: ResFieldsModelConfig,
    pixel_sampler: DynamicPixelSamplerConfig,
    *,
    steps: int = PUBLISHED_STEPS,
    rays: int = PUBLISHED_RAYS,
    steps_per_save: int = 20_000,
    learning_rate: float = 5e-4,
    **trainer: Any,
) -> DynamicTrainerConfig:
    """A trainer config with the published optimiser: Adam at 5e-4, one cosine to a tenth over all steps, fp32."""
    return DynamicTrainerConfig(
        method_name=method_name,
        machine=default_machine_config(),
        max_num_iterations=steps,
        steps_per_save=steps_per_save,
        steps_per_eval_image=max(steps // 40, 1),
        steps_per_eval_batch=max(steps // 40, 1),
        steps_per_eval_all_images=steps,
        mixed_precision=False,
        pipeline=VanillaPipelineConfig(
            datamanager=DynamicDataManagerConfig(
                dataparser=OwliiDataParserConfig(),
                pixel_sampler=pixel_sampler,
                train_num_rays_per_batch=rays,
                eval_num_rays_per_batch=rays,
            ),
            model=model,
        ),
        optimizers={
            "fields": {
                "optimizer": AdamOptimizerConfig(lr=learning_rate, eps=1e-8),
                "scheduler": CosineToFinalSchedulerConfig(lr_final=learning_rate / 10, max_steps=steps),
            }
        },
        viewer=ViewerConfig(num_rays_per_chunk=1 << 12),
        vis="viewer",
        **trainer,
    )


def tiny_model(residual_layers: tuple[int, ...]) -> ResFieldsModelConfig:
    """A model that trains for a few hundred steps in seconds: half the width, a coarse grid, few samples."""
    return ResFieldsModelConfig(
        sdf_field=TemporalSDFFieldConfig(
            num_layers=4, hidden_dim=64, feature_dim=32, skip_layer=2, color_hidden_dim=32,
            residual_layers=residual_layers, residual_rank=4, num_position_frequencies=4, num_time_frequencies=2,
        ),
        num_samples=16,
        num_eval_samples=32,
        occupancy=OccupancyScheduleConfig(resolution=24, start_step=100),
        encoding_annealing_steps=50,
    )  # fmt: skip


resfields_tnerf = MethodSpecification(
    config=resfields_trainer("resfields-tnerf", ResFieldsModelConfig(), replace(BALANCED_SAMPLER)),
    description="T-NeRF with residual field layers on a signed distance: dynamic surfaces from a few masked views.",
)

resfields_tnerf_published = MethodSpecification(
    config=resfields_trainer(
        "resfields-tnerf-published",
        ResFieldsModelConfig(
            num_samples=256,
            num_eval_samples=256,
            occupancy=OccupancyScheduleConfig(enabled=False),
            eikonal_fraction=1.0,
            num_sparsity_points=128,
            training_background="black",
        ),
        DynamicPixelSamplerConfig(strategy="foreground_balanced"),
    ),
    description="resfields-tnerf as published: 256 samples in the whole box and the eikonal term at all of them.",
)

resfields_tnerf_tiny = MethodSpecification(
    config=resfields_trainer(
        "resfields-tnerf-tiny",
        tiny_model((1, 2, 3)),
        replace(BALANCED_SAMPLER),
        steps=300,
        rays=128,
        steps_per_save=100,
        learning_rate=2e-3,
    ),
    description="resfields-tnerf small enough for tests and a first look.",
)

tnerf_sdf = MethodSpecification(
    config=resfields_trainer(
        "tnerf-sdf",
        ResFieldsModelConfig(sdf_field=TemporalSDFFieldConfig(residual_layers=())),
        replace(BALANCED_SAMPLER),
    ),
    description="resfields-tnerf without residual layers, for comparison.",
)

tnerf_sdf_tiny = MethodSpecification(
    config=resfields_trainer(
        "tnerf-sdf-tiny",
        tiny_model(()),
        replace(BALANCED_SAMPLER),
        steps=300,
        rays=128,
        steps_per_save=100,
        learning_rate=2e-3,
    ),
    description="tnerf-sdf small enough for tests and a first look.",
)
