"""What happens along a path besides the camera's way: time that stands for a while, focal lengths that change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError

Easing = Literal["linear", "smoothstep", "smootherstep"]


def bullet_time(times: Tensor, freeze_at: Sequence[float], freeze_poses: int) -> Tensor:
    """Times that stand for a while, during which the camera goes on.

    Args:
        times: Of the poses without standing (M,).
        freeze_at: Moments in [0, 1] at which time stands; each at the pose whose time is nearest, the first of such.
        freeze_poses: How many more poses each lasts.

    Returns:
        (M + len(freeze_at) * freeze_poses,).

    Raises:
        InputError: A moment is outside [0, 1], or the number of poses negative.
    """
    if freeze_poses < 0:
        raise InputError(f"--freeze-frames is {freeze_poses}, expected at least 0.")
    repeats = torch.ones(len(times), dtype=torch.long)
    for moment in freeze_at:
        if not 0 <= moment <= 1:
            raise InputError(f"--freeze-times: time {moment:g} is outside the sequence, expected times in [0, 1].")
        repeats[int((times - moment).abs().argmin())] += freeze_poses
    return torch.repeat_interleave(times, repeats)


def zoom_factors(
    num: int, knots: Sequence[float] | None, ratios: Sequence[float], easing: Easing = "smoothstep"
) -> Tensor:
    """What focal lengths are multiplied by.

    Args:
        num: Poses.
        knots: Numbers of the poses at which the ratios are reached, rising; before the first and after the last the
            factor stands. None spreads them evenly from the first pose to the last.
        ratios: Factors at the knots.
        easing: Between two knots: t, 3 t^2 - 2 t^3, or 6 t^5 - 15 t^4 + 10 t^3.

    Returns:
        (num,), float64.

    Raises:
        InputError: There are not as many knots as ratios, knots do not rise, or a ratio is not positive.
    """
    if knots is None:
        knots = torch.linspace(0, max(num - 1, 1), len(ratios), dtype=torch.float64).tolist()
    if len(knots) != len(ratios) or len(ratios) == 0:
        raise InputError(
            f"--zoom-knots gives {len(knots)} poses for {len(ratios)} --zoom-ratios, expected as many, at least one."
        )
    if any(after <= before for before, after in zip(knots, knots[1:], strict=False)):
        raise InputError(f"--zoom-knots {' '.join(f'{knot:g}' for knot in knots)}: expected rising numbers of poses.")
    if min(ratios) <= 0:
        raise InputError(f"--zoom-ratios {' '.join(f'{ratio:g}' for ratio in ratios)}: expected positive factors.")
    at = torch.tensor(knots, dtype=torch.float64)
    values = torch.tensor(ratios, dtype=torch.float64)
    poses = torch.arange(num, dtype=torch.float64).clamp(at[0], at[-1])
    if len(at) == 1:
        return values.expand(num).clone()
    after = torch.bucketize(poses, at).clamp(1, len(at) - 1)
    part = eased((poses - at[after - 1]) / (at[after] - at[after - 1]), easing)
    return values[after - 1] + part * (values[after] - values[after - 1])


def eased(part: Tensor, easing: Easing) -> Tensor:
    """Parts in [0, 1] that start and stop gently."""
    if easing == "linear":
        return part
    if easing == "smoothstep":
        return part.square() * (3 - 2 * part)
    return part**3 * (6 * part.square() - 15 * part + 10)


def zoomed(cameras: Cameras, factors: Tensor) -> Cameras:
    """The same cameras with focal lengths multiplied by factors (N,); principal points stay."""
    changed = cameras[torch.arange(len(cameras))]
    by = factors.to(cameras.fx)[:, None]
    changed.fx, changed.fy = cameras.fx * by, cameras.fy * by
    return changed
