"""Flow that goes there and back, chained flow, and flow for images of another size, in closed form."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from nf_plugins.data.flow_consistency import (
    chain_flow,
    consistent_pixels,
    flows_agree,
    pixel_grid,
    resize_flow,
    returned_flow,
    sample_grid,
)


def constant_flow(x: float, y: float, height: int = 12, width: int = 16) -> np.ndarray:
    return np.tile(np.array([x, y], dtype=np.float32), (height, width, 1))


def test_the_published_examples():
    forward = np.array([[3.0, 4.0], [3.0, 4.0]])
    back = np.array([[-2.0, -4.0], [3.0, 0.0]])
    # Errors 1 against 0.5 (5 + 4.472) + 0.5 = 5.236, and 7.211 against 4.5.
    assert flows_agree(forward, back).tolist() == [True, False]


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_samples_are_exact_on_the_grid_and_zero_outside(kernel: Literal["bilinear", "bicubic"]):
    values = np.random.default_rng(0).standard_normal((9, 11, 3)).astype(np.float32)
    np.testing.assert_allclose(sample_grid(values, pixel_grid(9, 11), kernel), values, atol=1e-4)
    np.testing.assert_array_equal(sample_grid(values, np.array([[-5.0, 2.0], [14.0, 3.0]]), kernel), 0)


def test_bilinear_samples_are_exact_on_planes():
    inner = np.array([[3.25, 4.5], [6.75, 2.125]])
    np.testing.assert_allclose(sample_grid(pixel_grid(9, 11), inner, "bilinear"), inner, atol=1e-4)


def test_opposite_flows_agree_inside_and_what_leaves_the_image_does_not():
    valid = consistent_pixels(constant_flow(5, 0), constant_flow(-5, 0))
    assert valid[:, :10].all()
    assert not valid[:, 13:].any()
    # Back at the wrong place: the flow that returns is looked up where the flow leads, not where it starts.
    back = constant_flow(-5, 0)
    back[:, :8] = 5
    assert not consistent_pixels(constant_flow(2, 0), back)[:, :4].any()
    np.testing.assert_allclose(returned_flow(constant_flow(5, 0), pixel_grid(12, 16))[4, 3], [8, 4], atol=1e-4)


def test_flows_add_up_along_the_way_and_trust_is_lost_where_either_is_not_trusted():
    everywhere = np.ones((12, 16), dtype=bool)
    ramp = np.stack([0.1 * pixel_grid(12, 16)[..., 0], np.zeros((12, 16), np.float32)], axis=-1)
    first = constant_flow(2, 1)
    total, valid = chain_flow(first, everywhere, ramp, everywhere)
    # The second flow is read two pixels to the right.
    np.testing.assert_allclose(total[5, 6], [2 + 0.1 * 8, 1], atol=1e-4)
    assert not valid[:, 14:].any() and not valid[11].any() and valid[3:9, 3:11].all()
    untrusted = everywhere.copy()
    untrusted[:, 8] = False
    assert not chain_flow(first, everywhere, ramp, untrusted)[1][5, 6]
    assert not chain_flow(first, untrusted, ramp, everywhere)[1][5, 8]


def test_resizing_scales_vectors_along_each_axis():
    resized = resize_flow(constant_flow(3, 2, height=10, width=20), 5, 40)
    assert resized.shape == (5, 40, 2)
    np.testing.assert_allclose(resized[2, 7], [6, 1], atol=1e-5)
