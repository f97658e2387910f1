"""What methods share whose rays end at the subject's box."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.frame_box_collider import FrameBoxCollider
from nf_plugins.model_components.target_view import TargetView
from nf_plugins.models.camera_target import picture_positions, target_view
from nf_plugins.models.dynamic_model import DynamicModel, DynamicModelConfig

RayBounds = Literal["box", "image"]


@dataclass
class BoxedModelConfig(DynamicModelConfig):
    """Options of methods whose rays end at the subject's box."""

    _target: type = field(default_factory=lambda: BoxedModel)
    """Target class to instantiate."""
    ray_bounds: RayBounds = "box"
    """Where a ray starts and ends: where it enters and leaves the subject's box at its time, or, as published, at the
    nearest and farthest depth of that box in the whole image."""
    box_margin: float = 0.0
    """The box is enlarged by this, scene units."""
    eval_num_rays_per_chunk: int = 4096
    """Rays per forward pass when rendering."""


class BoxedModel(DynamicModel):
    """Base of methods whose rays end at the box of their frame.

    Attributes:
        box_collider: The boxes.
        camera_target: The view that is being rendered as a whole image.
    """

    config: BoxedModelConfig

    def populate_modules(self) -> None:
        """Registers the boxes."""
        super().populate_modules()
        boxes = self.metadata.get("frame_boxes")
        if boxes is None:
            boxes = self.scene_aabb.expand(len(self.frame_times), 2, 3)
        self.box_collider = FrameBoxCollider(boxes, self.frame_times, self.config.box_margin)
        self.camera_target: TargetView | None = None

    def frame_box(self, time: float) -> Tensor:
        """The subject's box ``(2, 3)`` at a time in [0, 1], scene units."""
        return self.box_collider.boxes_at(torch.tensor([time], device=self.frame_times.device))[0]

    def ray_bounds(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor, Tensor]:
        """Where rays start and end.

        Args:
            ray_bundle: Rays ``(R,)``; with bounds "image" their metadata has ``z_range`` (R, 2) and ``directions_norm``
                (R, 1). ``nears`` and ``fars``, where they are set, are honoured.

        Returns:
            Near and far ray distance ``(R, 1)``, and which rays cross the box of their time, bool ``(R,)``.

        Raises:
            InputError: Bounds "image" and rays of no image.
        """
        boxes = self.box_collider.boxes_at(self.ray_times(ray_bundle))
        near, far = intersect_box(ray_bundle.origins, ray_bundle.directions, boxes.transpose(0, 1))
        if ray_bundle.nears is not None and ray_bundle.fars is not None:
            near, far = torch.maximum(near, ray_bundle.nears), torch.minimum(far, ray_bundle.fars)
            far = torch.maximum(near, far)
        hits = (far > near)[:, 0]
        if self.config.ray_bounds == "image":
            z_range, norm = (ray_bundle.metadata.get(key) for key in ("z_range", "directions_norm"))
            if z_range is None or norm is None:
                raise InputError(
                    "The rays belong to no image, so its range of depths is not known: render with nf-render, or with "
                    "--pipeline.model.ray-bounds box."
                )
            near, far = z_range[:, :1] * norm, z_range[:, 1:] * norm
        return near, far, hits

    def target_of(self, camera: Cameras) -> TargetView:
        """The view of one camera with a time."""
        times = camera.flatten().times
        if times is None:
            default = self.config.default_time
            if default is None:
                raise InputError("The camera has no time: use nf-render, or set --pipeline.model.default-time.")
            time = default
        else:
            time = float(times[0, 0])
        camera = camera.to(self.device)
        return target_view(camera, self.frame_box(time), time)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """An image.

        Args:
            camera: One camera with a time.
            obb_box: What is rendered, if not everything.

        Returns:
            ``(H, W, C)``; see ``get_outputs``.
        """
        target = self.target_of(camera)
        rays = camera.generate_rays(camera_indices=0, keep_shape=True, obb_box=obb_box)
        height, width = rays.origins.shape[:2]
        rays.metadata["z_range"] = target.z_range.to(rays.origins.device).expand(height, width, 2)
        rays.metadata["picture_uv"] = picture_positions(height, width, rays.origins.device)
        self.camera_target = target
        try:
            return self.get_outputs_for_camera_ray_bundle(rays)
        finally:
            self.camera_target = None
