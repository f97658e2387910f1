"""Bits of booleans."""

import numpy as np
import pytest
import torch

from nf_plugins.model_components.bit_packing import pack_bits, unpack_bits


@pytest.mark.parametrize("count", [1, 7, 8, 9, 27, 64])
def test_bits_are_those_of_numpy_and_come_back(count: int) -> None:
    values = torch.rand(3, count, generator=torch.Generator().manual_seed(count)) < 0.4
    packed = pack_bits(values)
    assert packed.dtype == torch.uint8
    assert np.array_equal(packed.numpy(), np.packbits(values.numpy(), axis=-1))
    assert torch.equal(unpack_bits(packed, count), values)


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes hold no 9 bits"):
        unpack_bits(torch.zeros(1, dtype=torch.uint8), 9)
