"""nf-render snapshots from a run's folder to frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import tyro
from ball_pipeline import SIZE, BallPipeline
from PIL import Image

from nf_plugins.cli.render import Commands
from nf_plugins.errors import InputError
from nf_plugins.exporters.snapshots import SnapshotSettings, write_snapshot


@pytest.fixture
def ball_run(tmp_path: Path) -> Path:
    """A run with three snapshots, the first smaller and without a mesh; the ball brightens."""
    run = tmp_path / "run"
    for step, (downscale, resolution) in zip((0, 50, 100), ((2.0, 0), (1.0, 12), (1.0, 12)), strict=True):
        pipeline = BallPipeline(offset=step / 500).eval()
        write_snapshot(pipeline, run / "snapshots", step, SnapshotSettings(0, downscale, resolution))
    (run / "config.yml").write_text("a stand-in\n")
    return run / "config.yml"


def run(load_config: Path, output_path: Path, *arguments: object) -> list[np.ndarray]:
    options = ("snapshots", "--load-config", load_config, "--output-path", output_path, *arguments)
    tyro.cli(Commands, args=[str(option) for option in options]).main()  # type: ignore[arg-type]
    if output_path.suffix:
        with av.open(str(output_path)) as container:
            assert float(container.streams.video[0].average_rate) == 10.0
            return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(output_path.iterdir())]


def test_pictures_stand_side_by_side_in_order_of_steps(ball_run: Path, tmp_path: Path) -> None:
    frames = run(ball_run, tmp_path / "out", "--no-label", "--outputs", "rgb", "depth")
    side = 4 * SIZE  # enlarged to at least 96 pixels
    assert [frame.shape for frame in frames] == [(side, 2 * side, 3)] * 3
    brightness = [frame[:, :side].mean() for frame in frames]
    assert brightness[2] > brightness[1] + 1
    shown = read(ball_run.parent / "snapshots" / "step-000000100_rgb.png")
    assert np.array_equal(frames[2][::4, :side:4], shown)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_labels_and_meshes_in_a_video(ball_run: Path, tmp_path: Path) -> None:
    frames = run(ball_run.parent, tmp_path / "out.mp4", "--mesh")
    side, margin = 4 * SIZE, 32
    assert len(frames) == 3 and frames[0].shape[0] == side + margin
    meshes = [frame[margin : margin + side, 3 * (side + 2) :] for frame in frames]
    assert meshes[0].min() > 200 and meshes[1].min() < 150  # no mesh at first
    assert np.abs(frames[0][16:margin, :60] - frames[2][16:margin, :60]).max() > 100  # another step is written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--outputs", "albedo"), "--outputs albedo: no snapshot"),
        (("--fps", 0), "--fps"),
        (("--mesh", "--outputs", "rgb", "--mesh-elevation", 95), "--elevation 95"),
    ],
)
def test_bad_requests_are_named_and_write_nothing(ball_run: Path, tmp_path: Path, arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(ball_run, tmp_path / "out.mp4", *arguments)
    assert not (tmp_path / "out.mp4").exists()


def test_missing_snapshots_and_meshes_are_named(ball_run: Path, tmp_path: Path) -> None:
    for path in (ball_run.parent / "snapshots").glob("*.ply"):
        path.unlink()
    with pytest.raises(InputError, match="--mesh: none of the snapshots"):
        run(ball_run, tmp_path / "out.mp4", "--mesh")
    (tmp_path / "config.yml").touch()
    with pytest.raises(InputError, match="no snapshots in .*--steps-per-snapshot"):
        run(tmp_path / "config.yml", tmp_path / "out.mp4")
