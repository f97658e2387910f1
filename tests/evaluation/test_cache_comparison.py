"""With and without a cache on the same images, and the threshold that follows."""

import pytest
import torch
from fuzzy_ball_model import fuzzy_ball_pipeline

from nf_plugins.evaluation.cache_comparison import COLUMNS, CacheComparer, frames_of_images, spread_indices
from nf_plugins.evaluation.harmless_threshold import harmless_threshold
from nf_plugins.exporters.occupancy_baking import GridOptions, bake_field


def test_images_are_spread_over_the_split() -> None:
    assert spread_indices(10, 4) == [0, 3, 6, 9] and spread_indices(3, 9) == [0, 1, 2] and spread_indices(5, 1) == [0]


def test_a_good_cache_costs_nothing_and_an_empty_one_everything() -> None:
    pipeline = fuzzy_ball_pipeline()
    comparer = CacheComparer(pipeline, "test", 3)
    assert len(comparer.indices) == 3 and comparer.frames == [0, 2, 3]
    comparer.warm_up()
    comparer.add("without cache", None)
    model = pipeline.model
    good = bake_field(model, comparer.frames, GridOptions((16, 16, 16)), 1.0, tag="good")
    empty = bake_field(model, comparer.frames, GridOptions((16, 16, 16)), 1e9, tag="empty")
    finished: list[int] = []
    for cache in (good, empty):
        comparer.add(cache.tag, cache, 1.0, lambda: finished.append(1))
    assert model.occupancy_cache is None and len(finished) == 6
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in comparer.comparison.rows()]
    assert [row["cache"] for row in rows] == ["without cache", "good", "empty"]
    assert rows[0]["PSNR lost"] is None and rows[0]["speed-up"] == 1
    assert abs(rows[1]["PSNR lost"]) < 0.3 and rows[1]["PSNR to uncached"] > 30
    assert rows[2]["PSNR lost"] > 5 and rows[2]["samples a ray"] == 0 and rows[2]["shaded a ray"] is None
    assert 0 < rows[1]["shaded a ray"] < rows[1]["samples a ray"] and 5 < rows[1]["occupied %"] < 40
    assert rows[1]["cells"] == "16 x 16 x 16" and rows[1]["cache KiB a frame"] == 0.5
    result = comparer.comparison.result("Title", "nf-cache compare", {"method": "ball"})
    assert all(len(row) == len(result["columns"]) for row in result["rows"])
    assert set(result["per_image"]) == {"without cache", "good", "empty"} and len(result["images"]) == 3


def test_frames_around_times_between_frames_and_of_still_scenes() -> None:
    pipeline = fuzzy_ball_pipeline()
    cameras = pipeline.datamanager.eval_dataset.cameras[0:2]
    cameras.times = torch.tensor([[1 / 3 + 1e-7], [0.8]])
    assert frames_of_images(pipeline.model, cameras) == [1, 2, 3]
    cameras.times = None
    assert frames_of_images(pipeline.model, cameras) == [0]


def test_the_largest_threshold_within_the_loss_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = fuzzy_ball_pipeline()
    # The ball has 80 per scene unit, thus 40 per world unit: raw 4.7 is above it.
    raw, trials = harmless_threshold(pipeline, GridOptions((12, 12, 12)), (6.0, 5.0, 2.0, 1.0))
    assert raw == 2.0 and [trial.raw_threshold for trial in trials] == [6.0, 5.0, 2.0]
    assert trials[0].loss > 3 and abs(trials[-1].loss) <= 0.2
    assert harmless_threshold(pipeline, GridOptions((12, 12, 12)), (6.0, 5.0))[0] == 5.0
    assert "Every threshold loses more" in " ".join(capsys.readouterr().out.split())
