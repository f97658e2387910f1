"""Points from rendered depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from ball_pipeline import RADIUS, BallPipeline, ball_centre

from nf_plugins.errors import InputError
from nf_plugins.exporters import depth_points
from nf_plugins.exporters.depth_points import depth_of, median_depth_points, one_per_voxel, write_points


def test_points_lie_on_the_ball_in_world_units() -> None:
    pipeline = BallPipeline()
    cameras = pipeline.datamanager.train_dataset.cameras
    at_end = cameras[torch.tensor([3, 7])]  # both cameras, last frame
    points, colors = median_depth_points(pipeline, at_end, mask_erosion=0)
    centre = 2 * ball_centre(1.0).numpy() + np.array([5.0, 0.0, -1.0])
    distance = np.linalg.norm(points - centre, axis=1)
    assert len(points) > 50 and np.abs(distance - 2 * RADIUS).max() < 1e-4
    normals = (points - centre) / (2 * RADIUS)
    assert np.abs(colors / 255 - (0.5 + 0.4 * normals)).max() < 0.01
    inner, _ = median_depth_points(pipeline, at_end, mask_erosion=3)
    assert 0 < len(inner) < len(points)


def test_a_median_is_preferred_to_a_mean_and_some_depth_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {name: torch.zeros(2, 2, 1) for name in ("rgb", "accumulation")}
    assert float(depth_of(outputs | {"depth": torch.ones(1), "median_depth": torch.zeros(1)})) == 0
    with pytest.raises(InputError, match="expected rgb, accumulation and median_depth or depth"):
        depth_of(outputs)
    broken = {
        "rgb": torch.ones(4, 4, 3),
        "accumulation": torch.ones(4, 4, 1),
        "depth": torch.full((4, 4, 1), torch.nan),
    }
    broken["depth"][1, 2] = 1.0
    monkeypatch.setattr(depth_points, "render_frame", lambda pipeline, camera: broken)
    pipeline = BallPipeline()
    camera = pipeline.datamanager.train_dataset.cameras[:1]
    camera.rescale_output_resolution(4 / 24)
    assert len(median_depth_points(pipeline, camera, mask_erosion=0)[0]) == 1


def test_a_voxel_keeps_the_mean_of_its_points() -> None:
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.1, 0.1], [1.7, 0.2, 0.2]], dtype=np.float32)
    colors = np.array([[0, 10, 0], [100, 20, 0], [7, 7, 7], [9, 9, 9]], dtype=np.uint8)
    kept, means = one_per_voxel(points, colors, 1.0)
    assert np.allclose(kept, [[-0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [1.7, 0.2, 0.2]])
    assert means.tolist() == [[7, 7, 7], [50, 15, 0], [9, 9, 9]]
    assert one_per_voxel(points, colors, 0.0)[0] is points


def test_a_written_cloud_is_read_by_others(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    colors = np.arange(60, dtype=np.uint8).reshape(20, 3)
    write_points(tmp_path / "a" / "cloud.ply", points, colors)
    cloud: Any = trimesh.load(tmp_path / "a" / "cloud.ply")
    assert np.array_equal(np.asarray(cloud.vertices, dtype=np.float32), points)
    assert np.array_equal(np.asarray(cloud.colors)[:, :3], colors)
