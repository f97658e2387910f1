"""A run's splits and meshes together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from ball_pipeline import NUM_FRAMES, RADIUS, BallPipeline, ball_centre, ball_config

from nf_plugins.engine import load_run as load_run_module
from nf_plugins.engine.training_record import RECORD_NAME, StepInterval, update_training_record
from nf_plugins.errors import InputError
from nf_plugins.evaluation.evaluate_run import RunEvaluationOptions, evaluate_run
from nf_plugins.evaluation.split_folder import FolderOptions


class BallRun:
    """A run folder whose pipeline is made anew at every loading."""

    def __init__(self, folder: Path) -> None:
        self.config_path = folder / "config.yml"
        self.checkpoint = folder / "step-000000005.ckpt"
        folder.mkdir()
        self.config_path.write_text("a stand-in\n")
        self.checkpoint.write_bytes(b"weights")
        self.truths: list[Path] = []
        for frame in range(NUM_FRAMES):
            ball = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS)
            ball.apply_translation(ball_centre(frame / (NUM_FRAMES - 1)).numpy())
            self.truths.append(folder / f"{frame}.ply")
            ball.export(self.truths[-1])
        self.pipelines: list[BallPipeline] = []

    def load(self, load_config: Path, test_mode: str):
        pipeline = BallPipeline(0.1)
        pipeline.datamanager.train_dataset.metadata["mesh_filenames"] = self.truths
        self.pipelines.append(pipeline)
        return ball_config(), pipeline, self.checkpoint, 5


@pytest.fixture
def ball_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BallRun:
    run = BallRun(tmp_path / "run")
    monkeypatch.setattr(load_run_module, "load_run", run.load)
    return run


def options(**keywords) -> RunEvaluationOptions:
    return RunEvaluationOptions(use_lpips=False, mesh_resolution=24, mesh_samples=500, **keywords)


def test_several_splits_and_meshes_of_one_loading(ball_run: BallRun, tmp_path: Path) -> None:
    record = ball_run.config_path.with_name(RECORD_NAME)
    update_training_record(record, StepInterval(0, 5, 12.5), machine="cpu: x", num_parameters=1)
    out = tmp_path / "out"
    chosen = options(splits=("test", "train"), folders=FolderOptions(out), all_mesh_frames=True)
    results = evaluate_run(ball_run.config_path, chosen)
    assert list(results) == ["test", "train"] and len(ball_run.pipelines) == 1
    assert [len(result["images"]) for result in results.values()] == [4, 8]
    assert results["test"]["training"] == {
        "steps": 6, "seconds": 12.5, "timed_steps": 6, "machine": "cpu: x",
        "peak_gpu_bytes": results["test"]["training"]["peak_gpu_bytes"],
    }  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == ["meshes", "test", "train"]
    for split, result in results.items():
        stored = json.loads((out / split / "results.json").read_text())
        assert stored["geometry"]["mean"] == result["geometry"]["mean"]
        names = stored["reference_names"]
        assert names["mean"]["CD"] == result["geometry"]["mean"]["chamfer_l1_sum"] < 0.15
        assert [row["CD"] for row in names["per_frame"]] == [
            row["chamfer_l1_sum"] for row in result["geometry"]["per_frame"]
        ]
    index = json.loads((out / "meshes" / "meshes.json").read_text())
    assert [entry["file"] for entry in index["meshes"]] == [f"{frame:06d}.ply" for frame in range(4)]
    assert index["units"] == "scene" and np.asarray(index["world_from_scene"]).shape == (4, 4)
    mesh = trimesh.load(out / "meshes" / "000003.ply", force="mesh", process=False)
    assert np.allclose(np.linalg.norm(mesh.vertices - ball_centre(1.0).numpy(), axis=1), RADIUS, atol=0.01)
    assert np.asarray(mesh.visual.vertex_colors)[:, :3].std() > 20


def test_complete_images_and_meshes_are_not_made_again(
    ball_run: BallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(folders=FolderOptions(tmp_path / "out"), mesh_frames=(0, 2))
    first = evaluate_run(ball_run.config_path, chosen)
    from nf_plugins.evaluation import evaluate_run as module

    monkeypatch.setattr(module, "measure_meshes", None)
    again = evaluate_run(ball_run.config_path, chosen)
    assert again["test"]["geometry"] == first["test"]["geometry"]
    assert ball_run.pipelines[1].model.was_in_training_mode == []


def test_without_a_true_surface_the_meshes_are_written_all_the_same(ball_run: BallRun, tmp_path: Path, capsys) -> None:
    ball_run.truths = []
    results = evaluate_run(ball_run.config_path, options(folders=FolderOptions(tmp_path / "out"), mesh_frames=(1,)))
    assert "geometry" not in results["test"] and results["test"]["training"] is None
    assert sorted(path.name for path in (tmp_path / "out" / "meshes").iterdir()) == ["000001.ply", "meshes.json"]
    assert "no true surfaces" in capsys.readouterr().out
    with pytest.raises(InputError, match="add --output-dir to extract"):
        evaluate_run(ball_run.config_path, options(mesh_frames=(1,)))


def test_bad_frames_are_named_before_anything_is_rendered(ball_run: BallRun, tmp_path: Path) -> None:
    folders = FolderOptions(tmp_path / "out")
    with pytest.raises(InputError, match="--mesh-frames: frame 4 is outside the sequence, expected 0 to 3"):
        evaluate_run(ball_run.config_path, options(folders=folders, mesh_frames=(0, 4)))
    with pytest.raises(InputError, match="not both"):
        evaluate_run(ball_run.config_path, options(folders=folders, mesh_frames=(0,), all_mesh_frames=True))
    assert not (tmp_path / "out").exists()
    assert all(pipeline.model.was_in_training_mode == [] for pipeline in ball_run.pipelines)


def test_a_method_without_a_surface_is_named(ball_run: BallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ball_pipeline.BallModel.surface_at")
    with pytest.raises(InputError, match="the method ball has no surface"):
        evaluate_run(ball_run.config_path, options(mesh_frames=(0,)))
