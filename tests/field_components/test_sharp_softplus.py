"""The fast softplus is torch's, with its derivatives."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.field_components.sharp_softplus import sharp_softplus

BETA = 100.0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-7), (torch.float64, 1e-15)])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_equals_torchs(dtype: torch.dtype, tolerance: float, with_gradient: bool) -> None:
    inputs = torch.cat([torch.linspace(-1, 1, 4001), torch.tensor([0.0, -30.0, 30.0, 1e-6])]).to(dtype)
    inputs.requires_grad_(with_gradient)
    exact = (torch.logaddexp(BETA * inputs.detach().double(), torch.zeros(()).double()) / BETA).to(dtype)
    result = sharp_softplus(inputs, BETA)
    assert result.requires_grad == with_gradient
    torch.testing.assert_close(result.detach(), exact, atol=tolerance, rtol=1e-6)


def test_first_and_second_derivatives() -> None:
    inputs = (0.05 * torch.randn(12, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sharp_softplus(x, BETA), inputs)
    assert torch.autograd.gradgradcheck(lambda x: sharp_softplus(x, BETA), inputs)


def test_does_not_change_its_input() -> None:
    inputs = torch.randn(10)
    copy = inputs.clone()
    sharp_softplus(inputs, BETA)
    assert torch.equal(inputs, copy)
