"""Pictures and mesh of one training step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from ball_pipeline import RADIUS, SIZE, BallPipeline, ball_centre
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.image_files import read_image
from nf_plugins.exporters.snapshots import (
    SnapshotSettings,
    read_snapshots,
    snapshot_camera,
    snapshots_with,
    write_snapshot,
)

SETTINGS = SnapshotSettings(image=3, downscale=2.0, mesh_resolution=16)


class NoSurface:
    """A signed distance that is nowhere zero."""

    bounds = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])

    def signed_distance(self, points: Tensor) -> Tensor:
        return torch.ones_like(points[:, :1])

    def color(self, points: Tensor) -> Tensor:
        raise AssertionError("nothing to colour")


def test_pictures_are_reduced_and_the_mesh_is_that_of_the_cameras_time_in_world_units(tmp_path: Path) -> None:
    pipeline = BallPipeline().eval()
    before = int(pipeline.datamanager.train_dataset.cameras[3].width)
    snapshot = write_snapshot(pipeline, tmp_path, 1000, SETTINGS)
    names = {name: f"step-000001000_{name}.png" for name in ("rgb", "normal_rgb", "depth")}
    assert {name: path.name for name, path in snapshot.pictures.items()} == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001000.ply", *sorted(names.values())]
    assert all(read_image(path).shape == (SIZE // 2, SIZE // 2, 3) for path in snapshot.pictures.values())
    assert int(pipeline.datamanager.train_dataset.cameras[3].width) == before  # the training camera is as it was
    mesh = trimesh.load(snapshot.mesh, force="mesh")
    world = 2.0 * ball_centre(1.0).numpy() + np.array([5.0, 0.0, -1.0])  # image 3 is the last frame
    radii = np.linalg.norm(np.asarray(mesh.vertices) - world, axis=-1)
    assert np.abs(radii - 2.0 * RADIUS).max() < 0.05
    assert len(np.unique(mesh.visual.vertex_colors, axis=0)) > 10


def test_depth_has_one_range_of_colours_at_all_steps(tmp_path: Path) -> None:
    pipeline = BallPipeline().eval()
    pipeline.model.scene_box = SimpleNamespace(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    original = pipeline.model.get_outputs_for_camera
    pictures = []
    for step, nearer in enumerate((0.0, 0.3)):
        pipeline.model.get_outputs_for_camera = lambda camera, nearer=nearer: {
            **original(camera),
            "depth": original(camera)["depth"] - nearer,
        }
        pictures.append(read_image(write_snapshot(pipeline, tmp_path, step, SETTINGS).pictures["depth"]))
    assert not np.array_equal(*pictures)  # a range by each picture's own depth would hide the difference


def test_without_a_surface_there_is_no_mesh_and_an_older_one_goes(tmp_path: Path) -> None:
    pipeline = BallPipeline().eval()
    assert write_snapshot(pipeline, tmp_path, 5, SETTINGS).mesh is not None
    pipeline.model.surface_at = lambda time: NoSurface()
    snapshot = write_snapshot(pipeline, tmp_path, 5, SETTINGS)
    assert snapshot.mesh is None and len(snapshot.pictures) == 3
    assert not list(tmp_path.glob("*.ply"))


def test_only_what_the_model_has_is_drawn(tmp_path: Path) -> None:
    pipeline = BallPipeline().eval()
    pipeline.model.get_outputs_for_camera = lambda camera: {"rgb": torch.zeros(4, 4, 3)}
    snapshot = write_snapshot(pipeline, tmp_path, 0, SnapshotSettings(mesh_resolution=0))
    assert set(snapshot.pictures) == {"rgb"} and snapshot.mesh is None


def test_snapshots_are_read_in_order_of_their_steps(tmp_path: Path) -> None:
    for name in ("step-000000020_rgb.png", "step-000000003_rgb.png", "step-000000003.ply", "step-000000003_depth.png"):
        (tmp_path / name).touch()
    (tmp_path / ".step-000000040_rgb.x1.png").touch()  # was being written when the process was killed
    snapshots = read_snapshots(tmp_path)
    assert [snapshot.step for snapshot in snapshots] == [3, 20]
    assert snapshots[0].mesh == tmp_path / "step-000000003.ply" and snapshots[1].mesh is None
    assert [snapshot.step for snapshot in snapshots_with(snapshots, ["rgb", "depth"])] == [3]
    with pytest.raises(InputError, match="--outputs normal_rgb: no snapshot .* there are depth rgb"):
        snapshots_with(snapshots, ["normal_rgb"])
    with pytest.raises(InputError, match="There are no snapshots in .*nowhere"):
        read_snapshots(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SnapshotSettings(image=8), "expected 0 to 7"),
        (SnapshotSettings(downscale=100.0), "leaves no pixel"),
    ],
)
def test_cameras_that_are_not_there_are_named(settings: SnapshotSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        snapshot_camera(BallPipeline(), settings)


@pytest.mark.parametrize("fields", [{"image": -1}, {"downscale": 0.0}, {"mesh_resolution": 1}])
def test_values_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InputError, match="--snapshot-"):
        SnapshotSettings(**fields).check()  # type: ignore[arg-type]
