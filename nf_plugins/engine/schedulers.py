"""Learning-rate schedules that end at a stated rate and stay there, smoothly or at milestones.

They return Python floats. nerfstudio's own cosine and exponential schedules return NumPy scalars, which end up in the
optimiser's state and make its checkpoints unreadable for ``torch.load`` with ``weights_only=True``, the default since
torch 2.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from nf_plugins.errors import InputError


def schedule_progress(step: int, warmup_steps: int, max_steps: int) -> float:
    """How far the decay is at ``step``: 0 up to the end of the warm-up, 1 from ``max_steps`` on."""
    return min(max((step - warmup_steps) / (max_steps - warmup_steps), 0.0), 1.0)


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Linear rise to 1 at ``warmup_steps``; its first value is not 0, so that no step is wasted."""
    return min((step + 1) / (warmup_steps + 1), 1.0)


def cosine_learning_rate(progress: float, lr_init: float, lr_final: float) -> float:
    """Half a cosine wave from ``lr_init`` (progress 0) to ``lr_final`` (progress 1)."""
    return lr_final + (lr_init - lr_final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass
class CosineToFinalSchedulerConfig(SchedulerConfig):
    """Half a cosine wave from the optimiser's rate to a final rate, one value a step, constant afterwards."""

    _target: type = field(default_factory=lambda: CosineToFinalScheduler)
    """Class to instantiate."""
    lr_final: float = 1e-5
    """Learning rate at max_steps and after."""
    max_steps: int = 100_000
    """Step at which lr_final is reached."""
    warmup_steps: int = 0
    """Steps at the start over which the rate rises linearly to that of the optimiser."""


class CosineToFinalScheduler(Scheduler):
    """Cosine decay to a final rate; see its config."""

    config: CosineToFinalSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        config = self.config
        _check_steps(config.max_steps, config.warmup_steps)

        def factor(step: int) -> float:
            progress = schedule_progress(step, config.warmup_steps, config.max_steps)
            rate = cosine_learning_rate(progress, lr_init, config.lr_final)
            return warmup_factor(step, config.warmup_steps) * rate / lr_init

        return LambdaLR(optimizer, lr_lambda=factor)


def _check_steps(max_steps: int, warmup_steps: int) -> None:
    if not 0 <= warmup_steps < max_steps:
        raise InputError(
            f"The learning-rate schedule has warmup_steps {warmup_steps} and max_steps {max_steps}, "
            "expected 0 <= warmup_steps < max_steps."
        )


@dataclass
class MilestoneSchedulerConfig(SchedulerConfig):
    """The optimiser's rate, multiplied by a factor from each milestone on."""

    _target: type = field(default_factory=lambda: MilestoneScheduler)
    """Class to instantiate."""
    milestones: tuple[int, ...] = ()
    """Steps."""
    factor: float = 0.5
    """What the rate is multiplied by at each of them."""


class MilestoneScheduler(Scheduler):
    """Step-wise decay; see its config."""

    config: MilestoneSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        config = self.config
        return LambdaLR(
            optimizer, lr_lambda=lambda step: config.factor ** sum(step >= milestone for milestone in config.milestones)
        )


@dataclass
class ExponentialSchedulerConfig(SchedulerConfig):
    """Exponential decay of the optimiser's rate that never ends."""

    _target: type = field(default_factory=lambda: ExponentialScheduler)
    """Class to instantiate."""
    decay_steps: int = 250_000
    """Steps in which the rate falls by the factor."""
    factor: float = 0.1
    """What the rate falls by."""


class ExponentialScheduler(Scheduler):
    """Exponential decay; see its config."""

    config: ExponentialSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        config = self.config
        if config.decay_steps < 1 or config.factor <= 0:
            raise InputError(
                f"The learning-rate schedule has decay_steps {config.decay_steps} and factor {config.factor}, "
                "expected at least 1 and more than 0."
            )
        return LambdaLR(optimizer, lr_lambda=lambda step: config.factor ** (step / config.decay_steps))


@dataclass
class WarmupCosineSchedulerConfig(SchedulerConfig):
    """A linear rise from 0, then nearly all of half a cosine wave down to about 0, as Im4D is trained."""

    _target: type = field(default_factory=lambda: WarmupCosineScheduler)
    """Class to instantiate."""
    max_steps: int = 120_000
    """Step at which the wave ends."""
    warmup_steps: int = 128
    """Steps over which the rate rises; the first step has none."""
    span: float = 0.999
    """Part of the half wave that is run through."""


class WarmupCosineScheduler(Scheduler):
    """Rise and cosine decay; see its config."""

    config: WarmupCosineSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        config = self.config
        _check_steps(config.max_steps, config.warmup_steps)

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                return step / config.warmup_steps
            progress = schedule_progress(step, config.warmup_steps, config.max_steps)
            return 0.5 * (1.0 + math.cos(math.pi * config.span * progress))

        return LambdaLR(optimizer, lr_lambda=factor)
