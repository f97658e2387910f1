"""Nearest cameras, drawn from in training, taken in order in rendering."""

from __future__ import annotations

import torch

from nf_plugins.model_components.source_ranking import (
    coinciding,
    rank_by_distance,
    rendering_sources,
    training_sources,
)

CENTERS = torch.stack([torch.linspace(0, 7, 8), torch.zeros(8), torch.zeros(8)], dim=-1)
ORDER = rank_by_distance(CENTERS[2], CENTERS)
IS_TARGET = torch.arange(8) == 2


def draws(count: int, repeats: int = 400, **options: object) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [
        training_sources(ORDER, IS_TARGET, count, generator=generator, **options)  # type: ignore[arg-type]
        for _ in range(repeats)
    ]


def test_cameras_are_ranked_by_distance_and_equal_ones_keep_their_order() -> None:
    assert ORDER.tolist() == [2, 1, 3, 0, 4, 5, 6, 7]


def test_training_draws_from_the_nearest_without_the_target() -> None:
    chosen = draws(2, self_probability=0.0)
    assert all(len(set(sources)) == 2 for sources in chosen)
    assert {index for sources in chosen for index in sources} == {1, 3, 0, 4}
    first = torch.tensor([sources[0] for sources in chosen]).bincount()[[0, 1, 3, 4]]
    assert first.min() > 60, "every candidate is as likely"
    assert {index for sources in draws(2, extra=0, self_probability=0.0) for index in sources} == {1, 3}


def test_the_target_is_a_candidate_now_and_then() -> None:
    always = draws(2, self_probability=1.0)
    assert {index for sources in always for index in sources} == {2, 1, 3, 0}, "it takes the place of the last"
    share = sum(2 in sources for sources in draws(2, repeats=4000)) / 4000
    assert 0.015 < share < 0.04  # 5 % of the time one of four candidates of which two are drawn


def test_nearest_is_skipped_whatever_it_is() -> None:
    order = rank_by_distance(torch.tensor([2.2, 0, 0]), CENTERS)
    nobody = torch.zeros(8, dtype=torch.bool)
    assert rendering_sources(order, nobody, 3) == [2, 3, 1]
    assert rendering_sources(order, nobody, 3, skip_nearest=True) == [3, 1, 4]
    generator = torch.Generator().manual_seed(0)
    chosen = [
        training_sources(order, nobody, 2, extra=0, skip_nearest=True, self_probability=0, generator=generator)
        for _ in range(20)
    ]
    assert {index for sources in chosen for index in sources} == {3, 1}


def test_a_view_is_not_blended_from_itself() -> None:
    coincides = coinciding(CENTERS[2] + 2e-6, CENTERS)
    assert coincides.nonzero()[:, 0].tolist() == [2]
    assert rendering_sources(ORDER, coincides, 2) == [1, 3]
    assert not coinciding(CENTERS[2] + 1e-3, CENTERS).any()


def test_few_cameras() -> None:
    generator = torch.Generator().manual_seed(0)
    two, order = torch.tensor([True, False]), torch.tensor([0, 1])
    assert training_sources(order, two, 4, self_probability=0, generator=generator) == [1]
    assert rendering_sources(order, two, 4) == [1]
    alone = coinciding(CENTERS[0], CENTERS[:1])
    assert alone.tolist() == [True] and rendering_sources(torch.tensor([0]), alone, 4) == [0]
