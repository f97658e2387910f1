"""ResFields: moving surfaces learned from meshes, as temporal signed distances (Mihajlovic et al., ICLR 2024)."""

from __future__ import annotations

from dataclasses import replace

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from dataparsers.mesh_sequence import MeshSequenceDataParserConfig
from method_configs.trainers import single_group_trainer
from nf_plugins.data.mesh_point_sampler import MeshPointSamplerConfig
from nf_plugins.data.mesh_sequence_datamanager import MeshSequenceDataManagerConfig
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.fields.coordinate_field import CoordinateFieldConfig
from nf_plugins.models.temporal_sdf import TemporalSDFModelConfig

PUBLISHED_STEPS = 200_000
PUBLISHED_LEARNING_RATE = 5e-5
HASH_GRID_LEARNING_RATE = 1e-2
"""That of instant-ngp. The published baseline has the SIREN's 5e-5, at which the tables hardly leave their start."""
SIREN_256 = CoordinateFieldConfig(network="siren", hidden_dim=256, residual_layers=(1, 2, 3), residual_rank=(10,))
VIEWER_IMAGES = 32
"""Pictures of training cameras that the viewer shows; each has to be drawn first."""


def tsdf_trainer(
    method_name: str,
    network: CoordinateFieldConfig,
    points: MeshPointSamplerConfig | None = None,
    *,
    steps: int = PUBLISHED_STEPS,
    steps_per_save: int = 20_000,
    learning_rate: float = PUBLISHED_LEARNING_RATE,
    eps: float = 1e-8,
) -> DynamicTrainerConfig:
    """A trainer config with the published optimiser: Adam, one cosine to a tenth over all steps, fp32."""
    return single_group_trainer(
        method_name,
        MeshSequenceDataManagerConfig(
            dataparser=MeshSequenceDataParserConfig(), point_sampler=points or MeshPointSamplerConfig()
        ),
        TemporalSDFModelConfig(field=network),
        steps=steps,
        steps_per_save=steps_per_save,
        validations=20,
        learning_rate=learning_rate,
        viewer=ViewerConfig(num_rays_per_chunk=1 << 16, max_num_display_images=VIEWER_IMAGES),
        eps=eps,
    )


resfields_tsdf = MethodSpecification(
    config=tsdf_trainer("resfields-tsdf", replace(SIREN_256)),
    description="A moving mesh as a signed distance: a SIREN of 256 with residual layers of rank 10.",
)

siren_tsdf = MethodSpecification(
    config=tsdf_trainer("siren-tsdf", replace(SIREN_256, residual_layers=())),
    description="resfields-tsdf without residual layers, for comparison.",
)

ngp_tsdf = MethodSpecification(
    config=tsdf_trainer(
        "ngp-tsdf",
        CoordinateFieldConfig(network="hash_grid", residual_layers=()),
        learning_rate=HASH_GRID_LEARNING_RATE,
        eps=1e-15,
    ),
    description="A moving mesh as a hash grid over (t, x, y, z) with a small network, for comparison.",
)

resfields_tsdf_tiny = MethodSpecification(
    config=tsdf_trainer(
        "resfields-tsdf-tiny",
        replace(SIREN_256, hidden_dim=64, num_hidden_layers=3, omega=15.0, residual_layers=(1, 2), residual_rank=(4,)),
        MeshPointSamplerConfig(points_per_step=8192, clip_sdf=0.1, pool_size=8192, refresh_size=2048),
        steps=1000,
        steps_per_save=500,
        learning_rate=1e-3,
    ),
    description="resfields-tsdf small enough for tests and a first look.",
)
