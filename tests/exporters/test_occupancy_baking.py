"""Baking from a density, from masks and from points."""

import math
from pathlib import Path

import pytest
import torch
from fuzzy_ball_model import BOX, SCALE, FuzzyBallModel, fuzzy_ball, fuzzy_ball_pipeline

from nf_plugins.errors import InputError
from nf_plugins.exporters.model_digest import model_digest
from nf_plugins.exporters.occupancy_baking import (
    GridOptions,
    bake_field,
    bake_masks,
    bake_points,
    cache_of_maxima,
    check_resolution,
    chosen_frames,
    density_threshold,
    frame_maxima,
    raw_to_density,
)

OPTIONS = GridOptions(resolution=(10, 12, 8))


def cell_centers(options: GridOptions = OPTIONS) -> torch.Tensor:
    unit = torch.cartesian_prod(*[(torch.arange(n) + 0.5) / n for n in options.resolution])
    return BOX[0] + unit * (BOX[1] - BOX[0])


def test_cells_of_a_density_follow_the_ball() -> None:
    model = FuzzyBallModel()
    finished: list[int] = []
    cache = bake_field(model, [0, 3], OPTIONS, 5.0, tag="moving", on_frame=lambda: finished.append(1))
    assert cache.frame_ids.tolist() == [0, 3] and cache.tag == "moving" and len(finished) == 2
    assert cache.checkpoint == model_digest(model) and cache.density_threshold == 5.0
    for frame, time in ((0, 0.0), (3, 1.0)):
        grid = cache.grid(frame).flatten()
        dense = fuzzy_ball(cell_centers(), torch.full((len(grid),), time))[:, 0] > 5.0
        assert grid[dense].all(), "a cell whose centre is dense is occupied"
        assert 0.05 < grid.float().mean() < 0.5
        far = fuzzy_ball(cell_centers(), torch.full((len(grid),), time))[:, 0] < 1e-8
        assert not grid[far].any()
    assert not torch.equal(cache.grid(0), cache.grid(3))


def test_one_look_serves_all_thresholds_and_skipping_finds_the_same() -> None:
    model = FuzzyBallModel()
    maxima = [frame_maxima(model, 1, OPTIONS, 5.0)]
    asked = model.num_points
    assert asked == 21 * 25 * 17
    of_maxima = cache_of_maxima(model, [1], maxima, 5.0, tag="t")
    assert torch.equal(of_maxima.grid(1), bake_field(model, [1], OPTIONS, 5.0, tag="t").grid(1))
    assert cache_of_maxima(model, [1], maxima, 60.0, tag="t").grid(1).sum() < of_maxima.grid(1).sum()
    assert cache_of_maxima(model, [1], maxima, 5.0, tag="t", dilate=1).grid(1).sum() > of_maxima.grid(1).sum()
    skipping = GridOptions((32, 32, 32), skip_empty=True)
    model.num_points = 0
    skipped = bake_field(model, [1], skipping, 5.0, tag="t")
    assert model.num_points < 0.9 * 65**3
    assert torch.equal(skipped.grid(1), bake_field(model, [1], GridOptions((32, 32, 32)), 5.0, tag="t").grid(1))


def test_thresholds_in_world_units_raw_and_by_optical_depth() -> None:
    model = FuzzyBallModel()
    assert raw_to_density(5.0) == pytest.approx(54.598, abs=1e-3)
    assert density_threshold(model, (10, 12, 8), raw_to_density(5.0)) == pytest.approx(SCALE * math.exp(4))
    longest_cell = max(2.0 / 10, 1.6 / 12, 1.4 / 8)
    assert density_threshold(model, (10, 12, 8)) == pytest.approx(0.01 / longest_cell)
    model.default_density_threshold = math.exp(2)
    assert density_threshold(model, (10, 12, 8)) == pytest.approx(SCALE * math.exp(2))


def test_masks_give_a_hull_around_the_ball() -> None:
    pipeline = fuzzy_ball_pipeline()
    options = GridOptions(resolution=(40, 36, 32))
    cache = bake_masks(pipeline.model, pipeline.datamanager, [0, 3], options, tag="hull")
    for frame, time in ((0, 0.0), (3, 1.0)):
        centers = cell_centers(options)
        inside = fuzzy_ball(centers, torch.full((len(centers),), time))[:, 0] > 40
        assert cache.grid(frame).flatten()[inside].all() and cache.grid(frame).float().mean() < 0.6
    del pipeline.datamanager.train_dataset.metadata["fg_mask_filenames"]
    with pytest.raises(InputError, match="needs data with masks"):
        bake_masks(pipeline.model, pipeline.datamanager, [0], OPTIONS, tag="hull")


def test_points_fill_their_cells(tmp_path: Path) -> None:
    import trimesh

    model = FuzzyBallModel()
    matrix = model.metadata["world_from_scene"]
    chosen = torch.tensor([3, 500, 700])
    world = cell_centers()[chosen] @ matrix[:3, :3].T + matrix[:3, 3]
    for name, points in (("000000.ply", world), ("000001.ply", world[:1] + 100)):
        trimesh.PointCloud(points.numpy()).export(tmp_path / name)
    cache = bake_points(model, [tmp_path / "000000.ply"], [2], OPTIONS, tag="points")
    assert cache.grid(2).flatten().nonzero()[:, 0].tolist() == chosen.tolist()
    with pytest.raises(InputError, match="000001.ply has no points in the box of frame 2"):
        bake_points(model, [tmp_path / "000001.ply"], [2], OPTIONS, tag="points")
    with pytest.raises(InputError, match="2 files, --frames names 1"):
        bake_points(model, sorted(tmp_path.iterdir()), [2], OPTIONS, tag="points")


def test_frames_and_resolutions_are_checked() -> None:
    assert chosen_frames((0, -1, 1), 4) == [0, 1, 2, 3] and chosen_frames((1, 6, 2), 7) == [1, 3, 5]
    for frames in ((0, 4, 1), (2, 1, 1), (-1, 2, 1), (0, 3, 0)):
        with pytest.raises(InputError, match="the run has 4 training frames"):
            chosen_frames(frames, 4)
    for resolution in ((1, 8, 8), (8, 8), (2048, 2048, 2048)):
        with pytest.raises(InputError, match="--resolution"):
            check_resolution(resolution)
