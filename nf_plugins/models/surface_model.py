"""What the methods for surfaces of still scenes share: the field, refined cameras, export."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizer, CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.errors import InputError
from nf_plugins.field_components.spatial_gradient import numerical_derivatives
from nf_plugins.fields.surface_field import SurfaceField, SurfaceFieldConfig, SurfaceGeometry
from nf_plugins.models.checked_model import CheckedModel, CheckedModelConfig
from nf_plugins.models.still_surface import StillSurface

DEFAULT_CURVATURE_STEP = 0.01
"""Where the encoding has no cells, scene units."""


@dataclass
class SurfaceModelConfig(CheckedModelConfig):
    """A surface field and the cameras that look at it."""

    _target: type = field(default_factory=lambda: SurfaceModel)
    """Target class to instantiate."""
    sdf_field: SurfaceFieldConfig = field(default_factory=SurfaceFieldConfig)
    """Encodings and networks."""
    radius: float = 1.0
    """Radius of the sphere around the origin that rays are traced in, scene units."""
    camera_optimizer: CameraOptimizerConfig = field(
        default_factory=lambda: CameraOptimizerConfig(mode="off", trans_l2_penalty=0.0, rot_l2_penalty=0.0)
    )
    """Refinement of the training cameras: mode SO3xR3 learns a rotation and a translation for each. Its penalties are
    off, because they pull towards poses that are known to be wrong."""
    curvature_step: float | None = None
    """Step of the Laplacian that the curvature loss looks at, scene units; None takes the finest active cell of the
    encoding, or 0.01. With numerical gradients it is their step."""
    eval_num_rays_per_chunk: int = 8192
    """Rays per forward pass when rendering."""


FREE_ENCODING_FIELDS = ("implementation", "start_levels", "steps_per_level")
"""Options of encodings that change no value of a trained one; how many levels are active is in a buffer."""


def encoding_signature(name: str, config: Any) -> dict[str, str]:
    """What the values of an encoding depend on, beside its parameters."""
    return {
        f"{name}.{option.name}": str(getattr(config, option.name))
        for option in fields(config)
        if option.name not in FREE_ENCODING_FIELDS
    }


class SurfaceModel(CheckedModel):
    """Base of the methods that learn one still surface. Scene units: the object lies in the unit sphere."""

    config: SurfaceModelConfig
    field: SurfaceField
    camera_optimizer: CameraOptimizer

    def populate_modules(self) -> None:
        """Builds the field and the camera refinement."""
        super().populate_modules()
        self.collider = None
        self.field = self.config.sdf_field.setup()
        self.camera_optimizer = self.config.camera_optimizer.setup(num_cameras=self.num_train_data, device="cpu")
        self.step = 0

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the networks do not tell."""
        networks = self.config.sdf_field
        names = ("color_inputs", "unit_normals", "sdf_clamp", "skip_layer")
        return (
            super().signature()
            | {name: str(getattr(networks, name)) for name in names}
            | encoding_signature("encoding", networks.encoding)
            | encoding_signature("view_encoding", networks.view_encoding)
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Networks, the features of grids, and cameras where they are refined."""
        groups = {"fields": self.network_parameters()}
        grids = self.field.parameters_of("grids")
        if grids:
            groups["encodings"] = grids
        cameras = list(self.camera_optimizer.parameters())
        if cameras:
            groups["camera_opt"] = cameras
        return groups

    def network_parameters(self) -> list[Parameter]:
        """Everything that learns at the networks' rate."""
        return self.field.parameters_of("networks")

    def update_to_step(self, step: int) -> None:
        """Sets everything that follows from the step alone."""
        self.step = step
        self.field.set_step(step)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Switches on the levels of the encodings in their turn.

        Raises:
            InputError: The data moves.
        """
        num_times = len(self.metadata.get("frame_times", ()))
        if num_times > 1:
            raise InputError(
                f"{type(self).__name__} learns one surface that stands still, and "
                f"{self.metadata.get('dataparser_name', 'this data')} has {num_times} times: use a method for moving "
                "surfaces (resfields-tnerf), or data of one moment."
            )
        callbacks = super().get_training_callbacks(training_callback_attributes)
        callbacks.append(TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self.update_to_step))
        return callbacks

    def refined_rays(self, ray_bundle: RayBundle) -> RayBundle:
        """Training rays of the cameras as they are known by now; other rays as they are."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        return ray_bundle

    @torch.no_grad()
    def refined_cameras(self, cameras: Cameras) -> Cameras:
        """The training cameras ``(N,)``, in their order, with what was learnt of their poses."""
        if self.config.camera_optimizer.mode == "off":
            return cameras
        correction = self.camera_optimizer(torch.arange(self.num_train_data)).to(cameras.camera_to_worlds)
        poses = cameras.camera_to_worlds.clone()
        poses[:, :, :3] = correction[:, :, :3] @ poses[:, :, :3]
        poses[:, :, 3] += correction[:, :, 3]
        refined = cameras[torch.arange(len(cameras))]
        refined.camera_to_worlds = poses
        return refined

    def laplacian(self, points: Tensor, geometry: SurfaceGeometry) -> Tensor:
        """Laplacian of the distance ``(N, 1)`` at scene points ``(N, 3)``, for the curvature loss.

        By finite differences in any case: automatic differentiation sees no curvature in linearly interpolated grids.
        """
        if geometry.laplacian is not None:
            return geometry.laplacian
        step = self.config.curvature_step or self.field.encoding.finest_cell() or DEFAULT_CURVATURE_STEP
        stencil = self.config.sdf_field.numerical_stencil
        values = geometry.signed_distance
        return numerical_derivatives(self.field.signed_distance, points, values, step, stencil).laplacian

    def surface_at(self, time: float = 0.0) -> StillSurface:
        """The surface and its colours, for exporters; it is the same at all times."""
        return StillSurface(self.field, self.scene_aabb, self.config.radius)

    def picture(self, hit: Tensor, rgb: Tensor, depth: Tensor, normal: Tensor) -> dict[str, Tensor]:
        """Evaluation outputs, the colour first, as the viewer opens on it.

        Args:
            hit: Opacity ``(R, 1)``.
            rgb: Colour times opacity ``(R, 3)``.
            depth: Ray distance ``(R, 1)``, scene units, 0 where nothing is.
            normal: Unit normals times opacity ``(R, 3)``, scene axes.
        """
        background = (1 - hit) * self.background_color
        return {
            "rgb": rgb + background,
            "accumulation": hit,
            "depth": depth,
            "normal": normal,
            "normal_rgb": ((normal + hit) / 2 + background).clamp(0, 1),
        }

    def camera_losses(self) -> dict[str, Tensor]:
        """Penalties on the refinement of the cameras, where the config has any."""
        losses: dict[str, Any] = {}
        config = self.config.camera_optimizer
        if config.mode != "off" and (config.trans_l2_penalty > 0 or config.rot_l2_penalty > 0):
            self.camera_optimizer.get_loss_dict(losses)
        return losses
