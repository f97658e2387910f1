"""Batches as functions of the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from source_rig import training_dataset, write_rig

from nf_plugins.data.source_sampling import (
    SourceBatchPlan,
    SourceSamplingOptions,
    mixed_seed,
    plan_batch,
    plan_evaluation,
    require_source_options,
)
from nf_plugins.data.source_views import SourceViews
from nf_plugins.errors import InputError

OPTIONS = SourceSamplingOptions(
    images_per_batch=3, pixels_per_image=40, train_source_counts=(1, 2), train_source_probabilities=(0.25, 0.75)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rig(tmp_path_factory.mktemp("rig") / "scene", num_cameras=6)


@pytest.fixture(scope="module")
def views(folder: Path) -> SourceViews:
    return SourceViews([training_dataset(folder)])


def same(first: SourceBatchPlan, second: SourceBatchPlan) -> bool:
    return torch.equal(first.pixels, second.pixels) and first.source_groups == second.source_groups


def test_a_batch_follows_from_seed_and_step(views: SourceViews) -> None:
    plan = plan_batch(7, 3, views, OPTIONS)
    torch.rand(5)
    assert same(plan, plan_batch(7, 3, views, OPTIONS))
    others = [plan_batch(8, 3, views, OPTIONS), plan_batch(7, 4, views, OPTIONS), plan_batch(3, 7, views, OPTIONS)]
    assert not any(same(plan, other) for other in others)
    assert len({mixed_seed(seed, step) for seed in range(60) for step in range(60)}) > 3590


def test_pixels_lie_in_the_box_and_targets_have_equally_many(views: SourceViews) -> None:
    on_foreground = 0.0
    for step in range(20):
        plan = plan_batch(step, 0, views, OPTIONS)
        assert plan.images.shape == (3,) and plan.pixels.shape == (120, 3)
        assert torch.equal(plan.pixels[:, 0], plan.images.repeat_interleave(40))
        for index, row, column in plan.pixels[::40].tolist():
            assert 0 <= row < views.sizes[index, 0] and 0 <= column < views.sizes[index, 1]
        masks = [views.image(index)[1][row, column] for index, row, column in plan.pixels.tolist()]
        on_foreground += float((torch.stack(masks) > 0).float().mean()) / 20
    share = float(torch.stack([(views.image(index)[1] > 0).float().mean() for index in range(len(views))]).mean())
    assert on_foreground > 0.4 > 2 * share, "a ball fills most of its box's picture, but not the image"


def test_shares_of_foreground_and_anywhere(views: SourceViews) -> None:
    balanced = replace(OPTIONS, pixels_from="foreground_balanced", foreground_fraction=0.25)
    plan = plan_batch(0, 0, views, balanced)
    masks = torch.stack([views.image(index)[1][row, column] for index, row, column in plan.pixels.tolist()]) > 127
    assert masks.reshape(3, 40).sum(1).tolist() == [10, 10, 10]
    everywhere = plan_batch(0, 0, views, replace(OPTIONS, pixels_from="everywhere", pixels_per_image=4000))
    assert everywhere.pixels[:, 1].min() == 0 and everywhere.pixels[:, 1].max() == 31
    assert everywhere.pixels[:, 2].min() == 0 and everywhere.pixels[:, 2].max() == 39


def test_sources_are_of_the_frame_and_as_many_for_all(views: SourceViews) -> None:
    counts, own = [], 0
    for step in range(200):
        plan = plan_batch(step, 0, views, replace(OPTIONS, pixels_per_image=1, self_source_probability=0.5))
        lengths = {len(group) for group in plan.source_groups}
        assert len(lengths) == 1
        counts.append(lengths.pop())
        for target, group in zip(plan.images.tolist(), plan.source_groups, strict=True):
            assert len(set(group)) == len(group)
            assert (views.frame_ids[list(group)] == views.frame_ids[target]).all()
            own += target in group
    assert set(counts) == {1, 2} and 0.65 < sum(count == 2 for count in counts) / 200 < 0.85
    assert 0.1 < own / 600 < 0.4


def test_without_sources(views: SourceViews) -> None:
    options = replace(OPTIONS, train_source_counts=(), train_source_probabilities=())
    require_source_options(views, options)
    assert plan_batch(0, 0, views, options).source_groups == ((), (), ())
    assert plan_evaluation(0, 0, views, views, options, source_count=2).source_groups == ((), (), ())


def test_evaluation_takes_the_nearest_and_never_the_target(views: SourceViews) -> None:
    plan = plan_evaluation(0, 0, views, views, OPTIONS, source_count=3)
    for target, group in zip(plan.images.tolist(), plan.source_groups, strict=True):
        assert target not in group and len(group) == 3
        others = [index for index in views.of_frame(int(views.frame_ids[target])).tolist() if index != target]
        distances = (views.centers[others] - views.centers[target]).norm(dim=-1)
        assert group == tuple(others[index] for index in distances.argsort()[:3].tolist())


def test_scenes_are_not_mixed_in_a_batch(views: SourceViews, tmp_path: Path) -> None:
    small = training_dataset(write_rig(tmp_path / "small", num_cameras=4, num_frames=2))
    both = SourceViews([*views.datasets, small])
    scenes = []
    for step in range(300):
        plan = plan_batch(step, 0, both, replace(OPTIONS, pixels_per_image=1))
        of_batch = both.scene_ids[[*plan.images.tolist(), *(i for group in plan.source_groups for i in group)]]
        assert len(of_batch.unique()) == 1
        scenes.append(int(of_batch[0]))
    assert sum(scenes) / 300 == pytest.approx(6 / 26, abs=0.08), "in proportion to their images"


def test_images_that_do_not_see_the_box_are_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = training_dataset(folder)
    # The first camera is turned round: its images are the first four.
    dataset.cameras.camera_to_worlds[:4, :, [0, 2]] *= -1
    views = SourceViews([dataset])
    capsys.readouterr()
    for step in range(30):
        assert plan_batch(step, 0, views, OPTIONS).images.min() >= 4
    assert capsys.readouterr().out.replace("\n", " ").count("do not see the box") == 1
    dataset.cameras.camera_to_worlds[4:, :, [0, 2]] *= -1
    with pytest.raises(InputError, match="None of 1000 random images sees the box.*--scene-box"):
        plan_batch(0, 0, SourceViews([dataset]), OPTIONS)


def test_pixels_that_must_not_be_sampled_are_not(tmp_path: Path) -> None:
    from test_not_sampled import half_known

    views = SourceViews([half_known(tmp_path / "scene", True)])
    for pixels_from in ("box", "everywhere", "foreground_balanced"):
        plan = plan_batch(0, 0, views, replace(OPTIONS, pixels_from=pixels_from, train_source_counts=()))
        assert plan.pixels[:, 2].min() >= 20


def test_fewer_sources_than_asked_for_and_other_wrong_options(views: SourceViews) -> None:
    require_source_options(views, replace(OPTIONS, train_source_counts=(4, 4)))
    with pytest.raises(InputError, match="train-source-counts asks for up to 5 .* has 5 training images, 4 besides"):
        require_source_options(views, replace(OPTIONS, train_source_counts=(2, 5)))
    with pytest.raises(InputError, match="train-source-probabilities"):
        require_source_options(views, replace(OPTIONS, train_source_counts=(1, 2, 3)))
    with pytest.raises(InputError, match="at least one source"):
        require_source_options(views, replace(OPTIONS, train_source_counts=(0, 2)))
    with pytest.raises(InputError, match="images-per-batch is 0"):
        require_source_options(views, replace(OPTIONS, images_per_batch=0))
