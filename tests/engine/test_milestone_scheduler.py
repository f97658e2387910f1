"""Step-wise decay of the learning rate."""

from __future__ import annotations

import io

import pytest
import torch

from nf_plugins.engine.schedulers import MilestoneSchedulerConfig


def rates(num_steps: int, resume_at: int | None = None) -> list[float]:
    def build() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
        config = MilestoneSchedulerConfig(milestones=(49, 73))
        return optimizer, config.setup().get_scheduler(optimizer, lr_init=1e-4)

    optimizer, scheduler = build()
    values = []
    for step in range(num_steps):
        if step == resume_at:
            file = io.BytesIO()
            torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
            optimizer, scheduler = build()
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_halves_at_each_milestone() -> None:
    values = rates(98)
    assert values[48] == 1e-4 and values[49] == pytest.approx(5e-5) and values[72] == pytest.approx(5e-5)
    assert values[73] == pytest.approx(2.5e-5) and values[97] == pytest.approx(2.5e-5)


@pytest.mark.parametrize("resume_at", [48, 49, 50, 73])
def test_goes_on_after_a_restart_as_if_nothing_had_happened(resume_at: int) -> None:
    assert rates(98, resume_at) == rates(98)
