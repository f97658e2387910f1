from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nerfstudio.data.utils import dataparsers_utils

from nf_plugins.data.capture_splits import SplitRule, split_images
from nf_plugins.data.frame_timeline import PhysicalCameras
from nf_plugins.errors import InputError

WHERE = Path("scene/transforms.json")
FILES = [WHERE.parent / f"{number:02d}.png" for number in range(20)]
ONE = PhysicalCameras(["camera"], np.zeros(20, dtype=np.int64))
FOUR = PhysicalCameras(["a", "b", "c", "d"], np.arange(20) % 4)


def split(rule: SplitRule, cameras: PhysicalCameras = ONE, files: list[Path] = FILES, **lists: list[Path]):
    return split_images(rule, files, lists=lists, cameras=cameras, is_synchronised=len(cameras.names) > 1, where=WHERE)


def test_auto_takes_lists_then_a_camera_then_every_eighth_image():
    listed = split(SplitRule(), FOUR, train=[FILES[0], FILES[3]], test=[FILES[2]])
    assert (listed.train, listed.val, listed.test) == ([0, 3], [2], [2])
    held_out = split(SplitRule(), FOUR)
    assert held_out.test == [3, 7, 11, 15, 19] and len(held_out.train) == 15 and "d" in held_out.note
    assert split(SplitRule()).test == [0, 8, 16]
    two = PhysicalCameras(["a", "b"], np.arange(20) % 2)
    assert split(SplitRule(), two).test == [0, 8, 16]


def test_without_a_list_of_training_images_the_rest_trains():
    assert split(SplitRule("lists"), val=[FILES[0]]).train == list(range(1, 20))


@pytest.mark.parametrize("shuffled", [False, True])
def test_rules_of_nerfstudio(shuffled: bool):
    order = np.random.default_rng(0).permutation(20) if shuffled else np.arange(20)
    files = [FILES[index] for index in order]
    names = sorted(str(file) for file in files)

    def named(indices: list[int]) -> list[str]:
        return sorted(str(files[index]) for index in indices)

    for fraction in (0.5, 0.77, 0.9):
        train, evaluation = dataparsers_utils.get_train_eval_split_fraction(names, fraction)
        ours = split(SplitRule("fraction", train_fraction=fraction), files=files)
        assert named(ours.train) == [names[i] for i in train] and named(ours.val) == [names[i] for i in evaluation]
    for interval in (2, 3, 8):
        train, evaluation = dataparsers_utils.get_train_eval_split_interval(names, interval)
        ours = split(SplitRule("interval", interval=interval), files=files)
        assert named(ours.train) == [names[i] for i in train] and named(ours.test) == [names[i] for i in evaluation]
        assert ours.train == sorted(ours.train)
    everything = split(SplitRule("all"), files=files)
    assert everything.train == everything.test == list(range(20))


def test_names_of_files():
    files = [Path(f"{'eval' if number % 5 == 0 else 'train'}_{number:02d}.png") for number in range(20)]
    assert split(SplitRule("filename"), files=files).test == [0, 5, 10, 15]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (SplitRule(eval_cameras=("x",)), "--eval-cameras names x"),
        (SplitRule("fraction", eval_cameras=("a",)), "does not go with"),
        (SplitRule("fraction", train_fraction=1.0), "val split .* has no images"),
        (SplitRule("fraction", train_fraction=0.0), "--train-split-fraction is 0"),
        (SplitRule("interval", interval=1), "--eval-interval is 1"),
        (SplitRule("filename"), "expected 'train' or 'eval'"),
        (SplitRule("lists"), "has no train_filenames"),
    ],
)
def test_bad_rules(rule: SplitRule, says: str):
    with pytest.raises(InputError, match=says):
        split(rule, FOUR)
