from __future__ import annotations

import numpy as np

from nf_plugins.data.colour_correction import IDENTITY, correct_colours, undo_correction

ROWS = np.array([[-0.0004, 1.1, 3.0], [0.0003, 0.9, -2.0], [0.001, 0.7, 5.0]])


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_every_channel_has_its_own_quadratic() -> None:
    image = picture()
    corrected = correct_colours(image, ROWS)
    for channel, (a, b, c) in enumerate(ROWS):
        values = image[..., channel].astype(np.float64)
        expected = np.clip(a * values**2 + b * values + c, 0, 255).round()
        np.testing.assert_array_equal(corrected[..., channel], expected)
    np.testing.assert_array_equal(correct_colours(image, IDENTITY), image)
    # A swapped order gives a plausible picture with a tint, so it is asked for: the first row is red.
    red = np.zeros((1, 1, 3), dtype=np.uint8)
    assert correct_colours(red, np.array([[0, 1, 9.0], [0, 1, 0], [0, 1, 0]]))[0, 0].tolist() == [9, 0, 0]


def test_colours_beyond_the_range_are_clipped_or_stretched() -> None:
    image = np.array([[[0, 0, 0], [120, 120, 120], [200, 200, 200]]], dtype=np.uint8)
    brighter = np.array([[0, 2.0, 10.0]] * 3)
    assert correct_colours(image, brighter)[0, :, 0].tolist() == [10, 250, 255]
    # 10, 250, 410 stretched from their own range.
    assert correct_colours(image, brighter, "range")[0, :, 0].tolist() == [0, 153, 255]
    grey = np.full((2, 2, 3), 7, dtype=np.uint8)
    assert not correct_colours(grey, brighter, "range").any()


def test_undoing_it_gives_the_image_back() -> None:
    image = picture() // 2 + 30
    np.testing.assert_allclose(correct_colours(undo_correction(image, ROWS), ROWS).astype(int), image, atol=1)
