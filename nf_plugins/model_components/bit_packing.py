"""Booleans as bits, eight to a byte."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 8


def pack_bits(values: Tensor) -> Tensor:
    """Bits of booleans, in the order of ``numpy.packbits``: the first is the highest bit of the first byte.

    Args:
        values: bool ``(*batch, N)``.

    Returns:
        uint8 ``(*batch, ceil(N / 8))``; bits beyond the last value are 0.
    """
    missing = -values.shape[-1] % BITS
    bits = torch.nn.functional.pad(values.to(torch.uint8), (0, missing)).unflatten(-1, (-1, BITS))
    return (bits << _shifts(values.device)).sum(-1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """The first ``count`` booleans of bytes ``(*batch, B)``: ``(*batch, count)``."""
    if packed.shape[-1] * BITS < count:
        raise ValueError(f"{packed.shape[-1]} bytes hold no {count} bits")
    bits = (packed[..., None] >> _shifts(packed.device)) & 1
    return bits.flatten(-2)[..., :count].bool()


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(BITS - 1, -1, -1, dtype=torch.uint8, device=device)
