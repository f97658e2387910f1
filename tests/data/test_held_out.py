"""Held-out pixels and frames: the documented draws, exact counts, and a sampler that cannot reach them."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from nf_plugins.data.held_out import HeldOut
from nf_plugins.errors import InputError


def test_pixels_are_the_documented_draws() -> None:
    held_out = HeldOut("pixels", num_frames=4, num_pixels=37, fraction=0.1, seed=42)
    generator = np.random.RandomState(42)
    for frame in range(4):
        drawn = generator.choice(37, 3, replace=False)
        assert held_out.test_pixels(frame).tolist() == sorted(drawn.tolist())
    assert held_out.test_frames.tolist() == held_out.training_frames.tolist() == [0, 1, 2, 3]
    assert held_out.num_training_pixels == 34
    assert not torch.equal(held_out.pixels, HeldOut("pixels", 4, 37, 0.1, seed=43).pixels)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.97])
def test_training_pixels_are_all_the_others_once_each(fraction: float) -> None:
    held_out = HeldOut("pixels", num_frames=5, num_pixels=200, fraction=fraction)
    ranks = torch.arange(held_out.num_training_pixels).expand(5, -1)
    pixels = held_out.training_pixels(ranks)
    for frame in range(5):
        test = set(held_out.test_pixels(frame).tolist())
        assert len(test) == int(fraction * 200)
        assert pixels[frame].tolist() == sorted(set(range(200)) - test)
        assert held_out.is_training(frame).nonzero()[:, 0].tolist() == pixels[frame].tolist()


def test_frames_are_the_documented_draw() -> None:
    held_out = HeldOut("frames", num_frames=20, num_pixels=6, fraction=0.25, seed=1)
    drawn = sorted(np.random.RandomState(1).choice(20, 5, replace=False).tolist())
    assert held_out.frames.tolist() == held_out.test_frames.tolist() == drawn
    assert held_out.training_frames.tolist() == sorted(set(range(20)) - set(drawn))
    assert held_out.test_pixels(drawn[0]).tolist() == [0, 1, 2, 3, 4, 5]
    other = int(held_out.training_frames[0])
    assert held_out.test_pixels(other).tolist() == []
    assert held_out.is_training(other).all() and not held_out.is_training(drawn[0]).any()
    ranks = torch.arange(6).expand(15, -1)
    assert torch.equal(held_out.training_pixels(ranks), ranks)


def test_nothing_held_out() -> None:
    held_out = HeldOut("none", num_frames=3, num_pixels=6)
    assert held_out.num_training_pixels == 6
    assert held_out.test_frames.tolist() == [] and held_out.training_frames.tolist() == [0, 1, 2]
    assert held_out.is_training(2).all()


def test_copies_are_the_object_itself() -> None:
    held_out = HeldOut("pixels", 3, 50)
    assert deepcopy({"held_out": held_out})["held_out"] is held_out


@pytest.mark.parametrize(
    ("protocol", "fraction", "message"),
    [
        ("pixels", 0.0, "--held-out-fraction is 0, expected a number between 0 and 1"),
        ("pixels", 1.0, "--held-out-fraction is 1, expected"),
        ("pixels", 0.01, "--held-out-fraction 0.01 of 50 pixels of a frame is none"),
        ("frames", 0.05, "--held-out-fraction 0.05 of 10 frames is none"),
        ("frames", 0.95, "leaves 1 of 10 frames"),
        ("every tenth", 0.1, "expected pixels, frames or none"),
    ],
)
def test_what_holds_out_nothing_or_everything_is_refused(protocol: str, fraction: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HeldOut(protocol, num_frames=10, num_pixels=50, fraction=fraction)  # type: ignore[arg-type]
