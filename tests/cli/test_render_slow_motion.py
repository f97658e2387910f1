"""nf-render slow-motion: times, cameras, and how often the networks are asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from ball_pipeline import BallPipeline, ball_config
from monocular_pipeline import monocular_config, monocular_pipeline
from monocular_scene import NUM_FRAMES, write_monocular_scene
from PIL import Image

from nf_plugins.cli.render import Commands
from nf_plugins.cli.render_slow_motion import RenderSlowMotion
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError

Run = Callable[..., tuple[list[np.ndarray], dict[str, Any]]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monocular_scene(tmp_path_factory.mktemp("scenes") / "monocular", height=8, width=12, priors=False)


@pytest.fixture
def run(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Renders; gives the images and the report."""
    config = monocular_config(scene)
    pipeline = monocular_pipeline(config)
    with torch.no_grad():  # what moves is opaque and fast, so that the images differ
        pipeline.model.field.scene_flow.bias += torch.tensor([-0.3, 0, 0, 0.3, 0, 0])  # type: ignore[union-attr]
    monkeypatch.setattr(load_run_module, "load_run", lambda load_config, test_mode: (config, pipeline, Path("c"), 5))
    (tmp_path / "config.yml").write_text("a stand-in\n")

    def render(*arguments: object) -> tuple[list[np.ndarray], dict[str, Any]]:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        base = ["slow-motion", "--load-config", tmp_path / "config.yml", "--output-path", out]
        tyro.cli(Commands, args=[str(argument) for argument in (*base, *arguments)]).main()  # type: ignore[arg-type]
        images = [np.asarray(Image.open(path)).astype(int) for path in sorted(out.iterdir())]
        return images, json.loads((tmp_path / "out.json").read_text())

    return render


def test_a_standing_camera_takes_each_key_time_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    images, report = run("--step", 0.25)
    # The recording is shorter than the published 8 frames to either side: all of it is shown.
    assert len(images) == report["num_images"] == 4 * (NUM_FRAMES - 1) + 1
    assert (report["first_frame"], report["last_frame"], report["frame"]) == (0, 4, 2)
    # The first image is a plain one; the key times are the five frames.
    assert report["network_renders_of_key_times"] == NUM_FRAMES and report["network_renders"] == NUM_FRAMES + 1
    assert report["naive_network_renders"] == 2 * 17
    assert "6 network renders for 17 images (34" in capsys.readouterr().out
    assert not np.array_equal(images[0], images[2])


def test_span_and_frame_choose_the_times(run: Run) -> None:
    images, report = run("--frame", 3, "--span", 0.5, "--step", 0.5)
    assert len(images) == 3 and (report["first_frame"], report["last_frame"]) == (2.5, 3.5)
    assert report["network_renders"] == 3  # at frame 3 itself its planes are held


def test_time_stands_while_the_camera_loops(run: Run) -> None:
    images, report = run("--frame", 1, "--camera-wander", "loop", "--num-frames", 4)
    assert len(images) == 4 and report["first_frame"] == report["last_frame"] == 1 and report["step"] == 0
    assert report["network_renders"] == report["naive_network_renders"] == 4
    assert not np.array_equal(images[1], images[3])


def test_an_ellipse_moves_time_and_camera(run: Run) -> None:
    images, report = run("--camera-wander", "ellipse", "--span", 1, "--step", 0.5)
    assert len(images) == 5 and report["camera_wander"] == "ellipse"
    # Two for each of the two images between frames, one for each at a frame.
    assert report["network_renders"] == 7 and report["naive_network_renders"] == 10


def options(**fields: Any) -> RenderSlowMotion:
    return RenderSlowMotion(load_config=Path("config.yml"), output_path=Path("out"), **fields)


def test_published_numbers_of_images() -> None:
    poses = torch.eye(4)[:3].repeat(30, 1, 1)
    lens = torch.full((30, 1), 400.0)
    split: Any = type("Split", (), {})()
    split.metadata, split.cameras = {"frame_camera_to_worlds": poses}, type("Lens", (), {"fx": lens, "fy": lens})
    assert len(options().path(split).coordinates) == 161
    assert len(options(camera_wander="ellipse").path(split).coordinates) == 201
    loop = options(camera_wander="loop").path(split)
    assert len(loop.coordinates) == 60 and loop.frame == 15
    torch.testing.assert_close(loop.camera_to_worlds[15, :, 3], torch.tensor([-0.12, 0, 0]), atol=1e-6, rtol=0)
    split.metadata["near_distance"] = 0.5
    near = options(camera_wander="loop").path(split)
    torch.testing.assert_close(near.camera_to_worlds[15, :, 3], torch.tensor([-0.06, 0, 0]), atol=1e-6, rtol=0)
    far = options(camera_wander="loop", near_distance=2.0).path(split)
    torch.testing.assert_close(far.camera_to_worlds[15, :, 3], torch.tensor([-0.24, 0, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", 0.3), "--step 0.3: expected one over a whole number"),
        (("--step", 0), "--step 0:"),
        (("--span", 0), "--span must be positive"),
        (("--frame", 5), "--frame 5: the run has 5 frames, expected 0 to 4"),
        (("--num-frames", 3), "--num-frames: the number of images follows"),
        (("--camera-wander", "loop", "--span", 2), "--span: with --camera-wander loop time stands"),
        (("--camera-index", 2), "--camera-index 2"),
        (("--camera-wander", "ellipse", "--near-distance", -1), "--near-distance must be positive"),
        (("--near-distance", 2), "--near-distance: the camera stands"),
        (("--camera-wander", "loop", "--step", 0.1), "--step: with --camera-wander loop time stands"),
    ],
)
def test_bad_options_are_named(run: Run, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.json").exists()


def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_ball = (ball_config(), BallPipeline(), Path("c.ckpt"), 5)
    monkeypatch.setattr(load_run_module, "load_run", lambda load_config, test_mode: of_ball)
    (tmp_path / "config.yml").write_text("a stand-in\n")
    with pytest.raises(InputError, match="Slow motion follows the camera of a monocular video"):
        RenderSlowMotion(load_config=tmp_path / "config.yml", output_path=tmp_path / "out").main()
