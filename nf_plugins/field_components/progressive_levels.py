"""Coarse-to-fine training: how many levels of an encoding take part at a training step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError


def num_active_levels(step: int, num_levels: int, start_levels: int | None, steps_per_level: int) -> int:
    """Levels that take part at a step: ``start_levels`` first, one more every ``steps_per_level`` steps.

    Args:
        step: Training step, from 0.
        num_levels: All levels.
        start_levels: Levels at step 0; None for all.
        steps_per_level: Steps between two levels; 0 for all levels from the start.
    """
    if start_levels is None or steps_per_level == 0:
        return num_levels
    return min(num_levels, start_levels + max(step, 0) // steps_per_level)


class ActiveLevels(nn.Module):
    """The number of active levels, kept in a buffer: a checkpoint is evaluated with the levels it was trained with.

    Levels switch on at once (Li et al., *Neuralangelo*, CVPR 2023): a level that is off contributes zeros and gets no
    gradient. What reads the levels must start the columns of those to come at zero, as the geometric initialisation
    does: without a gradient they stay there, and a level that comes in changes nothing at first.

    Args:
        num_levels: All levels.
        start_levels: Levels at step 0; None for all.
        steps_per_level: Steps between two levels; 0 for all levels from the start.

    Raises:
        InputError: More levels at the start than there are, or fewer than one; a negative number of steps; one of the
            two without the other.
    """

    active: Tensor

    def __init__(self, num_levels: int, start_levels: int | None = None, steps_per_level: int = 0) -> None:
        super().__init__()
        if start_levels is not None and not 1 <= start_levels <= num_levels:
            raise InputError(f"start-levels is {start_levels}, but the encoding has levels 1 to {num_levels}.")
        if steps_per_level < 0:
            raise InputError(f"steps-per-level is {steps_per_level}, expected 0 (all levels at once) or more.")
        if start_levels is not None and steps_per_level == 0:
            raise InputError(
                f"start-levels is {start_levels} without steps-per-level, so that no level would ever come in: give "
                "the steps until the next level as steps-per-level, or use fewer levels with num-levels."
            )
        if start_levels is None and steps_per_level > 0:
            raise InputError(
                f"steps-per-level is {steps_per_level} without start-levels, so that all levels are active from the "
                "start: say how many to start with as start-levels, or leave steps-per-level out."
            )
        self.num_levels = num_levels
        self.start_levels = start_levels
        self.steps_per_level = steps_per_level
        # Also as a plain number: reading the buffer would wait for the GPU.
        self.count = num_active_levels(0, num_levels, start_levels, steps_per_level)
        self.register_buffer("active", torch.tensor(self.count))

    def set_step(self, step: int) -> None:
        """Makes active what is due at a training step; the same step always gives the same levels."""
        self.count = num_active_levels(step, self.num_levels, self.start_levels, self.steps_per_level)
        self.active.fill_(self.count)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.count = int(self.active)

    def extra_repr(self) -> str:
        return f"num_levels={self.num_levels}, active={self.count}"
