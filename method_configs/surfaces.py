"""Surfaces of still objects: IDR (Yariv et al., NeurIPS 2020) with the encodings of HashMod, by sphere tracing."""

from __future__ import annotations

from dataclasses import replace

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.dtu import DTUDataParserConfig
from method_configs.trainers import method_trainer
from nf_plugins.data.dynamic_datamanager import DynamicDataManagerConfig
from nf_plugins.data.pixel_samplers import DynamicPixelSamplerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import CosineToFinalSchedulerConfig, MilestoneSchedulerConfig
from nf_plugins.field_components.point_encoding import PointEncodingConfig
from nf_plugins.field_components.view_encoding import ViewEncodingConfig
from nf_plugins.fields.surface_field import SurfaceFieldConfig
from nf_plugins.model_components.bidirectional_tracing import BidirectionalTracingSettings
from nf_plugins.models.idr import IDRModelConfig
from nf_plugins.models.neus_surface import NeuSSurfaceModelConfig
from nf_plugins.models.surface_model import SurfaceModelConfig

PUBLISHED_STEPS = 98_049
"""2001 epochs of 49 images, one image a step."""
PUBLISHED_RAYS = 2048
TINY_STEPS = 300
NEUS_STEPS = 300_000
NEUS_RAYS = 512


def surface_trainer(
    method_name: str,
    model: SurfaceModelConfig,
    *,
    steps: int = PUBLISHED_STEPS,
    rays: int = PUBLISHED_RAYS,
    learning_rate: float = 1e-4,
    encoding_learning_rate: float = 1e-3,
    max_norm: float | None = None,
    steps_per_save: int = 1225,
) -> DynamicTrainerConfig:
    """The published optimiser: Adam, halved after about a half and three quarters of all steps, fp32.

    Args:
        method_name: Name on the command line.
        model: The method.
        steps: Training steps in all.
        rays: Rays of a batch, of all images mixed.
        learning_rate: Of the networks, those of encodings included, and the cameras.
        encoding_learning_rate: Of the features of grids.
        max_norm: Gradients of the networks are shortened to this length; HashMod's addition to IDR.
        steps_per_save: Steps between checkpoints; 25 epochs of 49 images.
    """
    milestones = (steps * 1000 // 2001, steps * 1500 // 2001)
    rates = {
        "fields": AdamOptimizerConfig(lr=learning_rate, eps=1e-8, max_norm=max_norm),
        "encodings": AdamOptimizerConfig(lr=encoding_learning_rate, eps=1e-15),
        "camera_opt": AdamOptimizerConfig(lr=learning_rate, eps=1e-8),
    }
    schedules = {
        "fields": MilestoneSchedulerConfig(milestones=milestones),
        "encodings": MilestoneSchedulerConfig(milestones=milestones),
        # The original keeps the rate of the cameras.
        "camera_opt": None,
    }
    datamanager = DynamicDataManagerConfig(
        dataparser=DTUDataParserConfig(),
        pixel_sampler=DynamicPixelSamplerConfig(strategy="uniform", max_frames_per_batch=None),
        train_num_rays_per_batch=rays,
        eval_num_rays_per_batch=rays,
        ray_metadata_keys=("fg_mask",),
    )
    optimizers = {name: {"optimizer": rates[name], "scheduler": schedules[name]} for name in rates}
    viewer = ViewerConfig(num_rays_per_chunk=1 << 13)
    return method_trainer(
        method_name, datamanager, model, optimizers, steps=steps, steps_per_save=steps_per_save, viewer=viewer
    )


def tiny_field(encoding: PointEncodingConfig) -> SurfaceFieldConfig:
    """Networks that train in minutes on a CPU: four layers of 128 and two of 128."""
    return SurfaceFieldConfig(
        encoding=encoding, num_layers=4, hidden_dim=128, skip_layer=2, feature_dim=64,
        color_num_layers=2, color_hidden_dim=128,
    )  # fmt: skip


def tiny_encoding(encoding: PointEncodingConfig) -> PointEncodingConfig:
    """An encoding of the same kind, small enough for the tiny networks; so are the others, when its kind is changed."""
    # The slower sines of the authors' radiance fields bear the higher learning rate.
    small = replace(
        encoding, num_fourier_features=24, log2_table_size=15, nffb_width=32, nffb_out_dim=32, nffb_frequency=15.0
    )
    if encoding.kind == "hash":
        return replace(small, num_levels=6, base_resolution=8, finest_resolution=128)
    return small


def idr_method(
    name: str, encoding: PointEncodingConfig, description: str, max_norm: float | None = None
) -> MethodSpecification:
    """IDR of published size with an encoding."""
    networks = SurfaceFieldConfig(encoding=replace(encoding), view_encoding=ViewEncodingConfig())
    model = IDRModelConfig(sdf_field=networks)
    return MethodSpecification(surface_trainer(name, model, max_norm=max_norm), description)


def tiny_idr_method(name: str, encoding: PointEncodingConfig, max_norm: float | None = None) -> MethodSpecification:
    """IDR small enough for tests and a first look: the schedule of the silhouettes is shortened with the steps."""
    milestones = tuple(TINY_STEPS * share // 2001 for share in (250, 500, 750, 1000, 1250))
    model = IDRModelConfig(
        sdf_field=tiny_field(tiny_encoding(encoding)),
        tracing=BidirectionalTracingSettings(num_samples=48),
        mask_alpha_milestones=milestones,
    )
    trainer = surface_trainer(
        name, model, steps=TINY_STEPS, rays=512, learning_rate=1e-3, encoding_learning_rate=5e-3, max_norm=max_norm,
        steps_per_save=100,
    )  # fmt: skip
    return MethodSpecification(trainer, f"{name.removesuffix('-tiny')} small enough for tests and a first look.")


def neus_method(
    name: str, model: NeuSSurfaceModelConfig, description: str, *, steps: int = NEUS_STEPS, rays: int = NEUS_RAYS,
    learning_rate: float = 5e-4, encoding_learning_rate: float = 1e-3, steps_per_save: int = 10_000,
) -> MethodSpecification:  # fmt: skip
    """Volume rendering with the published optimiser of NeuS: warm-up over a 60th, one cosine to a 20th, fp32."""
    trainer = surface_trainer(name, model, steps=steps, rays=rays, steps_per_save=steps_per_save)
    rates = {"fields": learning_rate, "encodings": encoding_learning_rate}
    optimizers = {
        group: {
            "optimizer": replace(trainer.optimizers[group]["optimizer"], lr=rate),
            "scheduler": CosineToFinalSchedulerConfig(lr_final=rate / 20, max_steps=steps, warmup_steps=steps // 60),
        }
        for group, rate in rates.items()
    }
    # No ray needs its mask before it is rendered, so data without masks will do.
    datamanager = replace(trainer.pipeline.datamanager, ray_metadata_keys=())
    trainer = replace(
        trainer,
        pipeline=replace(trainer.pipeline, datamanager=datamanager),
        optimizers={**trainer.optimizers, **optimizers},
        viewer=ViewerConfig(num_rays_per_chunk=model.eval_num_rays_per_chunk),
    )
    return MethodSpecification(trainer, description)


POSITIONAL = PointEncodingConfig(kind="posenc")
FOURIER = PointEncodingConfig(kind="fourier")
HASH = PointEncodingConfig(kind="hash")
FILTER_BANK = PointEncodingConfig(kind="nffb")
STYLED_FILTER_BANK = PointEncodingConfig(kind="stylemod-nffb")

idr = idr_method("idr", POSITIONAL, "IDR: surface of an object from posed photographs with masks, by sphere tracing.")
idr_fourier = idr_method("idr-fourier", FOURIER, "IDR with random Fourier features of the points.", 1.0)
idr_hash = idr_method("idr-hash", HASH, "IDR with a multi-resolution hash grid.", 1.0)
idr_nffb = idr_method("idr-nffb", FILTER_BANK, "IDR with a neural Fourier filter bank.", 1.0)
idr_stylemod_nffb = idr_method(
    "idr-stylemod-nffb", STYLED_FILTER_BANK, "IDR with a style-modulated neural Fourier filter bank.", 1.0
)

idr_tiny = tiny_idr_method("idr-tiny", POSITIONAL)
idr_fourier_tiny = tiny_idr_method("idr-fourier-tiny", FOURIER, 1.0)
idr_hash_tiny = tiny_idr_method("idr-hash-tiny", HASH, 1.0)
idr_nffb_tiny = tiny_idr_method("idr-nffb-tiny", FILTER_BANK, 1.0)
idr_stylemod_nffb_tiny = tiny_idr_method("idr-stylemod-nffb-tiny", STYLED_FILTER_BANK, 1.0)

hashmod_neus = neus_method(
    "hashmod-neus",
    NeuSSurfaceModelConfig(
        sdf_field=SurfaceFieldConfig(
            # Fewer random features fit the narrower networks, should the kind be changed.
            encoding=replace(HASH, num_fourier_features=64),
            hidden_dim=256,
            color_hidden_dim=256,
            initial_radius=0.5,
        )
    ),
    "NeuS with the encodings of HashMod: surface of an object by volume rendering, with or without masks.",
)
hashmod_neus_tiny = neus_method(
    "hashmod-neus-tiny",
    NeuSSurfaceModelConfig(
        sdf_field=replace(tiny_field(tiny_encoding(HASH)), initial_radius=0.5),
        num_samples=24,
        num_importance_samples=24,
        num_upsample_steps=3,
        # Three hundred steps are too few for the sharpness to come from the published 20.
        initial_variance=0.45,
    ),
    "hashmod-neus small enough for tests and a first look.",
    steps=TINY_STEPS, rays=128, learning_rate=2e-3, encoding_learning_rate=5e-3, steps_per_save=100,
)  # fmt: skip
