"""Optical flow of scene flow: the camera's motion for what stands, the scene's on top for what moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from nf_plugins.model_components.ndc import NDCFrame, ndc_from_world, project
from nf_plugins.models.projected_flow import optical_flow_of

FRAME = NDCFrame(height=8, width=12, focal=10.0)
INTRINSICS = torch.tensor([10.0, 10.0, 6.0, 4.0])
POSES = torch.eye(4)[:3].repeat(2, 1, 1)
POSES[1, 0, 3] = 0.3  # the camera of the other frame stands 0.3 to the right


def reference(points: torch.Tensor, moved: torch.Tensor, dynamic: torch.Tensor) -> Any:
    """Rays that end at one world point each; ``dynamic`` is the share of the dynamic field."""
    ndc, ndc_moved = (ndc_from_world(where, FRAME)[:, None] for where in (points, moved))
    share = dynamic[:, None]
    return SimpleNamespace(
        samples=SimpleNamespace(points=ndc),
        dynamic=SimpleNamespace(flow_forward=ndc_moved - ndc, flow_backward=ndc - ndc_moved),
        blended=SimpleNamespace(weights=SimpleNamespace(dynamic=0.8 * share, static=0.8 * (1 - share))),
    )


def test_it_is_the_difference_of_projections() -> None:
    points = torch.tensor([[0.4, -0.2, -3.0], [-0.5, 0.1, -2.0]])
    moved = points + torch.tensor([[0.1, 0.2, -0.3], [0.4, 0.4, 0.1]])
    flow = optical_flow_of(reference(points, moved, torch.tensor([1.0, 0.0])), 1, FRAME, POSES, INTRINSICS)
    before = project(points, POSES[0], INTRINSICS)
    ends = project(torch.stack([moved[0], points[1]]), POSES[1], INTRINSICS)
    torch.testing.assert_close(flow, ends - before, atol=1e-4, rtol=1e-4)


def test_it_is_zero_for_a_camera_and_a_scene_that_stand() -> None:
    points = torch.tensor([[0.4, -0.2, -3.0]])
    still = optical_flow_of(reference(points, points, torch.tensor([0.5])), -1, FRAME, POSES[[0, 0]], INTRINSICS)
    torch.testing.assert_close(still, torch.zeros(1, 2), atol=1e-5, rtol=0)
