"""The registered temporal signed-distance methods, and one of them from the command line to its meshes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from ball_meshes import RADIUS, write_ball_anime
from nerfstudio.engine.trainer import TrainerConfig

from method_configs import resfields_tsdf
from nf_plugins.cli.export import ExportMesh
from nf_plugins.engine.load_run import LoadedRun, load_run
from nf_plugins.evaluation.evaluate_geometry import evaluate_geometry
from nf_plugins.exporters.signed_distance_grid import GridSettings


def test_published_numbers() -> None:
    config: Any = resfields_tsdf.resfields_tsdf.config
    adam, cosine = (config.optimizers["fields"][key] for key in ("optimizer", "scheduler"))
    assert (adam.lr, cosine.lr_final, cosine.max_steps) == (5e-5, pytest.approx(5e-6), 200_000)
    assert config.max_num_iterations == 200_000 and not config.mixed_precision
    sampler, network = config.pipeline.datamanager.point_sampler, config.pipeline.model.field
    assert (sampler.points_per_step, sampler.near_surface_std, sampler.clip_sdf) == (250_000, 0.01, None)
    assert (network.network, network.hidden_dim, network.num_hidden_layers, network.omega) == ("siren", 256, 4, 30)
    assert (network.residual_layers, network.residual_rank, network.residual_mode) == ((1, 2, 3), (10,), "lookup")
    assert config.pipeline.model.loss_offset == 0.01
    plain: Any = resfields_tsdf.siren_tsdf.config
    assert plain.pipeline.model.field.residual_layers == ()
    grid: Any = resfields_tsdf.ngp_tsdf.config
    field = grid.pipeline.model.field
    assert (field.network, field.hash_num_levels, field.hash_log2_table_size, field.hash_growth) == (
        "hash_grid", 16, 20, 1.5,
    )  # fmt: skip
    methods = [value for name, value in vars(resfields_tsdf).items() if name.endswith(("_tsdf", "_tiny"))]
    for method in methods:
        assert isinstance(method.config, TrainerConfig)
        assert method.config.method_name.replace("-", "_") in vars(resfields_tsdf)
        parser: Any = method.config.pipeline.datamanager.dataparser  # type: ignore[attr-defined]
        assert sum(value.config.pipeline.datamanager.dataparser is parser for value in methods) == 1  # not shared


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """resfields-tsdf-tiny after a few steps on a ball, from the command line."""
    folder = tmp_path_factory.mktemp("tsdf")
    anime = write_ball_anime(folder / "ball.anime", num_frames=4, subdivisions=2)
    command = [
        "resfields-tsdf-tiny", "--data", str(anime), "--output-dir", str(folder / "outputs"), "--vis", "tensorboard",
        "--max-num-iterations", "60", "--experiment-name", "ball", "--steps-per-eval-batch", "30",
        "--optimizers.fields.optimizer.lr", "2e-3", "--pipeline.datamanager.point-sampler.points-per-step", "2048",
        "mesh-sequence-data", "--resolution", "24", "--num-cameras", "2", "--test-every", "2",
    ]  # fmt: skip
    script = Path(sys.executable).with_name("ns-train")
    process = subprocess.run([str(script), *command], capture_output=True, text=True, check=False, cwd=folder)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    (path,) = folder.glob("outputs/ball/resfields-tsdf-tiny/*/config.yml")
    return load_run(path)


def test_training_ends_with_the_held_out_frames_evaluated(trained: LoadedRun) -> None:
    result = json.loads((trained.base_dir / "evaluation" / "test.json").read_text())
    assert [row["time"] for row in result["images"]] == [pytest.approx(1 / 3)]
    assert "held out of training: 1 of 4" in result["protocol"]["protocol_note"]
    assert result["mean"]["psnr"] > 3


def test_meshes_of_all_frames_are_exported_in_the_units_of_the_file(trained: LoadedRun, tmp_path: Path) -> None:
    ExportMesh(trained.base_dir / "config.yml", tmp_path, all_frames=True, resolution=32).main()
    written = json.loads((tmp_path / "meshes.json").read_text())["meshes"]
    assert [entry["time"] for entry in written] == [0, pytest.approx(2 / 3), 1]
    meshes = [trimesh.load(tmp_path / entry["file"]) for entry in written]
    for mesh in meshes:
        assert mesh.is_watertight  # type: ignore[union-attr]
        low, high = mesh.bounds  # type: ignore[union-attr]
        assert (low > 0.8).all() and (high < 3.2).all()  # world units around the ball at (2, 2, 2)
        assert (high - low).max() > RADIUS


def test_geometry_is_measured_at_held_out_frames_too(trained: LoadedRun) -> None:
    result = evaluate_geometry(trained.pipeline, [0, 1, 3], GridSettings(resolution=24), num_samples=500)
    assert [(row["frame_id"], row["held_out"]) for row in result["per_frame"]] == [(0, False), (1, True), (3, False)]
    assert result["per_frame"][1]["time"] == pytest.approx(1 / 3)
    assert result["mean_held_out"]["chamfer_l1_sum"] == result["per_frame"][1]["chamfer_l1_sum"]
    trained_rows = [result["per_frame"][row]["normal_distance"] for row in (0, 2)]
    assert result["mean_training"]["normal_distance"] == pytest.approx(np.mean(trained_rows))
    assert all(np.isfinite(value) for value in result["mean"].values())


def test_truth_against_itself_is_near_nothing(trained: LoadedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook gives the true meshes of the right frames, in scene units."""
    sequence = trained.pipeline.datamanager.train_dataset.metadata["mesh_sequence"]  # type: ignore[union-attr]

    def true_mesh(surface: Any, *arguments: Any, **options: Any) -> trimesh.Trimesh:
        frame = int(np.abs(sequence.times - float(surface.time)).argmin())
        return trimesh.Trimesh(sequence.meshes[frame].vertices, sequence.meshes[frame].faces, process=False)

    monkeypatch.setattr("nf_plugins.evaluation.evaluate_geometry.extract_mesh", true_mesh)
    result = evaluate_geometry(trained.pipeline, range(4), num_samples=3000)
    assert result["mean"]["chamfer_l2_mean"] < 0.05
    assert len({round(row["accuracy"], 3) for row in result["per_frame"]}) <= 2
