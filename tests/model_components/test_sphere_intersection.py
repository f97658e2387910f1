"""Where rays cross the bounding sphere."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.data.synthetic.analytic_shapes import pinhole_rays
from nf_plugins.model_components.sphere_intersection import intersect_sphere


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rays_of_a_camera_that_cross_the_unit_sphere(dtype: torch.dtype) -> None:
    """The cone of tangents covers u^2 + v^2 < 800 pixels; 12 pixels lie on it exactly and fall to either side."""
    pixels = torch.arange(-32, 32).square()
    squared = (pixels[:, None] + pixels).flatten()
    origins, directions = pinhole_rays(64, 80.0, 3.0)
    near, far, hits = intersect_sphere(origins.to(dtype), directions.to(dtype))
    assert int((squared < 800).sum()) == 2509 and int((squared == 800).sum()) == 12
    assert torch.equal(hits[squared != 800], (squared < 800)[squared != 800])
    clearly = squared < 780
    for distance in (near, far):
        points = (origins + distance.double()[:, None] * directions)[clearly]
        torch.testing.assert_close(points.norm(dim=-1), torch.ones(len(points)).double(), atol=1e-5, rtol=0)
    assert (near < far)[clearly].all() and (near[~hits] == 0).all() and (far[~hits] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_counts_tangents_as_crossing(dtype: torch.dtype) -> None:
    """Where the whole computation is in one precision, all 12 tangents come out with a positive discriminant."""
    pixels = (torch.arange(64, dtype=dtype) - 32) / 80
    y, x = torch.meshgrid(pixels, pixels, indexing="ij")
    directions = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1), dim=-1)
    _, _, hits = intersect_sphere(torch.tensor([0.0, 0.0, -3.0], dtype=dtype).expand_as(directions), directions)
    assert hits.shape == (64, 64) and int(hits.sum()) == 2509 + 12


def test_origins_inside_and_spheres_behind() -> None:
    origins = torch.tensor([[0.5, 0.0, 0.0], [-3.0, 0, 0], [3.0, 0, 0], [0.0, 2.5, 0.0]])
    directions = torch.tensor([[1.0, 0, 0]] * 4)
    near, far, hits = intersect_sphere(origins, directions, radius=2.0)
    assert hits.tolist() == [True, True, False, False]
    assert near.tolist() == [0, 1, 0, 0] and far.tolist() == [1.5, 5, 0, 0]
