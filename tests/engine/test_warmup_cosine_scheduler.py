"""The learning rate of Im4D."""

import pytest
import torch

from nf_plugins.engine.schedulers import WarmupCosineSchedulerConfig
from nf_plugins.errors import InputError


def factor(step: int, **options: int) -> float:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    value = WarmupCosineSchedulerConfig(**options).setup().get_scheduler(optimizer, 1.0).lr_lambdas[0](step)
    assert type(value) is float
    return value


def test_published_factors() -> None:
    published = {0: 0, 64: 0.5, 128: 1, 5000: 0.995938, 60_000: 0.501623, 120_000: 2.5e-6}
    for step, value in published.items():
        assert factor(step) == pytest.approx(value, abs=6e-7), step
    assert factor(200_000) == pytest.approx(2.5e-6, abs=6e-7), "constant afterwards"


def test_a_rise_longer_than_the_run() -> None:
    with pytest.raises(InputError, match="warmup_steps 128"):
        factor(0, max_steps=100)
