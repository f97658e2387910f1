"""The relative error of signed distances in closed form."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.model_components.percentage_loss import absolute_percentage_loss


def test_closed_form_and_the_weight_of_the_surface() -> None:
    predicted, truth = torch.tensor([0.01, 0.6, -0.3]), torch.tensor([0.0, 0.5, -0.5])
    expected = (0.01 / 0.01 + 0.1 / 0.51 + 0.2 / 0.51) / 3
    assert float(absolute_percentage_loss(predicted, truth)) == pytest.approx(expected)
    zero, one = torch.zeros(1), torch.ones(1)
    on_surface, far = absolute_percentage_loss(zero + 0.1, zero), absolute_percentage_loss(one + 0.1, one)
    assert float(on_surface / far) == pytest.approx(101)
    assert float(absolute_percentage_loss(truth, truth)) == 0
    assert float(absolute_percentage_loss(zero + 0.1, zero, offset=0.1)) == pytest.approx(1)
