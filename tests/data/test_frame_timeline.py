from __future__ import annotations

import numpy as np
import pytest

from nf_plugins.data.frame_timeline import make_timeline, physical_cameras
from nf_plugins.errors import InputError


def test_any_order_and_unit_become_frames_and_unit_times():
    timeline = make_timeline(np.array([130.0, 100, 110, 100, 140]), "auto", 0.0, "FILE")
    assert timeline.frame_ids.tolist() == [2, 0, 1, 0, 3]
    np.testing.assert_allclose(timeline.times, [0.75, 0, 0.25, 0, 1])
    assert "100 to 140" in timeline.note


def test_unit_times_stay_unless_told_otherwise():
    times = np.array([0.2, 0.4, 0.9])
    for rule in ("auto", "unit"):
        np.testing.assert_array_equal(make_timeline(times, rule, 0.0, "FILE").times, times)
    np.testing.assert_allclose(make_timeline(times, "sequence", 0.0, "FILE").times, [0, 2 / 7, 1])
    assert [make_timeline(times, rule, 0.0, "FILE").rule for rule in ("auto", "sequence")] == ["unit", "sequence"]
    assert make_timeline(2 * times, "auto", 0.0, "FILE").rule == "sequence"
    with pytest.raises(InputError, match="go from 0.2 to 3.*--times sequence"):
        make_timeline(np.array([0.2, 3.0]), "unit", 0.0, "FILE")


def test_rounding_and_uneven_triggers_are_one_frame():
    thirds = np.array([0.1 + 0.2, 0.3, 0.6, 0.6 + 1e-12])
    assert make_timeline(thirds, "auto", 0.0, "FILE").frame_ids.tolist() == [0, 0, 1, 1]
    uneven = np.array([0.0, 1.001, 2.0, 0.003, 1.0, 2.002])
    assert make_timeline(uneven, "auto", 0.0, "FILE").frame_ids.max() == 5
    timeline = make_timeline(uneven, "auto", 0.01, "FILE")
    assert timeline.frame_ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(np.unique(timeline.times)) == 3


def test_one_time_is_no_sequence():
    with pytest.raises(InputError, match="FILE has 1 frame"):
        make_timeline(np.array([3.0, 3.0]), "auto", 0.0, "FILE")


FRAMES = np.array([0, 1, 0, 1])


def test_declared_cameras_in_natural_order():
    cameras = physical_cameras(["cam10", "cam10", "cam2", "cam2"], ["a"] * 4, FRAMES)
    assert cameras.names == ["cam2", "cam10"] and cameras.ids.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["images/left/0.png", "images/left/1.png", "images/right/0.png", "images/right/1.png"], ["left", "right"]),
        (["b/rgb/0.png", "b/rgb/1.png", "a/rgb/0.png", "a/rgb/1.png"], ["a", "b"]),
        (["images/0.png", "images/1.png", "images/2.png", "images/3.png"], ["camera"]),
        (["train/0.png", "test/1.png", "train/2.png", "test/3.png"], ["camera"]),
    ],
)
def test_folders_are_cameras_where_they_behave_like_it(files: list[str], names: list[str]):
    frame_ids = FRAMES if len(names) > 1 or files[0].startswith("images") else np.arange(4)
    assert physical_cameras(None, files, frame_ids).names == names
