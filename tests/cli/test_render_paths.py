"""nf-render: circles, spirals, bullet time, zoom, caches and other scenes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from ball_pipeline import BallModel, BallPipeline, ball_config
from PIL import Image

from nf_plugins.cli.render import Commands, RenderBoth, RenderCamera
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def loaded() -> list[Any]:
    """Other scenes that were asked for."""
    return []


@pytest.fixture
def ball_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[Any]) -> Path:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")

    def load_run(load_config: Path, test_mode: str, data: Path | None = None) -> Any:
        loaded.append(data)
        return ball_config(), BallPipeline(), Path("c.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    return config


def run(mode: str, *arguments: object) -> None:
    tyro.cli(Commands, args=[mode, *map(str, arguments)]).main()  # type: ignore[arg-type]


def frames_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def ball_size(frame: np.ndarray) -> int:
    return int((frame.min(axis=-1) < 250).sum())


def cameras_of(command: RenderCamera | RenderBoth) -> Any:
    dataset = BallPipeline().datamanager.train_dataset
    command.check()
    return command.cameras(lambda: dataset)[0]


def test_a_circle_of_the_ring_and_a_spiral_see_the_ball(
    ball_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("circle", "spiral"):
        run("camera", "--load-config", ball_run, "--output-path", tmp_path / path, "--num-frames", 6, "--path", path)
        frames = frames_of(tmp_path / path)
        assert len(frames) == 6 and all(ball_size(frame) > 30 for frame in frames)
    assert capsys.readouterr().out.count("seconds per frame, the first left out") == 2


def test_a_published_circle_stands_in_the_world(ball_run: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"path": "circle", "circle_center": (5.0, 0.0, -1.0), "circle_radius": 4.0}
    cameras = cameras_of(RenderCamera(ball_run, tmp_path / "out", num_frames=5, **options))
    positions = cameras.camera_to_worlds[:, :, 3]  # the scene's origin is at (5, 0, -1), two world units a scene unit
    assert torch.allclose(positions[0], torch.tensor([-2.0, 0, 0]), atol=1e-5)
    assert torch.allclose(positions[2], torch.tensor([2.0, 0, 0]), atol=1e-5)
    assert float(-cameras.camera_to_worlds[0, 2, 2]) == pytest.approx(-np.sin(np.radians(15)), abs=1e-5)
    level = cameras_of(RenderCamera(ball_run, tmp_path / "out", num_frames=5, pitch_degrees=0.0, **options))
    assert float(level.camera_to_worlds[0, 2, 2]) == pytest.approx(0, abs=1e-6)


def test_bullet_time_stands_while_the_camera_goes_on(ball_run: Path, tmp_path: Path) -> None:
    command = RenderBoth(ball_run, tmp_path / "out", num_frames=5, path="circle", freeze_times=(0.5,), freeze_frames=3)
    cameras = cameras_of(command)
    assert torch.allclose(cameras.times[:, 0], torch.tensor([0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0]))
    steps = cameras.camera_to_worlds[:, :, 3].diff(dim=0).norm(dim=-1)
    assert torch.allclose(steps, steps[:1].expand(7), atol=1e-4)


def test_a_zoom_magnifies_along_any_path(ball_run: Path, tmp_path: Path) -> None:
    options = ("--load-config", ball_run, "--num-frames", 3, "--path", "circle", "--zoom-ratios", 1, 1.5, 0.75)
    run("camera", *options, "--output-path", tmp_path / "zoom")
    sizes = [ball_size(frame) for frame in frames_of(tmp_path / "zoom")]
    assert sizes[1] > 1.5 * sizes[0] > sizes[0] > sizes[2]
    both = cameras_of(
        RenderBoth(ball_run, tmp_path / "out", num_frames=4, zoom_ratios=(1.0, 2.0), zoom_knots=(0.0, 2.0))
    )
    assert both.fx.flatten().tolist() == [40.0, 60.0, 80.0, 80.0]


def test_caches_and_other_scenes_are_passed_on(
    ball_run: Path, tmp_path: Path, loaded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    cells = SimpleNamespace(load_cache=lambda run_dir, tag, model, **options: (run_dir, tag, options))
    monkeypatch.setitem(sys.modules, "nf_plugins.exporters.occupancy_files", cells)
    monkeypatch.setattr(BallModel, "use_occupancy_cache", lambda self, cache: used.append(cache), raising=False)
    arguments = ("--load-config", ball_run, "--num-frames", 1)
    run("time", *arguments, "--output-path", tmp_path / "a", "--cache", "fine")
    run("time", *arguments, "--output-path", tmp_path / "b", "--data", tmp_path)
    assert used == [(ball_run.parent, "fine", {"step": 5, "allow_other_checkpoint": False})]
    assert loaded == [None, tmp_path]


@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        ("both", ("--circle-center", 0, 0, 1), "--circle-center needs --path circle"),
        ("camera", ("--pitch-degrees", 10), "--pitch-degrees needs --path circle or"),
        ("camera", ("--path", "circle", "--circle-radius", 0), "--circle-radius must be positive"),
        ("camera", ("--path", "spiral", "--spiral-amplitudes", 1.0, 0.1), "--spiral-amplitudes 1"),
        ("camera", ("--path", "circle", "--camera-index", 8), "--camera-index 8"),
        ("camera", ("--zoom-knots", 1, 2), "--zoom-knots needs --zoom-ratios"),
        ("camera", ("--zoom-ratios", 1, 2, "--zoom-knots", 0), "--zoom-knots gives 1 poses for 2"),
        ("both", ("--freeze-times", 1.5), "--freeze-times: time 1.5 is outside"),
        ("both", ("--freeze-times", 0.5, "--freeze-frames", 0), "--freeze-frames must be at least 1"),
        ("both", ("--freeze-times", 0.5, "--camera-path", "file.json"), "--freeze-times: a camera-path file"),
        ("time", ("--data", "nowhere"), "--data nowhere does not exist"),
        ("time", ("--data", ".", "--cache", "fine"), "--cache fine belongs to the scene"),
    ],
)
def test_bad_requests_are_named_and_write_nothing(ball_run: Path, tmp_path: Path, mode, arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        run(mode, "--load-config", ball_run, "--output-path", tmp_path / "out.mp4", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_two_runs_take_no_cache(ball_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cache and --data: two runs"):
        run(
            "transfer",
            "--geometry",
            ball_run,
            "--appearance",
            ball_run,
            "--output-path",
            tmp_path / "o",
            "--cache",
            "a",
        )
