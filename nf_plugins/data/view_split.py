"""Which views of a static capture train and which evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from nf_plugins.errors import InputError

ViewSplitMode = Literal["all", "interval", "list"]


class ViewSplit(NamedTuple):
    """Indices of the views, ascending, and a note on how they were chosen."""

    train: list[int]
    evaluation: list[int]
    note: str


def split_views(
    mode: ViewSplitMode, num_views: int, interval: int, eval_views: Sequence[int], where: object
) -> ViewSplit:
    """Applies ``--eval-mode``.

    Args:
        mode: "all": every view trains and evaluates; "interval": every ``interval``-th, from the first on, is held out
            of training; "list": ``eval_views`` are.
        num_views: Of the capture.
        interval: Of "interval".
        eval_views: Of "list": indices from 0.
        where: The capture, for messages.

    Raises:
        InputError: A view is not there or named twice, or nothing is left to train or evaluate on.
    """
    if eval_views and mode != "list":
        raise InputError(f"--eval-views does nothing with --eval-mode {mode}: give --eval-mode list, or leave it out.")
    if mode == "all":
        views = list(range(num_views))
        return ViewSplit(views, views, "trained and evaluated on all views, as published: no view is held out")
    if mode == "interval":
        if interval < 2:
            raise InputError(f"--eval-interval is {interval}, expected at least 2: the others are trained on.")
        evaluation = list(range(0, num_views, interval))
        note = f"every view whose number is a multiple of {interval} is held out of training for evaluation"
    else:
        evaluation = sorted(eval_views)
        if not evaluation:
            raise InputError("--eval-mode list needs --eval-views, the numbers (from 0) of the views to hold out.")
        for view in evaluation:
            if not 0 <= view < num_views or evaluation.count(view) > 1:
                problem = "twice" if 0 <= view < num_views else f"which is none of the {num_views} views of {where}"
                raise InputError(
                    f"--eval-views names {view}, {problem}, expected distinct numbers from 0 to {num_views - 1}."
                )
        note = f"views {', '.join(map(str, evaluation))} are held out of training for evaluation"
    train = [view for view in range(num_views) if view not in evaluation]
    if not train:
        raise InputError(
            f"Nothing of the {num_views} views of {where} is left to train on, expected fewer to be held out: change "
            "--eval-interval or --eval-views."
        )
    return ViewSplit(train, evaluation, note)
