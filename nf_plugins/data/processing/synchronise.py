"""Which frame of every video shows the same moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data.processing.frame_sources import FrameSource
from nf_plugins.errors import InputError

RATE_TOLERANCE = 1.02


@dataclass(frozen=True)
class FrameSelection:
    """What to take of videos that run by one clock."""

    fps: float | None = None
    """Moments per second; None takes the videos' own rate."""
    start_frame: int = 0
    """First moment, counted from the first that all cameras saw."""
    frame_stride: int = 1
    num_frames: int | None = None
    """At most so many; None takes all."""
    count_tolerance: float = 0.05
    """By which part videos without offsets may differ in their number of frames."""


@dataclass(frozen=True)
class FramePlan:
    """The moments that were chosen, and where they are."""

    times: NDArray[np.float64]
    """(T,) seconds since the first chosen moment."""
    indices: dict[str, NDArray[np.int64]]
    """(T,) frame of every camera."""


def plan_frames(
    sources: dict[str, FrameSource], offsets: dict[str, float], selection: FrameSelection = FrameSelection()
) -> FramePlan:
    """The frames that are nearest to common moments.

    Args:
        sources: Of every camera.
        offsets: Seconds by which a camera began later than the common clock; 0 where none is given. What its video
            shows at s seconds happened at s + offset.

    Raises:
        InputError: The options make no sense, the videos differ too much in length, have no common time, or give
            fewer than two moments.
    """
    _check(sources, offsets, selection)
    fps = selection.fps or sorted(source.fps for source in sources.values())[len(sources) // 2]
    begin = max(offsets.get(name, 0.0) for name in sources)
    end = min(offsets.get(name, 0.0) + float(source.times[-1]) for name, source in sources.items())
    if end <= begin:
        raise InputError(
            f"With --offsets {_in_words(offsets)} the videos have no time in common, expected offsets in seconds that "
            "are shorter than the videos."
        )
    # A thousandth of a step: videos end on a moment, which rounding must not lose.
    available = int(np.floor((end - begin) * fps + 1e-3)) + 1
    numbers = np.arange(selection.start_frame, available, selection.frame_stride)[: selection.num_frames]
    if len(numbers) < 2:
        raise InputError(
            f"--start-frame {selection.start_frame} --frame-stride {selection.frame_stride} --num-frames "
            f"{selection.num_frames} leave {len(numbers)} of {available} common moments, expected at least two."
        )
    moments = begin + numbers / fps
    indices = {
        name: nearest(source.times, moments - offsets.get(name, 0.0)) for name, source in sorted(sources.items())
    }
    worst = max(
        float(np.abs(source.times[indices[name]] - (moments - offsets.get(name, 0.0))).max())
        for name, source in sources.items()
    )
    CONSOLE.print(
        f"{len(numbers)} of {available} common moments at {fps:.5g} per second; frames are at most "
        f"{1000 * worst:.1f} ms away from them.",
        soft_wrap=True,
    )
    return FramePlan(moments - moments[0], indices)


def nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the time (T,) nearest to each wanted one; half-way the earlier."""
    later = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    earlier = later - 1
    if len(times) == 1:
        return np.zeros(len(wanted), dtype=np.int64)
    is_later = (times[later] - wanted) < (wanted - times[earlier]) - 1e-9
    return np.where(is_later, later, earlier).astype(np.int64)


def _check(sources: dict[str, FrameSource], offsets: dict[str, float], selection: FrameSelection) -> None:
    if selection.start_frame < 0 or selection.frame_stride < 1 or (selection.num_frames or 2) < 2:
        raise InputError(
            f"--start-frame {selection.start_frame} --frame-stride {selection.frame_stride} --num-frames "
            f"{selection.num_frames} cannot select frames, expected a first frame >= 0, a stride >= 1, a number >= 2."
        )
    for name, offset in offsets.items():
        if name not in sources or not np.isfinite(offset):
            raise InputError(f"--offsets names {name} {offset:g}, expected seconds for one of {', '.join(sources)}.")
    slowest = min(sources, key=lambda name: sources[name].fps)
    for name, source in sources.items():
        if len(source) < 2:
            raise InputError(f"{source.path} (camera {name}) has one frame, expected at least two.")
        if source.fps > RATE_TOLERANCE * sources[slowest].fps:
            CONSOLE.print(
                f"[yellow]{name} has {source.fps:.4g} frames per second, {slowest} {sources[slowest].fps:.4g}: the "
                "nearest frames are taken.",
                soft_wrap=True,
            )
    if selection.fps is not None and not 0 < selection.fps <= RATE_TOLERANCE * sources[slowest].fps:
        raise InputError(
            f"--fps is {selection.fps:g}, expected more than 0 and at most the {sources[slowest].fps:.4g} of {slowest}."
        )
    counts = {name: len(source) for name, source in sources.items()}
    shortest, longest = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    durations = [float(source.times[-1]) for source in sources.values()]
    if not offsets and min(durations) < (1 - selection.count_tolerance) * max(durations):
        raise InputError(
            f"{shortest} has {counts[shortest]} frames ({sources[shortest].times[-1]:.4g} s), but {longest} has "
            f"{counts[longest]} ({sources[longest].times[-1]:.4g} s), expected synchronised videos: give --offsets, "
            "cut the videos, or raise --count-tolerance to use what all have."
        )
    if counts[shortest] != counts[longest]:
        CONSOLE.print(
            f"[yellow]The cameras have from {counts[shortest]} ({shortest}) to {counts[longest]} ({longest}) frames: "
            "only what all cameras saw is used.",
            soft_wrap=True,
        )


def _in_words(offsets: dict[str, float]) -> str:
    return " ".join(f"{name} {offset:g}" for name, offset in offsets.items())
