"""Asking about places on some of many rays, in chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.signed_distance_on_rays import SignedDistanceOnRays


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_values_belong_to_their_ray_and_place_whatever_the_chunks(chunk_size: int) -> None:
    sizes: list[int] = []

    def plane(points: Tensor) -> Tensor:
        sizes.append(len(points))
        return points @ torch.tensor([[1.0], [10.0], [100.0]])

    origins, directions = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    distances = SignedDistanceOnRays(plane, origins, directions, chunk_size)
    rays, places = torch.tensor([4, 0, 5]), torch.rand(3, 5, generator=torch.Generator().manual_seed(1))
    expected = (origins[rays, None] + places[..., None] * directions[rays, None]) @ torch.tensor([1.0, 10.0, 100.0])
    torch.testing.assert_close(distances.values(rays, places), expected)
    torch.testing.assert_close(distances.values(rays, places[:, 2]), expected[:, 2])
    assert distances.num_evaluations == sum(sizes) == 18
    # At least one ray is asked about at a time, with all its places.
    assert max(sizes) == (15 if chunk_size == 1000 else 5)


def test_nothing_is_asked_about_no_places() -> None:
    def never(points: Tensor) -> Tensor:
        raise AssertionError("asked")

    distances = SignedDistanceOnRays(never, torch.zeros(2, 3), torch.ones(2, 3))
    nothing = torch.empty(0, dtype=torch.long)
    assert distances.values(nothing, torch.empty(0, 4)).shape == (0, 4)
    assert distances.values(nothing, torch.empty(0)).shape == (0,) and distances.num_evaluations == 0
