from __future__ import annotations

from typing import Any

import pytest

from nf_plugins.data.view_split import split_views
from nf_plugins.errors import InputError


def test_all_views_do_both():
    split = split_views("all", 4, 8, (), "SCAN")
    assert split.train == split.evaluation == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "interval", "eval_views", "held_out"),
    [("interval", 4, (), [0, 4, 8]), ("interval", 100, (), [0]), ("list", 8, (7, 2), [2, 7])],
)
def test_held_out_views_and_the_rest_are_all_of_them(mode: Any, interval: int, eval_views: Any, held_out: list[int]):
    split = split_views(mode, 10, interval, eval_views, "SCAN")
    assert split.evaluation == held_out
    assert sorted(split.train + split.evaluation) == list(range(10))
    assert "held out" in split.note


@pytest.mark.parametrize(
    ("mode", "num_views", "interval", "eval_views", "says"),
    [
        ("list", 5, 8, (), "needs --eval-views"),
        ("list", 5, 8, (5,), "--eval-views names 5, which is none of the 5 views of SCAN"),
        ("list", 5, 8, (-1,), "--eval-views names -1"),
        ("list", 5, 8, (2, 2), "--eval-views names 2, twice"),
        ("list", 2, 8, (0, 1), "Nothing of the 2 views of SCAN is left to train on"),
        ("interval", 5, 1, (), "--eval-interval is 1"),
        ("interval", 1, 8, (), "Nothing of the 1 views"),
        ("all", 5, 8, (1,), "does nothing with --eval-mode all"),
    ],
)
def test_impossible_splits(mode: Any, num_views: int, interval: int, eval_views: Any, says: str):
    with pytest.raises(InputError, match=says):
        split_views(mode, num_views, interval, eval_views, "SCAN")
