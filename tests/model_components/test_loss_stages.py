"""Stages of NSFF's loss: lengths of the published scenes, both ends of every stage, schedules."""

from __future__ import annotations

import pytest

from nf_plugins.model_components.loss_stages import LossStages, effective_decay


@pytest.mark.parametrize(
    ("decay_iteration", "num_frames", "expected"),
    [(30, 30, 30), (25, 24, 25), (48, 24, 48), (150, 196, 196), (60, 56, 60), (25, 400, 250), (300, 24, 250)],
)
def test_length_of_a_stage(decay_iteration: int, num_frames: int, expected: int) -> None:
    assert effective_decay(decay_iteration, num_frames) == expected
    assert LossStages.of(decay_iteration, num_frames).length == 1000 * expected
    assert LossStages.of(decay_iteration, num_frames, steps_per_decay=10).length == 10 * expected


def test_both_ends_of_every_stage() -> None:
    stages, length = LossStages.of(25, 24), 25_000
    steps = (0, length - 1, length, length + 1, 2 * length, 2 * length + 1)
    assert [stages.stage(step) for step in steps] == ["initial"] * 3 + ["separated"] * 2 + ["chained"]
    assert [stages.draws_moving_pixels(step) for step in steps] == [True, True, False, False, False, False]
    assert [stages.masks_by_dynamicness(step) for step in steps] == [False, False, False, True, True, True]
    assert [stages.renders_chain(step) for step in steps] == [False, False, False, False, False, True]


def test_the_papers_code_never_masks_and_chains_earlier() -> None:
    stages = LossStages.of(25, 24, "paper")
    steps = (0, 24_999, 25_000, 50_001)
    assert [stages.masks_by_dynamicness(step) for step in steps] == [False] * 4
    assert [stages.renders_chain(step) for step in steps] == [False, False, True, True]


def test_priors_lose_their_weight_in_steps_for_ever() -> None:
    stages = LossStages(1000)
    factors = [stages.prior_factor(step) for step in (0, 999, 1000, 1999, 2000, 5500)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 1e-5], rel=1e-12)


def test_chains_go_backwards_first_and_then_in_turns() -> None:
    stages = LossStages(1000)
    assert [stages.chain_direction(step) for step in range(4)] == [-1, 1, -1, 1]
