"""Levels that come in one after the other."""

from __future__ import annotations

import copy

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.progressive_levels import ActiveLevels, num_active_levels


def test_a_level_comes_in_every_so_many_steps() -> None:
    assert [num_active_levels(step, 4, 2, 10) for step in (0, 9, 10, 19, 20, 29, 10_000)] == [2, 2, 3, 3, 4, 4, 4]
    assert num_active_levels(0, 4, None, 10) == 4, "all from the start"
    assert num_active_levels(0, 4, 2, 0) == 4, "all from the start"


def test_the_levels_depend_on_the_step_alone() -> None:
    levels = ActiveLevels(4, start_levels=1, steps_per_level=5)
    assert levels.count == 1
    for step, count in ((12, 3), (3, 1), (5, 2)):
        levels.set_step(step)
        assert levels.count == int(levels.active) == count


def test_a_checkpoint_brings_its_levels_with_it() -> None:
    trained = ActiveLevels(4, start_levels=1, steps_per_level=5)
    trained.set_step(7)
    fresh = torch.nn.ModuleList([ActiveLevels(4, start_levels=1, steps_per_level=5)])
    fresh.load_state_dict({f"0.{name}": value for name, value in trained.state_dict().items()})
    assert fresh[0].count == 2
    assert copy.deepcopy(trained).count == 2


def test_impossible_schedules_are_refused() -> None:
    for start in (0, 5):
        with pytest.raises(InputError, match=f"start-levels is {start}, but the encoding has levels 1 to 4"):
            ActiveLevels(4, start_levels=start, steps_per_level=1)
    with pytest.raises(InputError, match="start-levels is 2 without steps-per-level"):
        ActiveLevels(4, start_levels=2)
    with pytest.raises(InputError, match="steps-per-level is 500 without start-levels"):
        ActiveLevels(4, steps_per_level=500)
    with pytest.raises(InputError, match="steps-per-level is -1"):
        ActiveLevels(4, start_levels=1, steps_per_level=-1)
