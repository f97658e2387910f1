"""ResFields: dynamic surfaces from a few views (Mihajlovic et al., ICLR 2024)."""

from __future__ import annotations

from dataclasses import replace

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.owlii import OwliiDataParserConfig
from method_configs.trainers import single_group_trainer
from nf_plugins.data.dynamic_datamanager import DynamicDataManagerConfig
from nf_plugins.data.pixel_samplers import DynamicPixelSamplerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.fields.scene_motion import MotionKind, SceneMotionConfig
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
) -> DynamicTrainerConfig:
    """A trainer config with the published optimiser: Adam at 5e-4, one cosine to a tenth over all steps, fp32."""
    return single_group_trainer(
        method_name,
        DynamicDataManagerConfig(
            dataparser=OwliiDataParserConfig(),
            pixel_sampler=pixel_sampler,
            train_num_rays_per_batch=rays,
            eval_num_rays_per_batch=rays,
        ),
        model,
        steps=steps,
        steps_per_save=steps_per_save,
        validations=40,
        learning_rate=learning_rate,
        viewer=ViewerConfig(num_rays_per_chunk=1 << 12),
    )


def tiny_model(motion: MotionKind, residual_layers: tuple[int, ...]) -> ResFieldsModelConfig:
    """A model that trains for a few hundred steps in seconds: half the width, a coarse grid, few samples."""
    return ResFieldsModelConfig(
        sdf_field=TemporalSDFFieldConfig(
            num_layers=4, hidden_dim=64, feature_dim=32, skip_layer=2, color_hidden_dim=32,
            residual_layers=residual_layers, residual_rank=4, num_position_frequencies=4, num_time_frequencies=2,
        ),
        motion=SceneMotionConfig(
            motion, code_dim=8, warp_hidden_dim=32, warp_layers=3, ambient_hidden_dim=48, num_frequencies=3
        ),
        num_samples=16,
        num_eval_samples=32,
        occupancy=OccupancyScheduleConfig(resolution=24, start_step=100),
        encoding_annealing_steps=50,
    )  # fmt: skip


def default_method(name: str, motion: MotionKind, description: str, residual: bool = True) -> MethodSpecification:
    """A method of published size that skips empty space."""
    networks = TemporalSDFFieldConfig() if residual else TemporalSDFFieldConfig(residual_layers=())
    model = ResFieldsModelConfig(sdf_field=networks, motion=SceneMotionConfig(motion))
    return MethodSpecification(resfields_trainer(name, model, replace(BALANCED_SAMPLER)), description)


def published_method(name: str, motion: MotionKind) -> MethodSpecification:
    """A method as published: 256 samples in the whole box, eikonal term at all of them, trained on black."""
    model = ResFieldsModelConfig(
        motion=SceneMotionConfig(motion),
        num_samples=256,
        num_eval_samples=256,
        occupancy=OccupancyScheduleConfig(enabled=False),
        eikonal_fraction=1.0,
        num_sparsity_points=128,
        training_background="black",
    )
    pixel_sampler = DynamicPixelSamplerConfig(strategy="foreground_balanced", max_frames_per_batch=None)
    trainer = resfields_trainer(name, model, pixel_sampler)
    what = "as published: 256 samples in the whole box and the eikonal term at all of them."
    return MethodSpecification(trainer, f"{name.removesuffix('-published')} {what}")


def tiny_method(name: str, motion: MotionKind, residual: bool = True) -> MethodSpecification:
    """A method small enough for tests and a first look."""
    trainer = resfields_trainer(
        name,
        tiny_model(motion, (1, 2, 3) if residual else ()),
        replace(BALANCED_SAMPLER),
        steps=300,
        rays=128,
        steps_per_save=100,
        learning_rate=2e-3,
    )
    return MethodSpecification(trainer, f"{name.removesuffix('-tiny')} small enough for tests and a first look.")


resfields_tnerf = default_method(
    "resfields-tnerf",
    "tnerf",
    "T-NeRF with residual field layers on a signed distance: dynamic surfaces from a few masked views.",
)
resfields_dynerf = default_method(
    "resfields-dynerf", "dynerf", "As resfields-tnerf, with a learned code per frame in place of the time (DyNeRF)."
)
resfields_dnerf = default_method(
    "resfields-dnerf", "dnerf", "As resfields-tnerf, with a translation to a canonical frame (D-NeRF)."
)
resfields_nerfies = default_method(
    "resfields-nerfies", "nerfies", "As resfields-tnerf, with a rigid motion of every point (Nerfies)."
)
resfields_hypernerf = default_method(
    "resfields-hypernerf",
    "hypernerf",
    "As resfields-nerfies, with ambient coordinates for changing topology (HyperNeRF).",
)
resfields_ndr = default_method(
    "resfields-ndr", "ndr", "As resfields-hypernerf, with an invertible warp (Neural Dynamic Reconstruction)."
)

tnerf_sdf = default_method("tnerf-sdf", "tnerf", "resfields-tnerf without residual layers, for comparison.", False)
dynerf_sdf = default_method("dynerf-sdf", "dynerf", "resfields-dynerf without residual layers.", False)
dnerf_sdf = default_method("dnerf-sdf", "dnerf", "resfields-dnerf without residual layers.", False)
nerfies_sdf = default_method("nerfies-sdf", "nerfies", "resfields-nerfies without residual layers.", False)
hypernerf_sdf = default_method("hypernerf-sdf", "hypernerf", "resfields-hypernerf without residual layers.", False)
ndr_sdf = default_method("ndr-sdf", "ndr", "resfields-ndr without residual layers.", False)

resfields_tnerf_published = published_method("resfields-tnerf-published", "tnerf")
resfields_dynerf_published = published_method("resfields-dynerf-published", "dynerf")
resfields_dnerf_published = published_method("resfields-dnerf-published", "dnerf")
resfields_nerfies_published = published_method("resfields-nerfies-published", "nerfies")
resfields_hypernerf_published = published_method("resfields-hypernerf-published", "hypernerf")
resfields_ndr_published = published_method("resfields-ndr-published", "ndr")

resfields_tnerf_tiny = tiny_method("resfields-tnerf-tiny", "tnerf")
resfields_dynerf_tiny = tiny_method("resfields-dynerf-tiny", "dynerf")
resfields_dnerf_tiny = tiny_method("resfields-dnerf-tiny", "dnerf")
resfields_nerfies_tiny = tiny_method("resfields-nerfies-tiny", "nerfies")
resfields_hypernerf_tiny = tiny_method("resfields-hypernerf-tiny", "hypernerf")
resfields_ndr_tiny = tiny_method("resfields-ndr-tiny", "ndr")
tnerf_sdf_tiny = tiny_method("tnerf-sdf-tiny", "tnerf", residual=False)
