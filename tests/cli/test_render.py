"""nf-render: what moves, what stands, and what is written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
import tyro
from ball_pipeline import SIZE, BallPipeline, ball_cameras, ball_config
from PIL import Image

from nf_plugins.cli.render import Commands, RenderBoth
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError
from nf_plugins.exporters.trajectories import circling_path, save_camera_path


@pytest.fixture
def ball_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")
    monkeypatch.setattr(
        load_run_module, "load_run", lambda load_config, test_mode: (ball_config(), BallPipeline(), Path("c.ckpt"), 5)
    )
    return config


def run(mode: str, *arguments: object) -> None:
    tyro.cli(Commands, args=[mode, *map(str, arguments)]).main()  # type: ignore[arg-type]


def frames_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def ball_column(frame: np.ndarray) -> float:
    """Mean column of what is not background."""
    return float(np.nonzero(frame.min(axis=-1) < 250)[1].mean())


def test_time_moves_at_a_standing_camera(ball_run: Path, tmp_path: Path) -> None:
    run("time", "--load-config", ball_run, "--output-path", tmp_path / "out", "--num-frames", 5)
    frames = frames_of(tmp_path / "out")
    columns = [ball_column(frame) for frame in frames]
    assert len(frames) == 5 and frames[0].shape == (SIZE, SIZE, 3)
    assert all(after > before + 1.0 for before, after in zip(columns, columns[1:], strict=False))


def test_time_range_and_ping_pong(ball_run: Path, tmp_path: Path) -> None:
    arguments = ("--load-config", ball_run, "--output-path", tmp_path / "out", "--num-frames", 4, "--ping-pong")
    run("time", *arguments, "--time-range", 0.2, 0.4)
    frames = frames_of(tmp_path / "out")
    assert len(frames) == 6
    assert np.array_equal(frames[1], frames[5]) and np.array_equal(frames[2], frames[4])
    assert ball_column(frames[3]) - ball_column(frames[0]) < 4.0


@pytest.mark.parametrize("path", ["ring", "dataset"])
def test_the_camera_moves_at_a_fixed_time(ball_run: Path, tmp_path: Path, path: str) -> None:
    arguments = ("--load-config", ball_run, "--num-frames", 4, "--path", path)
    for time in (0.0, 1.0):
        run("camera", *arguments, "--output-path", tmp_path / f"time{time:.0f}", "--fixed-time", time)
    first, last = frames_of(tmp_path / "time0"), frames_of(tmp_path / "time1")
    assert not np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0], last[0])


def test_both_move_and_outputs_stand_side_by_side(ball_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "movie.mp4"
    outputs = ("rgb", "normal_rgb", "depth", "accumulation")
    run("both", "--load-config", ball_run, "--output-path", path, "--num-frames", 6, "--fps", 12, "--outputs", *outputs)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == 12.0
    assert len(decoded) == 6 and decoded[0].shape == (SIZE, 4 * SIZE, 3)
    assert np.abs(decoded[0].astype(int) - decoded[3]).mean() > 2.0


def test_a_camera_path_file_decides_times_in_mode_both_only(ball_run: Path, tmp_path: Path) -> None:
    path_file = tmp_path / "path.json"
    still = circling_path(ball_cameras(), torch.tensor([1.0, 0.0]), turns=0.0)
    save_camera_path(path_file, still, fps=7.0)
    arguments = ("--load-config", ball_run, "--camera-path", path_file)
    run("both", *arguments, "--output-path", tmp_path / "both")
    run("camera", *arguments, "--output-path", tmp_path / "camera", "--fixed-time", 0.5)
    run("both", *arguments, "--output-path", tmp_path / "movie.mp4")
    both, fixed = frames_of(tmp_path / "both"), frames_of(tmp_path / "camera")
    assert len(both) == 2 and ball_column(both[0]) > ball_column(fixed[0]) + 1 > ball_column(both[1]) + 2
    assert np.array_equal(fixed[0], fixed[1])
    with av.open(str(tmp_path / "movie.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == 7.0


def test_between_two_cameras_while_time_runs_forward_and_backward(ball_run: Path, tmp_path: Path) -> None:
    arguments = ("--load-config", ball_run, "--path", "between", "--between-cameras", 0, 1)
    run("both", *arguments, "--output-path", tmp_path / "both", "--num-frames", 5, "--outputs", "rgb", "normal_rgb")
    run("camera", *arguments, "--output-path", tmp_path / "still", "--num-frames", 5, "--fixed-time", 0.0)
    run("both", *arguments, "--output-path", tmp_path / "once", "--num-frames", 5, "--time-order", "forward")
    both, still, once = (frames_of(tmp_path / name) for name in ("both", "still", "once"))
    assert both[0].shape == (SIZE, 2 * SIZE, 3)
    for index in (0, 4):  # time is back at its start
        assert np.array_equal(both[index][:, :SIZE], still[index])
    assert not np.array_equal(both[2][:, :SIZE], still[2])
    assert np.array_equal(once[0], still[0]) and not np.array_equal(once[4], still[4])
    run("time", "--load-config", ball_run, "--output-path", tmp_path / "first", "--num-frames", 1)
    assert np.array_equal(still[0], frames_of(tmp_path / "first")[0])


def test_between_two_cameras_takes_the_original_s_number_of_frames() -> None:
    options = RenderBoth(Path("a"), Path("b"), path="between", between_cameras=("0", "1"))
    assert options.frame_count() == 100 and RenderBoth(Path("a"), Path("b")).frame_count() == 60


def test_downscale_and_split(ball_run: Path, tmp_path: Path) -> None:
    arguments = ("--num-frames", 1, "--downscale", 2, "--split", "test", "--camera-index", 3)
    run("time", "--load-config", ball_run, "--output-path", tmp_path / "out", *arguments)
    assert frames_of(tmp_path / "out")[0].shape == (SIZE // 2, SIZE // 2, 3)


@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        ("time", ("--time-range", 0.0, 1.2), "--time-range: time 1.2 is outside"),
        ("camera", ("--fixed-time", -0.1), "--fixed-time: time -0.1 is outside"),
        ("both", ("--num-frames", 0), "--num-frames"),
        ("time", ("--camera-index", 8), "--camera-index 8"),
        ("time", ("--outputs", "rgb", "flow"), "--outputs: the model has no output flow; it has accumulation, depth"),
        ("both", ("--camera-path", "nowhere.json"), "nowhere.json is not a file"),
        ("time", ("--downscale", 0), "must be positive"),
        ("both", ("--path", "between"), "--path between needs --between-cameras"),
        ("both", ("--between-cameras", 0, 1), "--between-cameras needs --path between"),
        ("camera", ("--path", "between", "--between-cameras", 1, 1), "names 1 twice"),
        ("camera", ("--path", "between", "--between-cameras", 0, 2), "no camera 2, expected 0 to 1"),
    ],
)
def test_bad_requests_are_named_and_write_nothing(ball_run: Path, tmp_path: Path, mode, arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        run(mode, "--load-config", ball_run, "--output-path", tmp_path / "out.mp4", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_trained_run_renders_a_moving_picture(tiny_run: Path, tmp_path: Path) -> None:
    outputs = ("rgb", "normal_rgb", "depth", "accumulation")
    run("time", "--load-config", tiny_run, "--output-path", tmp_path / "out", "--num-frames", 3, "--outputs", *outputs)
    frames = frames_of(tmp_path / "out")
    assert len(frames) == 3 and frames[0].shape == (24, 96, 3)
    assert not np.array_equal(frames[0], frames[2])
