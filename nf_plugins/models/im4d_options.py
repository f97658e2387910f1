"""Options of the methods on feature planes: which losses there are, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

from nf_plugins.errors import InputError

LOSSES = {
    "rgb": 1.0, "mask": 0.1, "envelope": 1.0, "plane_tv": 2e-4, "time_smooth": 1e-3, "proposal_time_smooth": 1e-5,
    "time_planes": 0.0, "distortion": 0.0,
}  # fmt: skip
"""The losses and their published weights."""


def check_losses(coefficients: Mapping[str, float]) -> None:
    """Refuses weights of losses that do not exist.

    Raises:
        InputError: Which.
    """
    unknown = sorted(set(coefficients) - set(LOSSES))
    if unknown:
        raise InputError(f"loss-coefficients has {', '.join(unknown)}, expected some of {', '.join(LOSSES)}.")


def check_counts(counts: Mapping[str, int]) -> None:
    """Refuses numbers below 1.

    Args:
        counts: By the option's name.

    Raises:
        InputError: Which.
    """
    for option, count in counts.items():
        if count < 1:
            raise InputError(f"--pipeline.model.{option} is {count}, expected at least 1.")
