"""Learning-rate schedules."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch

from nf_plugins.engine.schedulers import CosineToFinalSchedulerConfig
from nf_plugins.errors import InputError


def rates(config: Any, steps: int, lr_init: float = 1e-2) -> tuple[list[float], Any, torch.optim.Optimizer]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))], lr=lr_init)
    scheduler = config.setup().get_scheduler(optimizer, lr_init)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values, scheduler, optimizer


def test_cosine_takes_its_known_values() -> None:
    values, _, _ = rates(CosineToFinalSchedulerConfig(lr_final=1e-3, max_steps=100), 150)
    assert values[0] == pytest.approx(1e-2)
    assert values[25] == pytest.approx(1e-3 + 9e-3 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert values[50] == pytest.approx(5.5e-3)
    assert values[100:] == pytest.approx([1e-3] * 50)
    assert all(first >= second for first, second in zip(values, values[1:], strict=False))


def test_warmup_rises_from_above_zero_and_reaches_the_rate_of_the_optimiser() -> None:
    values, _, _ = rates(CosineToFinalSchedulerConfig(lr_final=1e-3, max_steps=100, warmup_steps=9), 101)
    assert values[:10] == pytest.approx([1e-3 * (step + 1) for step in range(10)])
    assert values[9] == pytest.approx(1e-2)
    assert values[100] == pytest.approx(1e-3)


def test_rates_are_python_floats_and_the_state_loads_as_weights_only() -> None:
    _, scheduler, optimizer = rates(CosineToFinalSchedulerConfig(lr_final=1e-3, max_steps=10, warmup_steps=2), 7)
    assert type(optimizer.param_groups[0]["lr"]) is float
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded["scheduler"]["last_epoch"] == 7


def test_a_restored_schedule_goes_on_where_it_was() -> None:
    config = CosineToFinalSchedulerConfig(lr_final=1e-3, max_steps=20)
    whole, _, _ = rates(config, 15)
    _, first, first_optimizer = rates(config, 8)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))], lr=1e-2)
    scheduler = config.setup().get_scheduler(optimizer, 1e-2)
    optimizer.load_state_dict(first_optimizer.state_dict())
    scheduler.load_state_dict(first.state_dict())
    rest = []
    for _ in range(7):
        rest.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rest == whole[8:]


def test_a_warmup_longer_than_the_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="warmup_steps 20 and max_steps 10"):
        rates(CosineToFinalSchedulerConfig(max_steps=10, warmup_steps=20), 1)
