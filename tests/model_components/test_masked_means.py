"""Means under masks: by hand, empty masks, gradients of the mask."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.model_components.masked_means import masked_mean_absolute_error, masked_mean_squared_error

PREDICTED = torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.5, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([[0.1, 0.4, 0.9], [0.0, 1.0, 0.5]], dtype=torch.float64)
MASK = torch.tensor([0.5, 0.25], dtype=torch.float64)


def test_by_hand() -> None:
    assert float(masked_mean_squared_error(PREDICTED, TARGET, MASK)) == pytest.approx(0.077778, abs=5e-7)
    assert float(masked_mean_absolute_error(PREDICTED, TARGET, MASK)) == pytest.approx(0.2, abs=5e-8)


def test_the_size_of_the_mask_does_not_count() -> None:
    whole = masked_mean_squared_error(PREDICTED, TARGET, torch.ones(2))
    torch.testing.assert_close(whole, ((PREDICTED - TARGET) ** 2).mean(), rtol=1e-7, atol=0)
    torch.testing.assert_close(
        masked_mean_squared_error(PREDICTED, TARGET, torch.full((2,), 0.01)), whole, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("mask", [torch.zeros(2), torch.zeros(2, dtype=torch.bool)])
def test_an_empty_mask_gives_zero(mask: torch.Tensor) -> None:
    assert float(masked_mean_squared_error(PREDICTED, TARGET, mask)) == 0
    assert float(masked_mean_absolute_error(PREDICTED, TARGET, mask)) == 0


def test_gradients_agree_with_differences_and_reach_the_mask() -> None:
    predicted, mask = PREDICTED.clone().requires_grad_(), MASK.clone().requires_grad_()
    for mean in (masked_mean_squared_error, masked_mean_absolute_error):
        assert torch.autograd.gradcheck(lambda p, m, mean=mean: mean(p, TARGET + 0.01, m), (predicted, mask))
