"""nf-render meshes from its arguments to its frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import trimesh
import tyro
from PIL import Image

from nf_plugins.cli.render import Commands
from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh_folder import MeshFolderWriter


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Three balls that rise, in world units twice those of the scene."""
    world_from_scene = np.diag([2.0, 2.0, 2.0, 1.0])
    header = {"units": "world", "world_from_scene": world_from_scene.tolist()}
    writer = MeshFolderWriter(tmp_path / "meshes", header)
    (tmp_path / "truth").mkdir()
    for frame in range(3):
        ball = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
        ball.apply_translation((0.0, 0.0, frame - 1.0))
        ball.export(tmp_path / "truth" / f"{frame:06d}.ply")
        ball.apply_transform(world_from_scene)
        writer.add(f"frame_{frame:06d}.ply", frame / 2, ball, frame)
    writer.finish()
    return tmp_path / "meshes"


def run(*arguments: object) -> None:
    options = ("--resolution", 32, 48, "--supersampling", 1)
    tyro.cli(Commands, args=["meshes", *map(str, (*arguments, *options))]).main()  # type: ignore[arg-type]


def frames_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def test_a_folder_becomes_frames_in_order_of_time(meshes: Path, tmp_path: Path) -> None:
    run("--input-dir", meshes, "--output-path", tmp_path / "out")
    frames = frames_of(tmp_path / "out")
    rows = [np.nonzero((frame < 250).any(axis=-1))[0].mean() for frame in frames]
    assert len(frames) == 3 and frames[0].shape == (48, 32, 3)
    assert rows[0] > rows[1] + 2 > rows[2] + 4


def test_truth_in_scene_units_stands_to_the_left_in_the_same_place(meshes: Path, tmp_path: Path) -> None:
    truth = ("--truth-dir", tmp_path / "truth", "--truth-units", "scene")
    run("--input-dir", meshes, "--output-path", tmp_path / "out", *truth, "--frame-stride", 2)
    for frame in frames_of(tmp_path / "out"):
        assert frame.shape == (48, 64, 3) and (frame < 250).any()
        assert np.abs(frame[:, :32] - frame[:, 32:]).max() < 6


def test_a_turntable_video_of_any_length(meshes: Path, tmp_path: Path) -> None:
    path = tmp_path / "movie.mp4"
    run("--input-dir", meshes, "--output-path", path, "--camera", "turntable", "--num-frames", 5, "--fps", 12,
        "--color", "normal", "--ping-pong")  # fmt: skip
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == 12.0
        decoded = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(decoded) == 8
    assert np.abs(decoded[0] - decoded[1]).max() > 50  # the same mesh, its normals seen from elsewhere


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--num-frames", 0), "--num-frames"),
        (("--frame-stride", 0), "--frame-stride"),
        (("--fps", 0), "--fps"),
        (("--elevation", 95), "--elevation 95"),
        (("--truth-dir", "nowhere"), "nowhere is not a folder"),
    ],
)
def test_bad_requests_are_named_and_write_nothing(meshes: Path, tmp_path: Path, arguments, message: str) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        run("--input-dir", meshes, "--output-path", tmp_path / "out.mp4", *arguments)
    assert sorted(tmp_path.iterdir()) == before


def test_truth_in_scene_units_needs_to_know_the_way(meshes: Path, tmp_path: Path) -> None:
    (meshes / "meshes.json").unlink()
    with pytest.raises(InputError, match="--truth-units scene: .* says nothing of the way"):
        run("--input-dir", meshes, "--output-path", tmp_path / "out", "--truth-dir", tmp_path / "truth",
            "--truth-units", "scene")  # fmt: skip


def test_an_unreadable_mesh_is_named_and_leaves_no_video(meshes: Path, tmp_path: Path) -> None:
    (meshes / "frame_000001.ply").write_text("not a mesh")
    with pytest.raises(InputError, match=r"frame_000001\.ply cannot be read"):
        run("--input-dir", meshes, "--output-path", tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*.mp4"))
