"""Asking a signed distance about places on some of many rays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SignedDistance = Callable[[Tensor], Tensor]
"""Points ``(K, 3)`` to signed distances ``(K,)``."""


class SignedDistanceOnRays:
    """A signed distance as a function of the distance along rays; counts the points that it was asked about.

    Args:
        signed_distance: Points ``(K, 3)`` to signed distances, ``(K,)`` or ``(K, 1)``.
        origins: ``(N, 3)``.
        directions: ``(N, 3)``.
        chunk_size: Points to ask about at a time, which bounds the memory.
    """

    def __init__(
        self, signed_distance: SignedDistance, origins: Tensor, directions: Tensor, chunk_size: int = 1 << 17
    ) -> None:
        self.signed_distance = signed_distance
        self.origins = origins
        self.directions = directions
        self.chunk_size = chunk_size
        self.num_evaluations = 0

    def values(self, rays: Tensor, places: Tensor) -> Tensor:
        """Signed distances on the rays with indices ``(K,)`` at distances ``(K,)`` or ``(K, S)``, in that shape.

        In the precision of the rays; nothing is asked about no places.
        """
        if not len(rays):
            return torch.zeros_like(places)
        self.num_evaluations += places.numel()
        rays_per_chunk = max(1, self.chunk_size // places[0].numel())
        chunks = zip(rays.split(rays_per_chunk), places.split(rays_per_chunk), strict=True)
        return torch.cat([self._chunk_values(*chunk) for chunk in chunks])

    def _chunk_values(self, rays: Tensor, places: Tensor) -> Tensor:
        shape = (len(rays), *[1] * (places.ndim - 1), 3)
        points = self.origins[rays].view(shape) + places[..., None] * self.directions[rays].view(shape)
        return self.signed_distance(points.reshape(-1, 3)).reshape(places.shape).to(places.dtype)
