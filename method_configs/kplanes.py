"""K-Planes (Fridovich-Keil et al., CVPR 2023), and the variant of it that Im4D is compared with."""

from __future__ import annotations

from dataclasses import replace

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from method_configs.trainers import method_trainer
from nf_plugins.data.source_view_datamanager import SourceViewDataManagerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import WarmupCosineSchedulerConfig
from nf_plugins.fields.plane_density_field import PlaneDensityFieldConfig
from nf_plugins.fields.plane_radiance_field import Decoder
from nf_plugins.models.im4d_options import LOSSES
from nf_plugins.models.kplanes import KPlanesModelConfig

PUBLISHED_STEPS = 120_000
HYBRID_STEPS, EXPLICIT_STEPS = 90_000, 120_000
TINY_STEPS = 600


def kplanes_trainer(
    method_name: str,
    model: KPlanesModelConfig,
    *,
    steps: int = PUBLISHED_STEPS,
    images: int = 8,
    pixels: int = 1024,
    warmup_steps: int = 128,
    steps_per_save: int = 10_000,
) -> DynamicTrainerConfig:
    """The published optimiser: Adam at 0.01 on everything, a rise and half a cosine wave, fp32.

    Args:
        method_name: Name on the command line.
        model: The method.
        steps: Training steps in all.
        images: Images of a batch.
        pixels: Pixels of each.
        warmup_steps: Over which the learning rate rises.
        steps_per_save: Steps between checkpoints.
    """
    datamanager = SourceViewDataManagerConfig(
        dataparser=ZjuMocapDataParserConfig(),
        images_per_batch=images,
        pixels_per_image=pixels,
        train_source_counts=(),
        train_source_probabilities=(),
        eval_num_rays_per_batch=images * pixels,
    )
    group = {
        "optimizer": AdamOptimizerConfig(lr=1e-2, eps=1e-8),
        "scheduler": WarmupCosineSchedulerConfig(max_steps=steps, warmup_steps=warmup_steps),
    }
    viewer = ViewerConfig(num_rays_per_chunk=1 << 12)
    return method_trainer(
        method_name, datamanager, model, {"fields": group}, steps=steps, steps_per_save=steps_per_save, viewer=viewer,
        validations=10,
    )  # fmt: skip


def product_model(decoder: Decoder) -> KPlanesModelConfig:
    """K-Planes as published: products of planes, two proposals, its own losses.

    Args:
        decoder: hybrid or explicit, which has more features and less weight on smoothness in space.
    """
    is_explicit = decoder == "explicit"
    planes = PlaneDensityFieldConfig(
        channels=32 if is_explicit else 16, reduce="product", spatial_init=(0.1, 0.5), num_hidden=1
    )
    return KPlanesModelConfig(
        decoder=decoder,
        density=planes,
        proposal=replace(planes, scales=(128, 256), channels=8),
        num_proposal_samples=(256, 128),
        num_samples=48,
        regulariser_interval=1,
        average_variation=True,
        loss_coefficients=LOSSES | {
            "mask": 0.0, "plane_tv": 1e-4 if is_explicit else 2e-4, "time_planes": 1e-4, "distortion": 1e-3,
        },
    )  # fmt: skip


def tiny(model: KPlanesModelConfig) -> KPlanesModelConfig:
    """The same with planes of at most 64 cells and few intervals: minutes on a CPU."""
    has_many_proposals = len(model.num_proposal_samples) > 1
    return replace(
        model,
        density=replace(model.density, scales=(16, 32, 64), channels=8),
        proposal=replace(model.proposal, scales=(16, 32) if has_many_proposals else (32,), channels=6),
        num_proposal_samples=(32, 24) if has_many_proposals else (32,),
        num_samples=16,
        eval_num_rays_per_chunk=2048,
    )


def tiny_trainer(method_name: str, model: KPlanesModelConfig) -> DynamicTrainerConfig:
    """A trainer of a tiny model: two images of 128 pixels a step."""
    return kplanes_trainer(
        method_name, tiny(model), steps=TINY_STEPS, images=2, pixels=128, warmup_steps=32, steps_per_save=200
    )


im4d_kplanes = MethodSpecification(
    kplanes_trainer("im4d-kplanes", KPlanesModelConfig()),
    "What im4d is compared with: the same planes side by side, colours from them too in place of source images.",
)
im4d_kplanes_tiny = MethodSpecification(
    tiny_trainer("im4d-kplanes-tiny", KPlanesModelConfig()),
    "im4d-kplanes small enough for tests and a first look.",
)
im4d_kplanes_hybrid = MethodSpecification(
    kplanes_trainer("im4d-kplanes-hybrid", product_model("hybrid"), steps=HYBRID_STEPS, images=8, pixels=512),
    "K-Planes with products of planes and small networks on top of them.",
)
im4d_kplanes_hybrid_tiny = MethodSpecification(
    tiny_trainer("im4d-kplanes-hybrid-tiny", product_model("hybrid")),
    "im4d-kplanes-hybrid small enough for tests and a first look.",
)
im4d_kplanes_explicit = MethodSpecification(
    kplanes_trainer("im4d-kplanes-explicit", product_model("explicit"), steps=EXPLICIT_STEPS, images=8, pixels=512),
    "K-Planes with products of planes, a linear density and a learnt basis of colours.",
)
im4d_kplanes_explicit_tiny = MethodSpecification(
    tiny_trainer("im4d-kplanes-explicit-tiny", product_model("explicit")),
    "im4d-kplanes-explicit small enough for tests and a first look.",
)
