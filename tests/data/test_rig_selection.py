from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_selection import RigSelection, select_rig
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError


def capture(num_cameras: int = 22, num_frames: int = 61) -> RigCapture:
    names = [f"{index:02d}" for index in range(num_cameras)]
    return RigCapture(
        camera_names=names,
        lenses=[Lens(8, 8, 8.0, 8.0, 4.0, 4.0)] * num_cameras,
        camera_to_worlds=np.repeat(np.eye(4)[None, :3], num_cameras, axis=0),
        images=[[Path(f"/{name}/{frame}.png") for name in names] for frame in range(num_frames)],
        masks=None,
        mask_rule="",
        frame_points=None,
        frame_box_files=None,
        plates=None,
        scene_points=None,
        source=Path("/scene"),
    )


def select(split: str = "train", rig: RigCapture | None = None, **options: Any) -> RigSelection:
    return select_rig(rig or capture(), MultiViewDataParserConfig(**options), split)


def test_the_published_split_of_zju_mocap(capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {
        "train_cameras": ("0:21:2",), "eval_cameras": ("1:20:2",), "eval_frame_stride": 30, "num_frames": 60
    }  # fmt: skip
    train, test = select(**options), select("test", **options)
    assert train.used_ids == list(range(0, 21, 2)) and test.used_ids == list(range(1, 20, 2))
    assert test.train_ids == train.train_ids == train.used_ids
    assert train.used_frames == train.frames == test.frames == list(range(60))
    assert test.used_frames == [0, 30]
    assert "every 30th of the 60 training frames" in test.note
    printed = capsys.readouterr().out
    expected = "22 cameras: trained on 11 (00, 02, 04, 06, …), evaluated on 10 (01, 03, 05, 07, …) at every 30th of 60"
    assert printed.count(expected) == 1, "once for both splits"


def test_names_numbers_and_ranges() -> None:
    assert select(train_cameras=("07", "1", "-3:")).used_ids == [7, 1, 19, 20, 21]
    assert select(eval_cameras=("::5",)).used_ids == [index for index in range(22) if index % 5]
    for option, problem in (("3:3", "chooses none"), ("a:b", "chooses none"), ("99", "names 99, which")):
        with pytest.raises(InputError, match=f"--train-cameras .*{problem}|--train-cameras {problem}"):
            select(train_cameras=(option,))
    with pytest.raises(InputError, match="--eval-cameras names 02 2 times"):
        select(eval_cameras=("0:4", "2"))


def test_all_views_for_demonstrations() -> None:
    train, test = (select(split, train_views="all", eval_cameras=("4",)) for split in ("train", "test"))
    assert train.used_ids == list(range(22)) and test.used_ids == [4] and test.train_ids == train.used_ids
    assert "the numbers flatter" in train.note
    assert select(train_views="all", rig=capture(3)).used_ids == [0, 1, 2]
    with pytest.raises(InputError, match="--train-views all does not go with --train-cameras"):
        select(train_views="all", train_cameras=("1",))


def test_frames() -> None:
    assert select(start_frame=5, frame_stride=10, num_frames=3).frames == [5, 15, 25]
    assert select("val", start_frame=5, frame_stride=10, eval_frame_stride=2).used_frames == [5, 25, 45]
    with pytest.raises(InputError, match="--frame-stride 61 leaves one of the 61 frames"):
        select(frame_stride=61)
    with pytest.raises(InputError, match="--eval-frame-stride is 0"):
        select(eval_frame_stride=0)
    with pytest.raises(InputError, match="has 1 frame"):
        select(num_frames=1)
