"""Culling by silhouettes: what any view refuses goes, what no view sees stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.evaluation.mask_culling import allowed_by_masks, cull_by_masks, dilate_mask, dilation_radius

SIZE = 32


def camera_along_z(count: int = 1) -> Cameras:
    """Cameras at z = 3 that look along -z: x in the scene goes right, one scene unit is 10 pixels at z = 0."""
    pose = torch.eye(4)[:3].repeat(count, 1, 1)
    pose[:, 2, 3] = 3.0
    return Cameras(pose, fx=30.0, fy=30.0, cx=SIZE / 2, cy=SIZE / 2, width=SIZE, height=SIZE)


def square_mask(first: int, last: int) -> Tensor:
    mask = torch.zeros(SIZE, SIZE, 1)
    mask[first:last, first:last] = 1.0
    return mask


def test_a_mask_is_widened_by_a_disc() -> None:
    mask = torch.zeros(21, 21, dtype=torch.bool)
    mask[10, 10] = True
    rows, columns = torch.meshgrid(torch.arange(21) - 10, torch.arange(21) - 10, indexing="ij")
    assert torch.equal(dilate_mask(mask, 4.0), rows.square() + columns.square() <= 16)
    assert torch.equal(dilate_mask(mask, 0.0), mask)
    assert dilation_radius(1600) == 50.0 and dilation_radius(400) == 12.5


def test_points_beside_the_mask_are_refused_and_those_that_no_view_sees_are_not() -> None:
    # The mask covers pixels 11 to 20: x and y in the scene from -0.5 to 0.5 at z = 0.
    points = torch.tensor(
        [[0.0, 0, 0], [0.45, -0.45, 0], [0.55, 0, 0], [0, 0.55, 0], [1.2, 0, 1.0], [30.0, 0, 0], [0.9, 0, 5.0]]
    )
    masks = [square_mask(11, 21)]
    allowed = allowed_by_masks(points, camera_along_z(), masks, dilation_pixels=0.0)
    assert allowed.tolist() == [True, True, False, False, True, True, True]
    # Two pixels of this image are 100 of one that is 1600 pixels wide.
    assert allowed_by_masks(points, camera_along_z(), masks, dilation_pixels=100.0).tolist()[2:4] == [True, True]


def test_rows_count_downwards() -> None:
    mask = torch.zeros(SIZE, SIZE, 1)
    mask[: SIZE // 2] = 1.0  # the upper half of the picture
    points = torch.tensor([[0.0, 0.3, 0.0], [0.0, -0.3, 0.0]])
    assert allowed_by_masks(points, camera_along_z(), [mask], 0.0).tolist() == [True, False]


def test_one_view_that_refuses_is_enough() -> None:
    masks = [square_mask(0, SIZE), square_mask(11, 21)]
    point = torch.tensor([[1.0, 0.0, 0.0]])
    assert not allowed_by_masks(point, camera_along_z(2), masks, 0.0)[0]


def test_culling_keeps_colours_and_leaves_the_mesh_as_it_was() -> None:
    inside, outside = trimesh.creation.box((0.4, 0.4, 0.4)), trimesh.creation.box((0.2, 0.2, 0.2))
    outside.apply_translation((1.2, 0.0, 0.0))
    mesh = trimesh.util.concatenate([inside, outside])
    colors = np.random.default_rng(0).integers(0, 255, (len(mesh.vertices), 4), dtype=np.uint8)
    mesh.visual.vertex_colors = colors
    rest = cull_by_masks(mesh, camera_along_z(), [square_mask(8, 24)], dilation_pixels=0.0)
    assert len(mesh.faces) == 24 and len(rest.faces) == 12
    assert rest.is_watertight and rest.volume == pytest.approx(0.4**3)
    assert np.array_equal(np.asarray(rest.visual.vertex_colors), colors[:8])


def test_nothing_allowed_gives_an_empty_mesh_and_an_empty_mask_is_named() -> None:
    box = trimesh.creation.box((0.2, 0.2, 0.2)).apply_translation((1.2, 0.0, 0.0))
    assert len(cull_by_masks(box, camera_along_z(), [square_mask(11, 21)], 0.0).faces) == 0
    with pytest.raises(InputError, match="mask of view 0 has no foreground"):
        cull_by_masks(box, camera_along_z(), [torch.zeros(SIZE, SIZE, 1)])
