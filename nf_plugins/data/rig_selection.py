"""Which cameras and frames of a rig a split has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.selection import choose_cameras, select_frames
from nf_plugins.errors import InputError

MOST_NAMES = 4


class RigSelection(NamedTuple):
    """Cameras and frames, by their positions in the capture."""

    train_ids: list[int]
    """The training cameras, whatever the split."""
    used_ids: list[int]
    """The cameras of the split."""
    frames: list[int]
    """The training frames, T."""
    used_frames: list[int]
    """The frames of the split, some of the training frames."""
    note: str
    """How cameras and frames were chosen."""


def select_rig(capture: RigCapture, config: MultiViewDataParserConfig, split: str) -> RigSelection:
    """Applies the options that choose cameras and frames, and prints what they chose, once.

    Args:
        split: "train", "val" or "test"; the last two are the same.

    Raises:
        InputError: A camera is unknown, nothing is left to train on, or fewer than two frames are.
    """
    names = capture.camera_names
    asked_train = cameras_of(config.train_cameras, names, "--train-cameras", capture)
    asked_evaluation = cameras_of(config.eval_cameras, names, "--eval-cameras", capture)
    if config.train_views == "all" and asked_train:
        raise InputError("--train-views all does not go with --train-cameras, expected one of them: leave one out.")
    train, evaluation, note = choose_cameras(names, asked_train, asked_evaluation, capture.source)
    if config.train_views == "all":
        train = list(names)
        note = f"trained on all cameras, those of evaluation ({', '.join(evaluation)}) too: the numbers flatter"
    frames = _frames(len(capture.images), config, capture)
    eval_frames = frames[:: config.eval_frame_stride]
    if config.eval_frame_stride > 1:
        note = f"{note}; at {_every(config.eval_frame_stride)} of the {len(frames)} training frames"
    _say_once(
        f"{len(names)} cameras: trained on {_some(train)}, evaluated on {_some(evaluation)} at "
        f"{_every(config.eval_frame_stride)} of {len(frames)} frames"
    )
    train_ids = [names.index(name) for name in train]
    if split == "train":
        return RigSelection(train_ids, train_ids, frames, frames, note)
    return RigSelection(train_ids, [names.index(name) for name in evaluation], frames, eval_frames, note)


def cameras_of(asked: Sequence[str], names: Sequence[str], option: str, capture: RigCapture) -> list[str]:
    """Names of cameras that may have been asked for by number, or by a range of numbers ("0:21:2").

    What is a name is taken as one; unknown names are returned as they are.

    Raises:
        InputError: A range chooses no camera, or a camera is named twice.
    """
    numbered = {str(index): name for index, name in enumerate(names)}
    chosen: list[str] = []
    for name in asked:
        if name in names or ":" not in name:
            chosen.append(name if name in names else numbered.get(name, name))
            continue
        try:
            in_range = list(names[slice(*(int(part) if part else None for part in name.split(":")))])
        except (TypeError, ValueError):
            in_range = []
        if not in_range:
            raise InputError(
                f"{option} {name} chooses none of the {len(names)} cameras of {capture.source}, expected "
                f"first:end:step with numbers from 0 to {len(names) - 1}, the end left out."
            )
        chosen += in_range
    for name in chosen:
        if chosen.count(name) > 1:
            raise InputError(f"{option} names {name} {chosen.count(name)} times, expected each camera once.")
    return chosen


def _frames(available: int, config: MultiViewDataParserConfig, capture: RigCapture) -> list[int]:
    if config.eval_frame_stride < 1:
        raise InputError(f"--eval-frame-stride is {config.eval_frame_stride}, expected at least 1.")
    if available > 1 and config.frame_stride >= available - config.start_frame > 0:
        raise InputError(
            f"--frame-stride {config.frame_stride} leaves one of the {available} frames of {capture.source} (from "
            f"--start-frame {config.start_frame} on), expected at least two: give a smaller one."
        )
    return select_frames(available, config.start_frame, config.frame_stride, config.num_frames, capture.source)


def _every(stride: int) -> str:
    if stride == 1:
        return "each"
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if stride % 100 in (11, 12, 13) else endings.get(stride % 10, "th")
    return f"every {stride}{ending}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    return f"{len(names)} ({shown})"


@lru_cache(maxsize=64)
def _say_once(line: str) -> None:
    CONSOLE.print(line, soft_wrap=True)
