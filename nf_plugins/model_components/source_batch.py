"""The images that a target's colours are blended from, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SourceBatch:
    """Source images of G targets, S each, on one canvas.

    Cameras are OpenCV's (x right, y down, z forward), the centre of the first pixel is (0, 0), the world is in scene
    units.
    """

    images: Tensor
    """Colours ``(G, S, 3, h, w)`` in [0, 1], laid on the background, cropped and padded."""
    masks: Tensor
    """``(G, S, 1, h, w)``: 1 inside the image and its foreground; ones inside the image where there are no masks."""
    intrinsics: Tensor
    """Of the crops ``(G, S, 3, 3)``."""
    world_to_cameras: Tensor
    """``(G, S, 3, 4)``."""
    ids: tuple[tuple[int, ...], ...]
    """Which images these are, by target, for caches."""

    @property
    def centers(self) -> Tensor:
        """Positions of the cameras ``(G, S, 3)``."""
        rotation, translation = self.world_to_cameras[..., :3], self.world_to_cameras[..., 3:]
        return -(rotation.transpose(-1, -2) @ translation)[..., 0]

    def to(self, device: torch.device | str) -> SourceBatch:
        """The same on a device."""
        return SourceBatch(
            self.images.to(device), self.masks.to(device), self.intrinsics.to(device),
            self.world_to_cameras.to(device), self.ids,
        )  # fmt: skip

    def group(self, index: int) -> SourceBatch:
        """The sources of one target, G = 1."""
        one = slice(index, index + 1)
        return SourceBatch(
            self.images[one], self.masks[one], self.intrinsics[one], self.world_to_cameras[one], self.ids[one]
        )
