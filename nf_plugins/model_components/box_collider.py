"""Where rays cross the scene box."""

from __future__ import annotations

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.scene_colliders import SceneCollider
from torch import Tensor

SMALLEST_DIRECTION = 1e-9


def intersect_box(origins: Tensor, directions: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Slab test with signed distances.

    Args:
        origins: Ray origins ``(*batch, 3)``; may lie inside the box.
        directions: Unit directions ``(*batch, 3)``; components may be zero.
        box: Lower and upper corner ``(2, 3)``.

    Returns:
        Near and far distance ``(*batch, 1)``, both at least 0; equal where the ray misses the box or leaves it behind.
    """
    tiny = torch.where(directions < 0, -SMALLEST_DIRECTION, SMALLEST_DIRECTION)
    inverse = 1.0 / torch.where(directions.abs() < SMALLEST_DIRECTION, tiny, directions)
    first, second = (box[0] - origins) * inverse, (box[1] - origins) * inverse
    near = torch.minimum(first, second).amax(-1, keepdim=True).clamp(min=0)
    far = torch.maximum(first, second).amin(-1, keepdim=True).clamp(min=0)
    return near, torch.maximum(near, far)


class BoxCollider(SceneCollider):
    """Sets each ray's near and far distance to its crossing of a box; both are equal for rays that miss it.

    Args:
        box: Lower and upper corner ``(2, 3)``, scene units.
        margin: The box is enlarged by this on every side.
    """

    box: Tensor

    def __init__(self, box: Tensor, margin: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("box", torch.stack([box[0] - margin, box[1] + margin]), persistent=False)

    def set_nears_and_fars(self, ray_bundle: RayBundle) -> RayBundle:
        """Fills ``nears`` and ``fars`` ``(*batch, 1)`` of the bundle and returns it."""
        ray_bundle.nears, ray_bundle.fars = intersect_box(ray_bundle.origins, ray_bundle.directions, self.box)
        return ray_bundle
