from __future__ import annotations

from pathlib import Path

import pytest

from nf_plugins.data.selection import choose_cameras, select_frames
from nf_plugins.errors import InputError

ROOT = Path("scene")


def test_cameras_asked_for_are_taken():
    assert choose_cameras("abcd", "ca", "b", ROOT)[:2] == (["c", "a"], ["b"])
    assert choose_cameras("abcd", "ca", "", ROOT)[:2] == (["c", "a"], ["b", "d"])
    assert choose_cameras("abcd", "", "b", ROOT)[:2] == (["a", "c", "d"], ["b"])
    assert choose_cameras("abcd", "ab", "a", ROOT)[:2] == (["a", "b"], ["a"])


def test_usual_cameras_are_taken_where_none_is_asked_for():
    usual = {"usual_train": "ab", "usual_evaluation": "d"}
    assert choose_cameras("abcd", "", "", ROOT, **usual)[:2] == (["a", "b"], ["d"])
    assert choose_cameras("cd", "", "", ROOT, **usual)[:2] == (["c"], ["d"])
    assert choose_cameras("abcd", "d", "", ROOT, **usual)[:2] == (["d"], ["a", "b", "c"])


def test_last_camera_is_held_out_where_nothing_is_said():
    train, evaluation, note = choose_cameras("abc", "", "", ROOT)
    assert (train, evaluation) == (["a", "b"], ["c"]) and "held out" in note
    assert choose_cameras("a", "", "", ROOT)[:2] == (["a"], ["a"])


def test_unknown_names_and_no_training_camera():
    with pytest.raises(InputError, match="--eval-cameras names x, which scene does not have"):
        choose_cameras("abc", "", "x", ROOT)
    with pytest.raises(InputError, match="no camera left to train on"):
        choose_cameras("ab", "", "ab", ROOT)


def test_frames():
    assert select_frames(10, 1, 3, 2, ROOT) == [1, 4]
    assert select_frames(10, 0, 4, None, ROOT) == [0, 4, 8]
    for options in ((-1, 1, None), (0, 0, None), (0, 1, 0)):
        with pytest.raises(InputError, match="cannot select frames"):
            select_frames(10, *options, ROOT)
    with pytest.raises(InputError, match="has 1 frame"):
        select_frames(10, 9, 1, None, ROOT)
