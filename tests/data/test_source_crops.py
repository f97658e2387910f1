"""Crops on a canvas, and the lens that goes with them."""

from __future__ import annotations

import torch

from nf_plugins.data.source_crops import canvas_size, crop_rectangle, place, shifted_intrinsics


def test_rectangle_of_a_mask() -> None:
    mask = torch.zeros(9, 12)
    mask[2, 5], mask[6, 3] = 0.1, 1.0
    assert crop_rectangle(mask) == (2, 3, 5, 3)
    assert crop_rectangle(torch.zeros(9, 12)) == (0, 0, 9, 12), "nothing masked: the whole image"
    assert crop_rectangle(torch.ones(9, 12)) == (0, 0, 9, 12)


def test_canvas_is_the_next_multiple_of_eight_above() -> None:
    assert canvas_size([7, 3], [8, 17]) == (8, 24)
    assert canvas_size([16], [15]) == (24, 16)


def test_a_point_stays_on_its_pixel() -> None:
    image = torch.arange(9 * 12 * 3, dtype=torch.uint8).reshape(9, 12, 3)
    rectangle = (2, 3, 5, 7)
    fill = torch.tensor([9, 8, 7], dtype=torch.uint8)
    pixels, shift = place(image[2:7, 3:10], rectangle, (16, 24), fill)
    assert pixels.shape == (16, 24, 3) and pixels.dtype == torch.uint8
    assert pixels[0, 0].tolist() == [9, 8, 7] and pixels[-1, -1].tolist() == [9, 8, 7]
    for row in range(2, 7):
        for column in range(3, 10):
            assert torch.equal(pixels[row + shift[1], column + shift[0]], image[row, column])
    intrinsics = torch.tensor([[30.0, 0, 5.2], [0, 31.0, 4.1], [0, 0, 1]])
    point = torch.tensor([0.1, -0.2, 2.0])
    before, after = (matrix @ point / point[2] for matrix in (intrinsics, shifted_intrinsics(intrinsics, shift)))
    assert torch.allclose(after[:2] - before[:2], torch.tensor(shift, dtype=torch.float32), atol=1e-5)
    assert intrinsics[0, 2] == 5.2, "the lens of the image itself is not changed"
