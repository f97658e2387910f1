from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nf_plugins.data.processing.frame_sources import FrameSource
from nf_plugins.data.processing.synchronise import FrameSelection, nearest, plan_frames
from nf_plugins.errors import InputError


def source(count: int, fps: float = 10.0, jitter: float = 0.0) -> FrameSource:
    times = np.arange(count) / fps
    times[1:] += jitter * np.random.default_rng(0).uniform(-1, 1, count - 1)
    return FrameSource(Path("video.mp4"), times)


def test_equal_videos_are_taken_frame_by_frame():
    plan = plan_frames({"b": source(6), "a": source(6)}, {})
    np.testing.assert_allclose(plan.times, np.arange(6) / 10)
    for indices in plan.indices.values():
        assert indices.tolist() == [0, 1, 2, 3, 4, 5]


def test_start_stride_and_number_count_common_moments():
    plan = plan_frames({"a": source(20), "b": source(20)}, {}, FrameSelection(None, 3, 4, 3))
    assert plan.indices["a"].tolist() == [3, 7, 11]
    np.testing.assert_allclose(plan.times, [0, 0.4, 0.8])


def test_offsets_shift_videos_against_each_other():
    # b began 0.3 s later: what it shows first happened when a was at its fourth frame.
    plan = plan_frames({"a": source(10), "b": source(7)}, {"b": 0.3})
    assert plan.indices["a"].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert plan.indices["b"].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_other_rates_give_the_nearest_frames():
    plan = plan_frames({"a": source(31, 30.0), "b": source(26, 25.0)}, {}, FrameSelection(fps=5.0))
    assert plan.indices["a"].tolist() == [0, 6, 12, 18, 24, 30]
    assert plan.indices["b"].tolist() == [0, 5, 10, 15, 20, 25]


def test_uneven_frames_give_the_nearest(capsys: pytest.CaptureFixture[str]):
    uneven = source(12, jitter=0.03)
    plan = plan_frames({"a": source(12), "b": uneven}, {})
    for moment, index in zip(plan.times, plan.indices["b"], strict=True):
        assert abs(uneven.times[index] - moment) == pytest.approx(np.abs(uneven.times - moment).min())
    assert " ms" in capsys.readouterr().out


def test_different_lengths_within_the_tolerance_use_the_shortest(capsys: pytest.CaptureFixture[str]):
    plan = plan_frames({"a": source(100), "b": source(97)}, {})
    assert len(plan.times) == 97
    assert "from 97 (b) to 100 (a) frames" in capsys.readouterr().out
    with pytest.raises(InputError, match="b has 90 frames .*a has 100 .*--count-tolerance"):
        plan_frames({"a": source(100), "b": source(90)}, {})
    assert len(plan_frames({"a": source(100), "b": source(90)}, {}, FrameSelection(count_tolerance=0.2)).times) == 90


@pytest.mark.parametrize(
    ("selection", "offsets", "says"),
    [
        (FrameSelection(start_frame=-1), {}, "--start-frame -1"),
        (FrameSelection(frame_stride=0), {}, "--frame-stride 0"),
        (FrameSelection(num_frames=1), {}, "--num-frames 1"),
        (FrameSelection(start_frame=5), {}, "leave 1 of 6 common moments"),
        (FrameSelection(fps=60.0), {}, "--fps is 60, expected more than 0 and at most the 10"),
        (FrameSelection(fps=0.0), {}, "--fps is 0"),
        (FrameSelection(), {"c": 1.0}, "--offsets names c"),
        (FrameSelection(), {"a": float("nan")}, "--offsets names a nan"),
        (FrameSelection(), {"a": 3.0}, "--offsets a 3 the videos have no time in common"),
    ],
)
def test_bad_selections(selection: FrameSelection, offsets: dict[str, float], says: str):
    with pytest.raises(InputError, match=says):
        plan_frames({"a": source(6), "b": source(6)}, offsets, selection)


def test_a_video_of_one_frame_is_refused():
    with pytest.raises(InputError, match="has one frame"):
        plan_frames({"a": source(1), "b": source(6)}, {})


def test_nearest_takes_the_earlier_of_two_equally_near():
    assert nearest(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.5, 0.51, 5.0])).tolist() == [0, 0, 1, 2]
    assert nearest(np.array([0.0]), np.array([0.0, 3.0])).tolist() == [0, 0]
