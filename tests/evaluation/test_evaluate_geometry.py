"""Meshes of the moving ball against its true meshes on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from ball_pipeline import NUM_FRAMES, RADIUS, BallPipeline, ball_centre

from nf_plugins.errors import InputError
from nf_plugins.evaluation.evaluate_geometry import distance_matrix, evaluate_geometry, load_truth
from nf_plugins.exporters.signed_distance_grid import GridSettings


@pytest.fixture
def pipeline(tmp_path: Path) -> BallPipeline:
    pipeline, files = BallPipeline(), []
    for frame in range(NUM_FRAMES):
        ball = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
        ball.apply_translation(ball_centre(frame / (NUM_FRAMES - 1)).numpy())
        files.append(tmp_path / f"{frame}.ply")
        ball.export(files[-1])
    pipeline.datamanager.train_dataset.metadata["mesh_filenames"] = files
    return pipeline


def test_the_true_surface_is_near_in_scene_and_in_world_units(pipeline: BallPipeline) -> None:
    options = {"settings": GridSettings(resolution=40), "num_samples": 4000}
    scene = evaluate_geometry(pipeline, [0, 3], **options)
    world = evaluate_geometry(pipeline, [0, 3], **options, in_world_units=True)
    assert [row["frame_id"] for row in scene["per_frame"]] == [0, 3]
    assert scene["truth"] == "mesh" and scene["units"] == "scene" and world["units"] == "world"
    assert 0 < scene["mean"]["chamfer_l2_mean"] < 0.03
    assert world["mean"]["chamfer_l2_mean"] == pytest.approx(2 * scene["mean"]["chamfer_l2_mean"], rel=1e-6)


def test_every_frame_is_nearest_to_its_own_truth(pipeline: BallPipeline) -> None:
    balls = [load_truth(path) for path in pipeline.datamanager.train_dataset.metadata["mesh_filenames"]]
    matrix = distance_matrix(balls, balls, num_samples=2000)
    values = np.array([[entry.chamfer_l1_sum for entry in row] for row in matrix])
    assert (values.argmin(axis=1) == np.arange(NUM_FRAMES)).all()
    assert (values[0, 1:] > values[0, :-1]).all()


def test_a_point_cloud_is_a_truth_too(pipeline: BallPipeline, tmp_path: Path) -> None:
    metadata = pipeline.datamanager.train_dataset.metadata
    points = np.asarray(load_truth(metadata["mesh_filenames"][1]).vertices)
    trimesh.PointCloud(points).export(tmp_path / "cloud.ply")
    del metadata["mesh_filenames"]
    metadata["point_cloud_filenames"] = [tmp_path / "cloud.ply"] * NUM_FRAMES
    result = evaluate_geometry(pipeline, [1], GridSettings(resolution=40), num_samples=4000)
    assert result["truth"] == "point_cloud"
    assert result["mean"]["chamfer_l2_mean"] < 0.03 and np.isnan(result["mean"]["normal_distance"])


def test_what_is_missing_is_named(pipeline: BallPipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Frame 4 is outside the sequence, expected 0 to 3"):
        evaluate_geometry(pipeline, [4])
    with pytest.raises(InputError, match=r"gone.ply is missing"):
        load_truth(tmp_path / "gone.ply")
    (tmp_path / "bad.ply").write_text("not a mesh")
    with pytest.raises(InputError, match=r"bad.ply cannot be read"):
        load_truth(tmp_path / "bad.ply")
    with pytest.raises(InputError, match="true meshes or point clouds"):
        evaluate_geometry(BallPipeline(), [0])
