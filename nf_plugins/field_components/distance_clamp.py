"""The bounded signed distance of the HashMod reference: an option, for comparison with runs of the original."""

from __future__ import annotations

import torch
from torch import Tensor

CLAMP_BETA = 0.9 + 1e-4
"""Width of the Laplace density; constant, because no gradient ever reached it."""


def laplace_tanh_clamp(signed_distance: Tensor) -> Tensor:
    """``tanh(s / (2 + rho(s)))`` with the Laplace density ``rho`` of VolSDF, taken without its gradient.

    Keeps sign and zero set; the slope at the surface is 0.391, so the network inside has to be 2.6 times as steep, and
    sphere tracing takes shorter steps.

    Args:
        signed_distance: ``(*batch, 1)``, scene units.
    """
    with torch.no_grad():
        tail = 0.5 * torch.sign(signed_distance) * torch.expm1(-signed_distance.abs() / CLAMP_BETA)
        density = (0.5 + tail) / CLAMP_BETA
    return torch.tanh(signed_distance / (2 + density))
