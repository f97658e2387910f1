"""Which cameras and which frames of a multi-view capture train and evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nf_plugins.data import validation
from nf_plugins.errors import InputError


def select_frames(
    available: int, start_frame: int, frame_stride: int, num_frames: int | None, where: str | Path
) -> list[int]:
    """Frames that ``--start-frame``, ``--frame-stride`` and ``--num-frames`` choose of those in ``where``.

    Raises:
        InputError: The options select nothing, or a single frame.
    """
    if start_frame < 0 or frame_stride < 1 or (num_frames is not None and num_frames < 1):
        raise InputError(
            f"--start-frame {start_frame} --frame-stride {frame_stride} --num-frames {num_frames} cannot select "
            "frames, expected a first frame >= 0, a stride >= 1, a number >= 1."
        )
    frames = list(range(start_frame, available, frame_stride))[:num_frames]
    selection = f"--start-frame {start_frame} --num-frames {num_frames}"
    validation.require_distinct_frames(len(frames), f"The selection {selection} of the {available} in {where}")
    return frames


def choose_cameras(
    found: Sequence[str],
    asked_train: Sequence[str],
    asked_evaluation: Sequence[str],
    root: Path,
    *,
    usual_train: Sequence[str] = (),
    usual_evaluation: Sequence[str] = (),
) -> tuple[list[str], list[str], str]:
    """Names of the training and the evaluation cameras, and a note on how they were chosen.

    What was asked for is taken; else the usual ones; else all that are left train, and where none is left to evaluate,
    the last is held out.

    Args:
        found: Every camera of the capture, in order.
        asked_train: Of ``--train-cameras``.
        asked_evaluation: Of ``--eval-cameras``.
        root: Folder of the capture, for messages.
        usual_train: Cameras that the layout means to train on.
        usual_evaluation: Cameras that the layout means to evaluate on.

    Raises:
        InputError: A name is unknown, or no camera is left to train on.
    """
    for option, names in (("--train-cameras", asked_train), ("--eval-cameras", asked_evaluation)):
        for name in names:
            if name not in found:
                raise InputError(
                    f"{option} names {name}, which {root} does not have, expected one of {', '.join(found)}."
                )
    train = list(asked_train)
    evaluation = list(asked_evaluation) or [name for name in usual_evaluation if name not in train]
    note = f"evaluated on {', '.join(evaluation)}"
    if not train:
        rest = [name for name in found if name not in evaluation]
        train = [name for name in rest if name in usual_train] or rest
        if not train:
            raise InputError(
                f"The folder {root} has no camera left to train on, expected more beside {', '.join(evaluation)}: name "
                "them with --train-cameras."
            )
    if not evaluation:
        unused = [name for name in found if name not in train]
        if unused:
            evaluation, note = unused, f"evaluated on the cameras not trained on, {', '.join(unused)}"
        elif len(train) > 1:
            evaluation = [train.pop()]
            note = f"{evaluation[0]}, the last camera, is held out of training for evaluation"
        else:
            evaluation, note = train, f"evaluated on the training camera {train[0]}, the only one there is"
    return train, evaluation, note
