"""Rays and the box of their frame."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nf_plugins.model_components.frame_box_collider import FrameBoxCollider

BOXES = torch.tensor([[[-1.0, -1, -1], [0, 1, 1]], [[0.0, -1, -1], [1, 1, 1]], [[1.0, -1, -1], [2, 1, 1]]])
TIMES = torch.tensor([0.0, 0.5, 1.0])


def rays_along_z(columns: list[float], times: Tensor | None) -> RayBundle:
    origins = torch.tensor([[column, 0.0, -3.0] for column in columns])
    return RayBundle(
        origins=origins,
        directions=torch.tensor([0.0, 0, 1]).expand_as(origins),
        pixel_area=torch.ones(len(origins), 1),
        times=times,
    )


def test_a_ray_meets_the_box_of_its_own_frame() -> None:
    times = torch.tensor([[0.0], [0.5], [1.0], [0.0]])
    bundle = FrameBoxCollider(BOXES, TIMES)(rays_along_z([-0.5, 0.5, 1.5, 1.5], times))
    assert bundle.nears is not None and bundle.fars is not None
    assert (bundle.fars - bundle.nears)[:, 0].tolist() == pytest.approx([2, 2, 2, 0])
    assert bundle.nears[:3, 0].tolist() == pytest.approx([2, 2, 2])


def test_between_frames_both_boxes_are_enclosed() -> None:
    collider = FrameBoxCollider(BOXES, TIMES, margin=0.1)
    boxes = collider.boxes_at(torch.tensor([0.25, 0.5 + 1e-5, 1.0, 2.0]))
    assert boxes[0].flatten().tolist() == pytest.approx([-1.1, -1.1, -1.1, 1.1, 1.1, 1.1])
    assert boxes[1, :, 0].tolist() == pytest.approx([-0.1, 1.1]), "as good as a frame's own time"
    assert boxes[2, :, 0].tolist() == boxes[3, :, 0].tolist() == pytest.approx([0.9, 2.1])


def test_bundles_of_any_shape_and_one_frame() -> None:
    collider = FrameBoxCollider(BOXES[:1], TIMES[:1])
    flat = rays_along_z([-0.5, 0.5], torch.zeros(2, 1))
    image = RayBundle(
        origins=flat.origins[None], directions=flat.directions[None], pixel_area=flat.pixel_area[None],
        times=torch.zeros(1, 2, 1),
    )  # fmt: skip
    bundle = collider(image)
    assert bundle.nears.shape == (1, 2, 1)
    assert (bundle.fars - bundle.nears)[0, :, 0].tolist() == pytest.approx([2, 0])


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="frame_boxes"):
        FrameBoxCollider(BOXES[:2], TIMES)
    with pytest.raises(ValueError, match="no times"):
        FrameBoxCollider(BOXES, TIMES)(rays_along_z([0.0], None))
    assert not FrameBoxCollider(BOXES, TIMES).state_dict(), "a checkpoint fits another scene"
