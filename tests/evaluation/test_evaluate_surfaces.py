"""Views, mesh and cameras of a static surface that is known in closed form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ball_scan
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from still_ball_pipeline import StillBall, StillBallModel, StillBallPipeline, still_ball_config

from nf_plugins.atomic_files import write_json
from nf_plugins.errors import InputError
from nf_plugins.evaluation.contact_sheet import choose_images, pipeline_contact_sheet
from nf_plugins.evaluation.dataset_images import image_identity
from nf_plugins.evaluation.dtu_chamfer import DTUChamferSettings
from nf_plugins.evaluation.dtu_reference import SurfaceReference
from nf_plugins.evaluation.evaluate import evaluate_pipeline
from nf_plugins.evaluation.evaluate_geometry import evaluate_geometry
from nf_plugins.evaluation.evaluate_run import mesh_times
from nf_plugins.evaluation.evaluate_surfaces import SurfaceEvaluationOptions, evaluate_surfaces
from nf_plugins.evaluation.evaluate_views import whole_masked_ssim
from nf_plugins.evaluation.image_metrics import psnr, ssim
from nf_plugins.exporters.signed_distance_grid import GridSettings


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = ball_scan.write_ball_scan(tmp_path_factory.mktemp("scans") / "scan7", num_views=6, linear_init_degrees=3.0)
    (root / "mesh").mkdir()
    trimesh.creation.icosphere(subdivisions=4, radius=ball_scan.RADIUS).export(root / "mesh" / "000000.ply")
    return root


def evaluate(pipeline: StillBallPipeline, scan: Path, out: Path, **options: Any) -> dict[str, Any]:
    chosen = SurfaceEvaluationOptions(**{"mesh_resolution": 48, "use_lpips": False, "mesh_samples": 2000, **options})
    result = evaluate_surfaces(pipeline, still_ball_config(scan), 5, out, options=chosen)
    write_json(out / "result.json", result)  # plain values only
    return json.loads((out / "result.json").read_text())


def largest_radial_error(path: Path) -> float:
    """Of the vertices of a mesh, to the ball in millimetres."""
    vertices = trimesh.load(path, force="mesh").vertices
    radii = np.linalg.norm(vertices - ball_scan.WORLD_CENTRE, axis=1)
    return float(np.abs(radii - ball_scan.RADIUS * ball_scan.WORLD_SCALE).max())


def ball_reference() -> SurfaceReference:
    """Points of the ball in millimetres."""
    sphere = trimesh.creation.icosphere(subdivisions=6, radius=ball_scan.RADIUS * ball_scan.WORLD_SCALE)
    return SurfaceReference(np.asarray(sphere.vertices) + ball_scan.WORLD_CENTRE)


def test_masked_psnr_is_the_published_formula() -> None:
    truth, mask = torch.rand(12, 10, 3), torch.zeros(12, 10, 1)
    mask[3:7, 2:9] = 1.0
    rendered = truth + 0.1 * mask + 0.7 * (1 - mask)  # the error outside the mask does not count
    mean_over_image = ((rendered * mask - truth * mask) ** 2).mean()
    published = 20 * math.log10(1 / math.sqrt(mean_over_image * 12 * 10 / mask.sum()))
    assert published == pytest.approx(20.0, abs=1e-4)
    assert psnr(rendered, truth, mask) == pytest.approx(published, abs=1e-4)


def test_whole_image_ssim_is_lifted_by_the_black_around_the_object() -> None:
    torch.manual_seed(0)
    truth, rendered, mask = torch.rand(32, 32, 3), torch.rand(32, 32, 3), torch.zeros(32, 32, 1)
    mask[12:20, 12:20] = 1.0
    value = whole_masked_ssim(rendered, truth, mask)
    assert value == pytest.approx(ssim(rendered * mask, truth * mask))
    assert value is not None and value > 0.3 and (ssim(rendered, truth) or 0.0) < 0.2
    assert whole_masked_ssim(rendered, truth, None) is None
    assert whole_masked_ssim(rendered, truth, 0 * mask) is None
    assert whole_masked_ssim(2 * rendered - 0.5, truth, mask) == whole_masked_ssim(
        (2 * rendered - 0.5).clamp(0, 1), truth, mask
    )


def test_a_perfect_surface_scores_well_in_all_that_is_measured(scan: Path, tmp_path: Path) -> None:
    options = {"reference": ball_reference(), "chamfer": DTUChamferSettings(spacing=2.0), "error_clouds": True}
    result = evaluate(StillBallPipeline(scan), scan, tmp_path, mesh_samples=100_000, **options)
    views = result["train_views"]
    assert views["num_images"] == len(views["images"]) == 6 and not views["refined_poses"]
    assert views["mean"]["psnr_fg"] > 40 and views["mean"]["mask_iou"] == pytest.approx(1.0)
    assert views["mean"]["ssim_whole_masked_image"] > 0.99 and views["mean"]["lpips_fg"] is None
    assert result["held_out_views"] is None and result["camera_accuracy"] is None
    chamfer = result["dtu_chamfer"]
    assert chamfer["units"] == "mm" and chamfer["settings"]["spacing"] == 2.0
    assert 0.1 < chamfer["overall"] < 1.2  # the points are 1 and 2 mm apart
    assert result["surface_distances"]["units"] == "world"
    radius = ball_scan.RADIUS * ball_scan.WORLD_SCALE
    # The mean distance to the nearest of n random points on an area A is sqrt(A / n) / 2.
    expected = math.sqrt(math.pi * radius**2 / 100_000)
    assert result["surface_distances"]["accuracy"] == pytest.approx(expected, rel=0.03)
    assert result["surface_distances"]["completeness"] == pytest.approx(expected, rel=0.03)
    mesh = trimesh.load(tmp_path / "mesh_world.ply", force="mesh")
    assert mesh.is_watertight and mesh.body_count == 1  # without the speck
    radii = np.linalg.norm(mesh.vertices - ball_scan.WORLD_CENTRE, axis=1)
    assert np.allclose(radii, ball_scan.RADIUS * ball_scan.WORLD_SCALE, atol=0.1)
    assert (tmp_path / "accuracy.ply").is_file() and (tmp_path / "completeness.ply").is_file()
    assert result["protocol"]["method"] == "still-ball" and "masked PSNR" in result["protocol"]["metrics_note"]
    assert result["protocol"]["split"] == "train" and result["num_parameters"] == 1


def test_a_constant_error_on_the_object_gives_its_psnr(scan: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(StillBallModel, "surface_at")
    pipeline = StillBallPipeline(scan, offset=-0.1)
    pipeline.train()
    result = evaluate(pipeline, scan, tmp_path, image_stride=4)
    assert pipeline.training
    assert result["train_views"]["mean"]["psnr_fg"] == pytest.approx(20.0, abs=0.1)
    assert result["train_views"]["std"]["psnr_fg"] < 0.1
    assert result["train_views"]["num_images"] == 2 and result["protocol"]["image_stride"] == 4
    assert result["mesh"] is None and result["surface_distances"] is None


def test_held_out_views_stand_under_their_own_key(scan: Path, tmp_path: Path) -> None:
    pipeline = StillBallPipeline(scan, eval_mode="list", eval_views=(1, 4))
    result = evaluate(pipeline, scan, tmp_path, mesh_resolution=24, principal_axes=False)
    assert result["train_views"]["num_images"] == 4 and result["held_out_views"]["num_images"] == 2
    assert result["held_out_views"]["mean"]["psnr_fg"] > 40
    trained, held_out = (
        {row["file_name"] for row in result[key]["images"]} for key in ("train_views", "held_out_views")
    )
    assert not trained & held_out


def test_learnt_poses_are_used_and_compared_with_the_true_ones(scan: Path, tmp_path: Path) -> None:
    options = {"pose_noise_degrees": 4.0, "pose_noise_translation": 6.0, "pose_noise_seed": 3}
    noisy = evaluate(StillBallPipeline(scan, **options), scan, tmp_path / "noisy", mesh_resolution=24)
    learnt = evaluate(StillBallPipeline(scan, knows_poses=True, **options), scan, tmp_path / "learnt")
    for result in (noisy, learnt):
        assert 1.0 < result["camera_accuracy"]["before"]["rotation_degrees"]["mean"] < 15.0
        assert 1.0 < result["camera_accuracy"]["before"]["translation_world_units"]["mean"] < 30.0
    assert noisy["camera_accuracy"]["after"] == noisy["camera_accuracy"]["before"]
    assert learnt["camera_accuracy"]["after"]["rotation_degrees"]["max"] < 1e-2
    assert learnt["camera_accuracy"]["after"]["translation_world_units"]["max"] < 1e-2
    assert learnt["train_views"]["refined_poses"] and not noisy["train_views"]["refined_poses"]
    assert learnt["train_views"]["mean"]["psnr_fg"] > noisy["train_views"]["mean"]["psnr_fg"] + 10
    assert learnt["mesh"]["aligned_to_true_cameras"]
    assert largest_radial_error(tmp_path / "learnt" / "mesh_world.ply") < 0.2


def test_a_scene_that_drifted_as_a_whole_is_brought_back(scan: Path, tmp_path: Path) -> None:
    pipeline = StillBallPipeline(scan, eval_mode="list", eval_views=(2,), pose_noise_degrees=3.0)
    # The model has learnt everything turned by a quarter about z, and smaller.
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    learnt = quarter @ pipeline.datamanager.train_dataset.metadata["true_camera_to_worlds"]
    learnt[:, :, 3] *= 0.8
    pipeline.model.learnt_poses, pipeline.model.radius = learnt, 0.8 * ball_scan.RADIUS
    result = evaluate(pipeline, scan, tmp_path, mesh_resolution=32)
    after = result["camera_accuracy"]["after"]
    assert after["rotation_degrees"]["max"] < 0.01 and after["translation_world_units"]["max"] < 0.05
    assert np.allclose(np.asarray(after["alignment"])[:3, :3], quarter.T / 0.8, atol=1e-3)
    # The silhouette of the held-out view fits only from the aligned pose, and the mesh has its size in the world.
    assert result["held_out_views"]["mean"]["mask_iou"] > 0.97
    assert largest_radial_error(tmp_path / "mesh_world.ply") < 0.2


def test_no_zero_crossing_is_told_and_not_a_crash(scan: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(StillBall, "signed_distance", lambda self, points: torch.ones(len(points), 1))
    result = evaluate(StillBallPipeline(scan), scan, tmp_path, reference=ball_reference())
    assert result["mesh"]["num_faces"] == 0 and result["mesh"]["file"] is None
    assert result["dtu_chamfer"]["overall"] is None  # infinite
    assert not (tmp_path / "mesh_world.ply").exists()
    assert "mesh is empty" in capsys.readouterr().out


def test_a_distance_that_is_not_a_number_gives_no_mesh(scan: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(StillBall, "signed_distance", lambda self, points: torch.full((len(points), 1), math.nan))
    for principal_axes in (True, False):
        result = evaluate(
            StillBallPipeline(scan), scan, tmp_path, image_stride=6, mesh_resolution=16, principal_axes=principal_axes
        )
        assert result["mesh"]["num_faces"] == 0 and result["mesh_error"] is None
        assert "not a number" in capsys.readouterr().out


def test_views_without_a_mesh_that_fails(scan: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def fail(self: Any, points: torch.Tensor) -> torch.Tensor:
        raise MemoryError("too many points")

    monkeypatch.setattr(StillBall, "signed_distance", fail)
    result = evaluate(StillBallPipeline(scan, eval_mode="list", eval_views=(1,)), scan, tmp_path)
    assert result["mesh_error"] == "MemoryError: too many points" and result["mesh"] is None
    assert result["train_views"]["num_images"] == 5 and result["held_out_views"]["num_images"] == 1
    assert "too many points" in capsys.readouterr().out


def test_a_measurement_that_fails_leaves_the_mesh(scan: Path, tmp_path: Path) -> None:
    options = {"reference": ball_reference(), "chamfer": DTUChamferSettings(spacing=1e-4), "image_stride": 6}
    result = evaluate(StillBallPipeline(scan), scan, tmp_path, mesh_resolution=16, **options)
    assert "millimetres for DTU" in result["mesh_error"]
    assert result["mesh"]["file"] == "mesh_world.ply" and result["dtu_chamfer"] is None


def test_one_camera_is_not_compared(scan: Path, tmp_path: Path, capsys) -> None:
    options = {"eval_mode": "list", "eval_views": (1, 2, 3, 4, 5), "pose_noise_degrees": 2.0}
    result = evaluate(StillBallPipeline(scan, **options), scan, tmp_path, mesh_resolution=16)
    assert result["camera_accuracy"] is None and not result["mesh"]["aligned_to_true_cameras"]
    assert result["held_out_views"]["num_images"] == 5
    assert "fewer than two" in capsys.readouterr().out


def test_a_degenerate_alignment_is_told(scan: Path, tmp_path: Path, capsys) -> None:
    pipeline = StillBallPipeline(scan, pose_noise_degrees=2.0)
    learnt = pipeline.datamanager.train_dataset.metadata["true_camera_to_worlds"].clone()
    learnt[:, :, 3] *= -1.0  # no scale of at least 0 brings mirrored centres near
    pipeline.model.learnt_poses = learnt
    result = evaluate(pipeline, scan, tmp_path, mesh_resolution=16, image_stride=6)
    assert result["camera_accuracy"] is None
    assert "no similarity aligns them after training" in capsys.readouterr().out


def test_a_black_mask_is_counted_and_left_out_or_named(tmp_path: Path) -> None:
    root = ball_scan.write_ball_scan(tmp_path / "scan8", num_views=3)
    mask = root / "mask" / "000.png"
    pipeline = StillBallPipeline(root)
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(mask)
    pipeline.model.radius = 1e-6  # all pictures are white, as is the truth behind the black mask: its PSNR is infinite
    views = evaluate(pipeline, root, tmp_path / "out", mesh_resolution=16)["train_views"]
    first, *others = views["images"]
    assert first["psnr"] is None and first["ssim_whole_masked_image"] is None
    assert views["not_finite"] == {"psnr": 1}
    assert views["mean"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in others]))
    assert views["std"]["psnr"] == pytest.approx(np.std([row["psnr"] for row in others]))
    with pytest.raises(InputError, match=rf"The mask .*{mask.name} has no foreground"):
        evaluate(pipeline, root, tmp_path / "culled", cull_masks=True)
    assert not (tmp_path / "culled").exists()


def test_culling_by_masks_removes_the_speck(scan: Path, tmp_path: Path, monkeypatch) -> None:
    options = {"principal_axes": False, "mesh_resolution": 32, "image_stride": 6}
    monkeypatch.setattr("nf_plugins.evaluation.evaluate_surfaces.largest_component_by_area", lambda mesh: mesh)
    both = evaluate(StillBallPipeline(scan), scan, tmp_path / "both", **options)
    culled = evaluate(StillBallPipeline(scan), scan, tmp_path / "culled", cull_masks=True, **options)
    assert trimesh.load(tmp_path / "both" / "mesh_world.ply", force="mesh").body_count == 2
    assert trimesh.load(tmp_path / "culled" / "mesh_world.ply", force="mesh").body_count == 1
    assert culled["mesh"]["culled_by_masks"] and not both["mesh"]["culled_by_masks"]


def test_culling_without_masks_is_refused_before_anything_is_rendered(scan: Path, tmp_path: Path) -> None:
    pipeline = StillBallPipeline(scan)
    del pipeline.datamanager.train_dataset.metadata["fg_mask_filenames"]
    with pytest.raises(InputError, match="--cull-by-masks"):
        evaluate(pipeline, scan, tmp_path, cull_masks=True)
    assert not list(tmp_path.iterdir())


def test_the_general_evaluation_does_without_times(scan: Path, tmp_path: Path) -> None:
    pipeline = StillBallPipeline(scan)
    result = evaluate_pipeline(pipeline, still_ball_config(scan), 5, "test", tmp_path / "test.json", use_lpips=False)
    assert result["mean"]["psnr_fg"] > 40 and result["per_frame"] == []
    assert [entry["camera_id"] for entry in result["per_camera"]] == list(range(6))
    assert result["images"][0]["time"] is None and result["images"][0]["frame_id"] is None
    assert mesh_times(pipeline.datamanager.train_dataset.metadata) == mesh_times({}) == [0.0]
    geometry = evaluate_geometry(pipeline, [0], GridSettings(24), num_samples=500)
    assert geometry["truth"] == "mesh" and geometry["per_frame"][0]["chamfer_l2_mean"] < 0.1


def test_a_contact_sheet_of_a_still_scene_shows_several_views(scan: Path) -> None:
    pipeline = StillBallPipeline(scan)
    dataset = pipeline.datamanager.train_dataset
    assert choose_images([image_identity(dataset, index) for index in range(6)], None, 3) == [0, 2, 5]
    sheet = pipeline_contact_sheet(pipeline, "train", num_rows=2, outputs=("rgb",), smallest_height=32)
    assert sheet.shape[1] == 32 + 2 + 32 and sheet.shape[0] > 64
