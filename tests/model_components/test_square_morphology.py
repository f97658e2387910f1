"""Masks widened and narrowed."""

from __future__ import annotations

import torch

from nf_plugins.model_components.square_morphology import narrowed, widened


def test_a_square_grows_and_shrinks_by_half_a_side_but_not_at_the_border() -> None:
    mask = torch.zeros(9, 11, 1, dtype=torch.bool)
    mask[3:9, 4:8] = True  # reaches the lower border
    wide, narrow = widened(mask, 3)[..., 0], narrowed(mask, 3)[..., 0]
    expected = torch.zeros(9, 11, dtype=torch.bool)
    expected[2:9, 3:9] = True
    assert torch.equal(wide, expected)
    expected[:] = False
    expected[4:9, 5:7] = True
    assert torch.equal(narrow, expected)
    assert torch.equal(widened(mask, 1), mask) and torch.equal(narrowed(mask, 0), mask)
    assert torch.equal(widened(mask, 2), widened(mask, 3))
