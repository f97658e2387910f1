"""Octaves against sines and cosines by hand."""

from __future__ import annotations

import math

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.octave_encoding import OctaveEncoding, octave_frequencies


def test_the_encoding_of_idr_has_the_raw_point_first_and_no_pi() -> None:
    encoded = OctaveEncoding(3, num_frequencies=6)(torch.tensor([0.1, 0.2, 0.3]))
    assert encoded.shape == (39,)
    torch.testing.assert_close(encoded[:3], torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(encoded[3:6], torch.tensor([0.0998, 0.1987, 0.2955]), rtol=0, atol=5e-5)
    expected = [0.1, 0.2, 0.3]
    for octave in range(6):
        for function in (math.sin, math.cos):
            expected += [function(2**octave * x) for x in (0.1, 0.2, 0.3)]
    torch.testing.assert_close(encoded, torch.tensor(expected))


def test_bands_can_be_spread_over_another_range_of_octaves() -> None:
    torch.testing.assert_close(octave_frequencies(4), torch.tensor([1.0, 2.0, 4.0, 8.0]))
    frequencies = octave_frequencies(16, 5.0)
    assert frequencies[0] == 1 and frequencies[-1] == 32
    torch.testing.assert_close(frequencies[1:] / frequencies[:-1], torch.full((15,), 2 ** (1 / 3)))
    assert OctaveEncoding(3, 16, 5.0)(torch.rand(2, 7, 3)).shape == (2, 7, 99)


def test_without_bands_only_the_point_is_left() -> None:
    points = torch.rand(2, 5, 3)
    assert torch.equal(OctaveEncoding(3, 0)(points), points)
    with pytest.raises(InputError, match="num-frequencies is -1"):
        OctaveEncoding(3, -1)


def test_second_derivatives() -> None:
    points = torch.rand(3, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(OctaveEncoding(3, 3).double(), points)
