"""Where rays cross the subject's box at their time."""

from __future__ import annotations

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.scene_colliders import SceneCollider
from torch import Tensor

from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.model_components.box_collider import intersect_box

SAME_FRAME = 1e-3
"""Times closer to a frame's than this part of the step between frames are the frame's own."""


class FrameBoxCollider(SceneCollider):
    """Sets each ray's near and far distance to its crossing of the box of its frame; equal where it misses the box.

    Args:
        frame_boxes: Lower and upper corner at each frame ``(T, 2, 3)``, scene units.
        frame_times: Sorted times of the frames ``(T,)``.
        margin: Boxes are enlarged by this on every side.
    """

    frame_boxes: Tensor
    frame_times: Tensor

    def __init__(self, frame_boxes: Tensor, frame_times: Tensor, margin: float = 0.0) -> None:
        super().__init__()
        if frame_boxes.shape != (len(frame_times), 2, 3):
            raise ValueError(f"frame_boxes are {tuple(frame_boxes.shape)}, expected {(len(frame_times), 2, 3)}")
        enlarged = torch.stack([frame_boxes[:, 0] - margin, frame_boxes[:, 1] + margin], dim=1)
        self.register_buffer("frame_boxes", enlarged.float(), persistent=False)
        self.register_buffer("frame_times", frame_times.float(), persistent=False)

    def boxes_at(self, times: Tensor) -> Tensor:
        """Boxes at times ``(R,)`` or ``(R, 1)``: ``(R, 2, 3)``; between two frames what encloses both their boxes."""
        coordinates = frame_coordinates(times.reshape(-1).to(self.frame_times), self.frame_times)
        nearest = coordinates.round()
        coordinates = torch.where((coordinates - nearest).abs() < SAME_FRAME, nearest, coordinates)
        before, after = self.frame_boxes[coordinates.floor().long()], self.frame_boxes[coordinates.ceil().long()]
        return torch.stack([torch.minimum(before[:, 0], after[:, 0]), torch.maximum(before[:, 1], after[:, 1])], dim=1)

    def set_nears_and_fars(self, ray_bundle: RayBundle) -> RayBundle:
        """Fills ``nears`` and ``fars`` ``(*batch, 1)`` of the bundle, whose rays carry times, and returns it."""
        if ray_bundle.times is None:
            raise ValueError("rays have no times; a model gives them its default time first")
        boxes = self.boxes_at(ray_bundle.times).reshape(*ray_bundle.origins.shape[:-1], 2, 3)
        ray_bundle.nears, ray_bundle.fars = intersect_box(
            ray_bundle.origins, ray_bundle.directions, torch.stack(boxes.unbind(-2))
        )
        return ray_bundle
