"""nf-export points: which clouds, which complaints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
import tyro
from ball_pipeline import RADIUS, BallPipeline, ball_centre, ball_config

from nf_plugins.cli.export_points import ExportPoints
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def pipeline() -> BallPipeline:
    return BallPipeline()


@pytest.fixture
def ball_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: BallPipeline) -> Path:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")
    monkeypatch.setattr(
        load_run_module, "load_run", lambda load_config, test_mode: (ball_config(), pipeline, Path("c.ckpt"), 5)
    )
    return config


def run(*arguments: object) -> None:
    tyro.cli(ExportPoints, args=[str(argument) for argument in arguments]).main()


def test_every_frame_gets_a_cloud_in_world_units(ball_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "points"
    run("--load-config", ball_run, "--output-dir", out, "--all-frames", "--frame-stride", 3, "--mask-erosion", 1)
    content = json.loads((out / "points.json").read_text())
    assert [entry["file"] for entry in content["points"]] == ["frame_000000.ply", "frame_000003.ply"]
    assert content["units"] == "world" and content["num_cameras"] == 2 and content["step"] == 5
    for entry, time in zip(content["points"], (0.0, 1.0), strict=True):
        cloud: Any = trimesh.load(out / entry["file"])
        points = np.asarray(cloud.vertices)
        centre = 2 * ball_centre(time).numpy() + np.array([5.0, 0.0, -1.0])
        assert len(points) == entry["num_points"] > 50
        assert np.abs(np.linalg.norm(points - centre, axis=1) - 2 * RADIUS).max() < 2e-3


def test_voxels_thin_and_cameras_are_spread(ball_run: Path, tmp_path: Path) -> None:
    options = ("--load-config", ball_run, "--times", 0.5, "--mask-erosion", 0)
    run(*options, "--output-dir", tmp_path / "all", "--voxel", 0)
    run(*options, "--output-dir", tmp_path / "few", "--voxel", 0.3)
    run(*options, "--output-dir", tmp_path / "one", "--voxel", 0, "--num-cameras", 1, "--downscale", 2)
    counts = [
        json.loads((tmp_path / name / "points.json").read_text())["points"][0]["num_points"]
        for name in ("all", "few", "one")
    ]
    assert counts[1] < counts[0] / 2 and counts[2] < counts[0] / 6
    assert (tmp_path / "all" / "time_0.500000.ply").is_file()


def test_a_still_scene_has_one_cloud(ball_run: Path, tmp_path: Path, pipeline: BallPipeline) -> None:
    dataset = pipeline.datamanager.train_dataset
    times = dataset.cameras.times
    dataset.metadata.pop("frame_times")
    dataset.cameras.times = None
    with pytest.raises(InputError, match="stands still"):
        run("--load-config", ball_run, "--output-dir", tmp_path / "out", "--times", 0.5)
    assert ExportPoints(ball_run, tmp_path / "out").requested(dataset) == [("points.ply", None, None)]
    assert times is not None


def test_an_empty_cloud_is_told_of(ball_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 1 point clouds are empty .*--mask-erosion 41"):
        run("--load-config", ball_run, "--output-dir", tmp_path / "out", "--frames", 1, "--mask-erosion", 41)
    assert torch.tensor([json.loads((tmp_path / "out" / "points.json").read_text())["points"][0]["num_points"]]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exactly one of --times, --frames and --all-frames"),
        (("--times", 0.5, "--all-frames"), "exactly one of"),
        (("--times", 2.0), "--times: 2 is outside"),
        (("--frames", 9), "frame 9 is outside the sequence, expected 0 to 3"),
        (("--all-frames", "--num-cameras", 0), "at least one camera"),
        (("--all-frames", "--accumulation", 1.0), "--accumulation is 1"),
        (("--times", 0.5, "--frame-stride", 2), "--frame-stride 2"),
    ],
)
def test_bad_requests_write_nothing(ball_run: Path, tmp_path: Path, arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        run("--load-config", ball_run, "--output-dir", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
