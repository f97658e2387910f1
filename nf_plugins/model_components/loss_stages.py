"""What NSFF's loss (Li et al., CVPR 2021) consists of at a step of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LossVariant = Literal["main", "paper"]
"""The improved published code, or the one that the paper's numbers were made with."""
Stage = Literal["initial", "separated", "chained"]

LARGEST_DECAY = 250
"""Longest stage, in thousands of steps."""


def effective_decay(decay_iteration: int, num_frames: int) -> int:
    """Length of a stage in thousands of steps: as asked for, but no less than one per frame, and at most 250."""
    return min(max(decay_iteration, num_frames), LARGEST_DECAY)


@dataclass(frozen=True)
class LossStages:
    """Three stages of ``length`` steps; the third one never ends. Depends on the step alone."""

    length: int
    """Steps D of a stage, at least 1."""
    variant: LossVariant = "main"
    """Published state of the code: "main" masks the dynamic field's colours from the second stage on and chains two
    steps of flow in the third; "paper" never masks them and chains from the second on."""

    @staticmethod
    def of(
        decay_iteration: int, num_frames: int, variant: LossVariant = "main", steps_per_decay: int = 1000
    ) -> LossStages:
        """Stages of a sequence; those of "paper" do not grow with the number of frames.

        Args:
            decay_iteration: The option of this name, in units of ``steps_per_decay``.
            num_frames: Frames of the sequence.
            variant: Which published state of the code.
            steps_per_decay: 1000 in the published code; less shortens the whole schedule.
        """
        units = decay_iteration if variant == "paper" else effective_decay(decay_iteration, num_frames)
        return LossStages(steps_per_decay * units, variant)

    def stage(self, step: int) -> Stage:
        """The stage of a step. Both ends of a stage belong to the earlier one."""
        if step <= self.length:
            return "initial"
        return "separated" if step <= 2 * self.length else "chained"

    def draws_moving_pixels(self, step: int) -> bool:
        """Whether further rays are drawn from the motion masks: before the step D."""
        return step < self.length

    def masks_by_dynamicness(self, step: int) -> bool:
        """Whether the dynamic field's colours count only where it gives the blended colour: after the step D."""
        return self.variant == "main" and step > self.length

    def renders_chain(self, step: int) -> bool:
        """Whether the image two frames away is rendered: after the step 2 D, in "paper" from the step D."""
        return step > 2 * self.length if self.variant == "main" else step >= self.length

    def prior_factor(self, step: int) -> float:
        """Factor of the depth and flow priors' weights: a tenth after each D steps, for ever."""
        return 10.0 ** -(step // self.length)

    def reaches_chains(self, num_steps: int) -> bool:
        """Whether a training of so many steps has a stage in which chains are rendered."""
        return self.renders_chain(num_steps - 1)

    def chain_direction(self, step: int) -> int:
        """Whether two steps go backwards (-1) or forwards (1): in turns, backwards first."""
        return -1 if step % 2 == 0 else 1
