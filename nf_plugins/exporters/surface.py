"""What a mesh exporter needs to know of a model."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class SurfaceAtTime(Protocol):
    """A coloured surface at one moment: the zero set of a signed distance, in scene units, without gradients.

    The caller feeds points in chunks that fit into memory, on the device of ``bounds``.
    """

    @property
    def bounds(self) -> Tensor:
        """Axis-aligned box (2, 3) of the lowest and the highest corner that holds the surface."""
        ...

    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance (N, 1) of points (N, 3): negative inside, approximately of unit gradient."""
        ...

    def color(self, points: Tensor) -> Tensor:
        """Colour (N, 3) in [0, 1] of points (N, 3) on the surface."""
        ...
