"""nf-export mesh: which times, which units, which files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import ball_scan
import numpy as np
import pytest
import trimesh
import tyro
from ball_pipeline import RADIUS, BallModel, BallPipeline, BallSurface, ball_centre, ball_config
from still_ball_pipeline import StillBallPipeline, still_ball_config

from nf_plugins.cli.export import ExportMesh
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def ball_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")
    monkeypatch.setattr(
        load_run_module, "load_run", lambda load_config, test_mode: (ball_config(), BallPipeline(), Path("c.ckpt"), 5)
    )
    return config


def run(*arguments: object) -> None:
    tyro.extras.subcommand_cli_from_dict({"mesh": ExportMesh}, args=["mesh", *map(str, arguments)]).main()


def load(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, force="mesh")
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def test_meshes_move_with_time_in_world_units(ball_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    run("--load-config", ball_run, "--output-dir", out, "--times", 0.0, 1.0, "--resolution", 32)
    for time in (0.0, 1.0):
        mesh = load(out / f"time_{time:.6f}.ply")
        assert mesh.is_watertight
        centre = 2.0 * ball_centre(time).numpy() + (5.0, 0.0, -1.0)
        assert np.allclose(np.linalg.norm(mesh.vertices - centre, axis=1), 2.0 * RADIUS, atol=0.01)
        assert np.asarray(mesh.visual.vertex_colors)[:, :3].std() > 20
    content = json.loads((out / "meshes.json").read_text())
    assert content["units"] == "world" and content["step"] == 5
    assert [entry["time"] for entry in content["meshes"]] == [0.0, 1.0]
    assert content["meshes"][0]["num_faces"] == len(load(out / "time_0.000000.ply").faces)


def test_frames_in_scene_units_and_another_format(ball_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    options = ("--resolution", 24, "--units", "scene", "--format", "glb")
    run("--load-config", ball_run, "--output-dir", out, "--frames", 0, 3, *options)
    assert sorted(path.name for path in out.iterdir()) == ["frame_000000.glb", "frame_000003.glb", "meshes.json"]
    assert np.allclose(load(out / "frame_000003.glb").centroid, ball_centre(1.0).numpy(), atol=0.01)


def test_all_frames(ball_run: Path, tmp_path: Path) -> None:
    run("--load-config", ball_run, "--output-dir", tmp_path / "m", "--all-frames", "--resolution", 16, "--no-colors")
    times = [entry["time"] for entry in json.loads((tmp_path / "m" / "meshes.json").read_text())["meshes"]]
    assert times == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])


def test_every_second_frame(ball_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    run("--load-config", ball_run, "--output-dir", out, "--all-frames", "--frame-stride", 2, "--resolution", 16)
    content = json.loads((out / "meshes.json").read_text())
    assert [entry["frame_id"] for entry in content["meshes"]] == [0, 2]
    assert np.asarray(content["world_from_scene"])[:3, 3].tolist() == [5.0, 0.0, -1.0]


@pytest.mark.parametrize("file_format", ["ply", "obj", "glb"])
def test_every_format_holds_colours_and_outward_normals(ball_run: Path, tmp_path: Path, file_format: str) -> None:
    out = tmp_path / "meshes"
    arguments = ("--units", "scene", "--resolution", 24, "--format", file_format)
    run("--load-config", ball_run, "--output-dir", out, "--frames", 1, *arguments)
    mesh = trimesh.load(out / f"frame_000001.{file_format}", force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    stored = {"ply": b"property float nz", "obj": b"\nvn ", "glb": b'"NORMAL"'}
    assert stored[file_format] in (out / f"frame_000001.{file_format}").read_bytes()
    offsets = mesh.vertices - ball_centre(1 / 3).numpy()
    assert ((mesh.vertex_normals * offsets).sum(axis=1) > 0.98 * RADIUS).all()
    assert np.asarray(mesh.visual.vertex_colors)[:, :3].std() > 20


def test_frames_that_fail_do_not_lose_the_others(ball_run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    original = BallModel.surface_at

    def surface_at(model: BallModel, time: float):
        if 0.3 < time < 0.4:
            raise RuntimeError("CUDA out of memory")
        return original(model, time)

    monkeypatch.setattr(BallModel, "surface_at", surface_at)
    out = tmp_path / "meshes"
    with pytest.raises(InputError, match=r"1 of 4 meshes could not be made, at the times 0\.333333 \(CUDA out"):
        run("--load-config", ball_run, "--output-dir", out, "--all-frames", "--resolution", 16)
    assert not (out / "meshes.json").exists()
    content = json.loads((out / "meshes.partial.json").read_text())
    assert [entry["file"] is None for entry in content["meshes"]] == [False, True, False, False]
    assert content["meshes"][1]["error"] == "CUDA out of memory"
    assert all((out / entry["file"]).is_file() for entry in content["meshes"] if entry["file"])
    assert "3 meshes" in capsys.readouterr().out


def test_no_surface_anywhere_is_said(ball_run: Path, tmp_path: Path, monkeypatch) -> None:
    outside = SimpleNamespace(bounds=BallSurface(0.0).bounds, signed_distance=lambda points: points[:, :1] * 0 + 1.0)
    monkeypatch.setattr(BallModel, "surface_at", lambda model, time: outside)
    with pytest.raises(InputError, match="No surface was found at any of the 2 times"):
        run("--load-config", ball_run, "--output-dir", tmp_path / "m", "--times", 0.0, 1.0, "--resolution", 16)
    assert not list((tmp_path / "m").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frames", 0, "--frame-stride", 2), "--frame-stride 2: expected 1 or more, together with --all-frames"),
        (("--all-frames", "--frame-stride", 0), "--frame-stride 0"),
        (("--times", 0.5, 1.5), "--times: 1.5 is outside the sequence"),
        (("--times", "nan"), "--times: nan is outside"),
        (("--frames", 0, 4), "--frames: frame 4 is outside the sequence, expected 0 to 3"),
        (("--frames", -1), "--frames: frame -1"),
        ((), "exactly one of --times, --frames and --all-frames"),
        (("--times", 0.5, "--all-frames"), "exactly one of"),
        (("--times", 0.5, "--coarse-resolution", 999), "--coarse-resolution"),
    ],
)
def test_bad_requests_are_named_and_write_nothing(ball_run: Path, tmp_path: Path, arguments, message: str) -> None:
    out = tmp_path / "meshes"
    with pytest.raises(InputError, match=message):
        run("--load-config", ball_run, "--output-dir", out, *arguments)
    assert not out.exists() or not list(out.iterdir())


def test_a_method_without_a_surface_is_named(ball_run: Path, tmp_path: Path, monkeypatch) -> None:
    pipeline = SimpleNamespace(model=object())
    monkeypatch.setattr(load_run_module, "load_run", lambda load_config, test_mode: (ball_config(), pipeline, None, 0))
    with pytest.raises(InputError, match="method ball of .* has no surface"):
        run("--load-config", ball_run, "--output-dir", tmp_path / "meshes", "--times", 0.5)


@pytest.mark.parametrize(
    ("resolution", "coarse", "block_size"), [(256, None, 8), (256, 256, 1), (256, 32, 8), (100, 10, 8), (512, 64, 8)]
)
def test_coarse_resolution_chooses_the_block_size(resolution: int, coarse: int | None, block_size: int) -> None:
    export = ExportMesh(Path("a"), Path("b"), resolution=resolution, coarse_resolution=coarse)
    assert export.grid_settings().block_size == block_size


def test_a_trained_run_gives_meshes_at_its_times(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    run("--load-config", tiny_run, "--output-dir", out, "--times", 0.0, 1.0, "--resolution", 32)
    for entry in json.loads((out / "meshes.json").read_text())["meshes"]:
        mesh = load(out / entry["file"])
        assert len(mesh.faces) > 50 and mesh.is_watertight
        # World units of the tiny scene: twice the scene's, centred at (0.3, -0.2, 1.1).
        assert np.abs(mesh.vertices - (0.3, -0.2, 1.1)).max() < 2.0


@pytest.fixture
def still_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a scene without times: a ball, and a speck that no mask shows."""
    scan = ball_scan.write_ball_scan(tmp_path / "scan7", num_views=6)
    run_of = (still_ball_config(scan), StillBallPipeline(scan), Path("c.ckpt"), 5)
    monkeypatch.setattr(load_run_module, "load_run", lambda load_config, test_mode: run_of)
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")
    return config


def test_a_still_scene_gives_one_mesh_without_asking_for_times(still_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    run("--load-config", still_run, "--output-dir", out, "--resolution", 32)
    assert sorted(path.name for path in out.iterdir()) == ["mesh.ply", "meshes.json"]
    mesh = load(out / "mesh.ply")
    assert mesh.body_count == 2
    ball = max(mesh.split(), key=lambda part: part.area)
    assert np.allclose(ball.centroid, ball_scan.WORLD_CENTRE, atol=0.5)
    with pytest.raises(InputError, match="stands still"):
        run("--load-config", still_run, "--output-dir", out, "--times", 0.5)


def test_principal_axes_and_culling_keep_the_ball_alone(still_run: Path, tmp_path: Path) -> None:
    for name, options in (("axes", ("--principal-axes",)), ("culled", ("--cull-by-masks", "--mask-dilation", 60.0))):
        out = tmp_path / name
        run("--load-config", still_run, "--output-dir", out, "--resolution", 32, "--units", "scene", *options)
        mesh = load(out / "mesh.ply")
        assert mesh.body_count == 1 and mesh.is_watertight
        assert np.allclose(np.linalg.norm(mesh.vertices, axis=1), ball_scan.RADIUS, atol=2e-3)
        assert np.asarray(mesh.visual.vertex_colors)[:, :3].std() > 20
    assert json.loads((tmp_path / "axes" / "meshes.json").read_text())["principal_axes"]


def test_culling_needs_masks_of_one_time(ball_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masks of a moving scene"):
        run("--load-config", ball_run, "--output-dir", tmp_path / "m", "--times", 0.5, "--cull-by-masks")


def test_learnt_poses_are_aligned_with_the_true_ones_or_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = ball_scan.write_ball_scan(tmp_path / "scan7", num_views=6)
    pipeline = StillBallPipeline(scan, pose_noise_degrees=3.0)
    metadata = pipeline.datamanager.train_dataset.metadata
    learnt = metadata["true_camera_to_worlds"].clone()
    learnt[:, :, 3] *= 0.8
    pipeline.model.learnt_poses, pipeline.model.radius = learnt, 0.8 * ball_scan.RADIUS
    run_of = (still_ball_config(scan), pipeline, Path("c.ckpt"), 5)
    monkeypatch.setattr(load_run_module, "load_run", lambda load_config, test_mode: run_of)
    (tmp_path / "config.yml").touch()
    for name, known in (("aligned", True), ("given", False)):
        if not known:
            del metadata["true_camera_to_worlds"]
        options = ("--resolution", 32, "--principal-axes", "--output-dir", tmp_path / name)
        run("--load-config", tmp_path / "config.yml", *options)
        radius = ball_scan.RADIUS * ball_scan.WORLD_SCALE * (1.0 if known else 0.8)
        vertices = load(tmp_path / name / "mesh.ply").vertices
        assert np.allclose(np.linalg.norm(vertices - ball_scan.WORLD_CENTRE, axis=1), radius, atol=0.2)
        header = json.loads((tmp_path / name / "meshes.json").read_text())
        assert header["aligned_to_true_cameras"] is known
        # The data's own, by which true meshes in its scene come to lie beside these.
        assert np.allclose(header["world_from_scene"], metadata["world_from_scene"])
        assert ("cameras that were given" in " ".join(capsys.readouterr().out.split())) is not known
