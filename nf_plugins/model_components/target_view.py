"""The camera that an image-based method renders for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TargetView:
    """A pinhole camera at a time: OpenCV's axes, the centre of the first pixel is (0, 0), the world in scene units."""

    intrinsics: Tensor
    """``(3, 3)``, pixels."""
    world_to_camera: Tensor
    """``(3, 4)``."""
    size: tuple[int, int]
    """Height and width, pixels."""
    z_range: Tensor
    """Nearest and farthest depth along the camera's axis ``(2,)``."""
    time: float
    """In [0, 1]."""

    @property
    def center(self) -> Tensor:
        """Position ``(3,)``."""
        return -self.world_to_camera[:, :3].T @ self.world_to_camera[:, 3]
