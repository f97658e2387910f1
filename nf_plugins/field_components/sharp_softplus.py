"""Softplus with a large beta, the activation of signed-distance networks, fast on CPUs too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SOFTPLUS_BETA = 100.0
"""Of all signed-distance networks (Yariv et al., IDR, NeurIPS 2020)."""


def sharp_softplus(inputs: Tensor, beta: float) -> Tensor:
    """``log(1 + exp(beta x)) / beta``, with as many derivatives as are asked for.

    On a CPU torch's own takes about three times as long as the matrix product before it; an exponential and a
    logarithm take a third of that. ``scripts/bench/softplus.py`` measures it. Elsewhere torch's is used.

    Args:
        inputs: ``(*batch)``, float32 or float64.
        beta: Sharpness; from about 10 on the result is as accurate as torch's.
    """
    if inputs.device.type != "cpu":
        return torch.nn.functional.softplus(inputs, beta=beta)
    if not (torch.is_grad_enabled() and inputs.requires_grad):
        return _softplus(inputs, beta)
    return _SharpSoftplus.apply(inputs, beta)  # type: ignore[return-value]


def _softplus(inputs: Tensor, beta: float) -> Tensor:
    # log1p takes four times as long as log; what log loses, about 1e-7 / beta, is below the last digit of the sum.
    tail = inputs.abs().mul_(-beta).exp_().add_(1).log_().mul_(1 / beta)
    return tail.add_(inputs.clamp(min=0))


class _SharpSoftplus(torch.autograd.Function):
    """The backward pass is made of differentiable operations, so higher derivatives follow."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, beta: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(inputs)
        ctx.beta = beta
        return _softplus(inputs, beta)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (inputs,) = ctx.saved_tensors
        return gradient * torch.sigmoid(ctx.beta * inputs), None
