"""Samples along the occupied parts of rays."""

from __future__ import annotations

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import Sampler
from torch import Tensor


def place_samples(occupied: Tensor, near: Tensor, far: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Spreads samples evenly over the occupied segments of each ray.

    The ray is cut into N equal segments; its occupied ones are laid end to end, divided into S bins of equal length,
    and each bin holds one sample. Distances increase along the ray.

    Args:
        occupied: Which segments are occupied, bool ``(R, N)``; at least one in every ray.
        near: Start of the first segment ``(R, 1)``.
        far: End of the last segment ``(R, 1)``.
        offsets: Position of each sample within its bin, in [0, 1), ``(R, S)``.

    Returns:
        Distances ``(R, S)`` and the occupied length of each ray's bins ``(R, 1)``, in the unit of ``near``.
    """
    num_segments, num_samples = occupied.shape[1], offsets.shape[1]
    segment_length = (far - near) / num_segments
    passed = occupied.cumsum(1).to(near.dtype)
    bin_length = passed[:, -1:] / num_samples
    bins = torch.arange(num_samples, device=near.device)
    position = ((bins + offsets) * bin_length).minimum(passed[:, -1:] * (1 - 1e-6))
    segment = torch.searchsorted(passed, position.contiguous(), right=True).clamp(max=num_segments - 1)
    within = position - (passed.gather(1, segment) - 1)
    return near + (segment + within) * segment_length, bin_length * segment_length


class OccupiedSampler(Sampler):
    """A fixed number of samples per ray, stratified over its occupied length.

    Training places each sample at random within its bin; evaluation in the middle.

    Args:
        num_samples: Samples per ray.
    """

    def generate_ray_samples(
        self, ray_bundle: RayBundle | None = None, occupied: Tensor | None = None, num_samples: int | None = None
    ) -> RaySamples:
        """Samples rays whose ``nears`` and ``fars`` are set.

        Args:
            ray_bundle: R rays.
            occupied: Occupied segments between near and far, bool ``(R, N)``; at least one in every ray.
            num_samples: Overrides the sampler's number.

        Returns:
            Ray samples ``(R, S)``. ``deltas`` is the occupied length that a sample stands for; ``starts`` and ``ends``
            lie half of it around the sample, whose position is therefore exact.
        """
        assert ray_bundle is not None and occupied is not None
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        count = num_samples or self.num_samples
        assert count is not None
        shape = (len(ray_bundle.nears), count)
        device = ray_bundle.nears.device
        offsets = torch.rand(shape, device=device) if self.training else torch.full(shape, 0.5, device=device)
        distances, bin_length = place_samples(occupied, ray_bundle.nears, ray_bundle.fars, offsets)
        half = (bin_length / 2).expand_as(distances)
        return ray_bundle.get_ray_samples((distances - half)[..., None], (distances + half)[..., None])
