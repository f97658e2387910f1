"""A capture as nerfstudio's COLMAP processing writes it: a lens that bends light, no times, frames in disorder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distorted_capture as capture
import monocular_scene as truth
import numpy as np
import pytest
import torch
from monocular_pipeline import monocular_config, monocular_pipeline

from dataparsers.nsff import NSFFDataParserConfig
from nf_plugins.data.monocular_dataset import MonocularDataset
from nf_plugins.errors import InputError
from nf_plugins.model_components.ndc import NDCFrame, ndc_from_world

BOUNDS: dict[str, Any] = {"near_bound": 2.0, "far_bound": 7.0}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return capture.write_distorted_capture(tmp_path_factory.mktemp("distorted") / "scene")


@pytest.fixture(scope="module")
def large_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of so many pixels that averages of flow are nearly flow."""
    return capture.write_distorted_capture(tmp_path_factory.mktemp("distorted") / "large", 72, 96)


def outputs_of(scene: Path, split: str = "train", **options: Any) -> Any:
    return NSFFDataParserConfig(data=scene, **BOUNDS, **options).setup().get_dataparser_outputs(split)


def moved_points(dataset: MonocularDataset, item: dict[str, Any], frame: int, other: int) -> torch.Tensor:
    """Where what the pixels (H, W) of a frame see is at another one, by true depth and motion; scene units."""
    scale = dataset.metadata["world_from_scene"][:3, :3].det() ** (-1 / 3)
    rays, pose = dataset.cameras.generate_rays(frame), dataset.cameras.camera_to_worlds[frame]
    z = scale / item["disparity"]
    points = rays.origins + rays.directions * z / (rays.directions @ -pose[:, 2])[..., None]
    motion = truth.ball_centre(other / 4) - truth.ball_centre(frame / 4)
    from_world = torch.linalg.inv(dataset.metadata["world_from_scene"])[:3, :3]
    return points + item["motion_mask"] * (from_world @ torch.from_numpy(motion).float())


def flow_loss(pipeline: Any, batch: dict[str, torch.Tensor], frame: int, moved: dict[int, torch.Tensor]) -> float:
    """The loss of a step whose rays see only what truly is there, and whose scene flow is the true motion."""
    ndc = NDCFrame(**pipeline.datamanager.train_dataset.metadata["ndc"])
    weights = torch.ones(len(batch["image"]), 1)
    neighbours = {o: SimpleNamespace(points=ndc_from_world(points, ndc)[:, None]) for o, points in moved.items()}
    reference = SimpleNamespace(dynamic_render=SimpleNamespace(weights=weights))
    rendered = SimpleNamespace(frame=frame, neighbours=neighbours, reference=reference)
    return float(pipeline.model.loss_terms(rendered, batch).flow())


def pipeline_of(scene: Path, scale: float = 1.0, **options: Any) -> Any:
    """Of a tiny model, whose cameras are scaled on top of the dataparser's options."""
    config = monocular_config(scene, **BOUNDS, **options)
    datamanager = replace(config.pipeline.datamanager, camera_res_scale_factor=scale)
    return monocular_pipeline(replace(config, pipeline=replace(config.pipeline, datamanager=datamanager)))


def flat_batch(item: dict[str, Any]) -> dict[str, torch.Tensor]:
    """All pixels of an image as a batch."""
    height, width = item["image"].shape[:2]
    batch = {key: value.flatten(0, 1) for key, value in item.items() if isinstance(value, torch.Tensor)}
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    batch["indices"] = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
    return batch


def test_flow_loss_of_the_true_motion_is_zero(scene: Path) -> None:
    pipeline = pipeline_of(scene)
    dataset = pipeline.datamanager.train_dataset
    for frame in (0, 2, 4):
        item = dataset.get_data(frame)
        batch = flat_batch(item)
        others = [offset for offset in (-1, 1) if 0 <= frame + offset <= 4]
        moved = {offset: moved_points(dataset, item, frame, frame + offset).flatten(0, 1) for offset in others}
        assert flow_loss(pipeline, batch, frame, moved) < 2e-3
        # From where it was filmed, the same flow is wrong by a good part of a pixel.
        del batch["pinhole_pixels"]
        assert flow_loss(pipeline, batch, frame, moved) > 0.1


@pytest.mark.parametrize(("options", "scale"), [({"downscale_factor": 4}, 1.0), ({}, 0.25), ({}, 0.3)])
def test_it_is_of_reduced_images_too(large_scene: Path, options: dict[str, Any], scale: float) -> None:
    pipeline = pipeline_of(large_scene, scale, **options)
    dataset = pipeline.datamanager.train_dataset
    item = dataset.get_data(2)
    assert item["image"].shape[:2] == ((18, 24) if scale != 0.3 else (21, 28))
    assert dataset.metadata["frame_intrinsics"][2].tolist() == [
        float(getattr(dataset.cameras, name)[2]) for name in ("fx", "fy", "cx", "cy")
    ]
    # Elsewhere averages of flow are of two things.
    still = (item["motion_mask"][..., 0] == 0).flatten()
    moved = {offset: moved_points(dataset, item, 2, 2 + offset).flatten(0, 1)[still] for offset in (-1, 1)}
    batch = {key: value[still] for key, value in flat_batch(item).items()}
    assert flow_loss(pipeline, batch, 2, moved) < 0.06
    del batch["pinhole_pixels"]
    assert flow_loss(pipeline, batch, 2, moved) > 0.1


def test_the_datamanager_hands_everything_on(scene: Path) -> None:
    pipeline = pipeline_of(scene).train()
    datamanager = pipeline.datamanager
    torch.manual_seed(1)
    ray_bundle, batch = datamanager.next_train(0)
    assert bool(batch["hard_mined"].any())
    image, row, column = batch["indices"].T
    expected = torch.stack(
        [datamanager.train_dataset.get_data(int(i))["pinhole_pixels"][r, c] for i, r, c in batch["indices"]]
    )
    assert torch.equal(batch["pinhole_pixels"], expected)
    rotation = datamanager.train_dataset.cameras.camera_to_worlds[image, :, :3]
    in_camera = (ray_bundle.directions[:, None] @ rotation)[:, 0]
    focal = truth.focal_length()
    seen = focal * in_camera[:, :2] / -in_camera[:, 2:] * torch.tensor([1, -1]) + torch.tensor([12.5, 9.5])
    torch.testing.assert_close(seen, batch["pinhole_pixels"], atol=1e-4, rtol=0)
    losses = pipeline.model.get_loss_dict(pipeline.model(ray_bundle), batch)
    assert bool(losses["flow_loss"].isfinite()) and float(losses["flow_loss"]) > 0


def test_a_distorted_camera_renders_at_frames_and_between_them(scene: Path) -> None:
    pipeline = pipeline_of(scene)
    # Something is everywhere, so that a ray sees nothing only if it meets no sample.
    for radiance in (pipeline.model.field.static_radiance, pipeline.model.field.dynamic_radiance):
        torch.nn.init.constant_(radiance.density.bias, 5.0)
    camera = pipeline.datamanager.train_dataset.cameras[1:2]
    at_frame = pipeline.model.get_outputs_for_camera(camera)
    camera.times = torch.full_like(camera.times, 0.4)
    for outputs in (at_frame, pipeline.model.get_outputs_for_camera(camera)):
        assert outputs["rgb"].shape == (truth.HEIGHT, truth.WIDTH, 3) and bool(outputs["rgb"].isfinite().all())
        assert bool((outputs["accumulation"] > 0).all())


def test_frames_follow_the_numbers_in_their_names(scene: Path) -> None:
    outputs = outputs_of(scene, start_frame=1, end_frame=4)
    assert [path.name for path in outputs.image_filenames] == ["frame_9.png", "frame_10.png", "frame_11.png"]
    assert outputs.metadata["frame_times"].tolist() == [0, 0.5, 1]
    for key, names in {
        "disparity_filenames": ["00001.npy", "00002.npy", "00003.npy"],
        "motion_mask_filenames": ["00001.png", "00002.png", "00003.png"],
        "flow_forward_filenames": ["00001_fwd.npz", "00002_fwd.npz", None],
        "flow_backward_filenames": [None, "00002_bwd.npz", "00003_bwd.npz"],
    }.items():
        assert [path and path.name for path in outputs.metadata[key]] == names
    to_world = outputs.metadata["world_from_scene"].double()
    for index in range(3):
        centre = to_world[:3, :3] @ outputs.cameras.camera_to_worlds[index, :, 3].double() + to_world[:3, 3]
        np.testing.assert_allclose(centre, truth.camera_pose((index + 1) / 4)[:3, 3], atol=1e-6)
    by_file = NSFFDataParserConfig(data=scene / "transforms.json", **BOUNDS).setup().get_dataparser_outputs("train")
    assert len(by_file.image_filenames) == len(by_file.metadata["disparity_filenames"]) == 5


def test_a_lens_without_distortion_changes_nothing(tmp_path: Path) -> None:
    straight = dict.fromkeys(capture.LENS, 0.0)
    root = capture.write_distorted_capture(tmp_path / "scene", lens=straight)
    contents = json.loads((root / "transforms.json").read_text())
    items = []
    for lens in (straight, {"k1": 1e-4}):  # a hundredth of a pixel
        (root / "transforms.json").write_text(json.dumps(contents | lens))
        outputs = outputs_of(root)
        assert outputs.cameras.distortion_params is None
        items.append(MonocularDataset(outputs).get_data(1))
    assert "pinhole_pixels" not in items[0] and items[0].keys() == items[1].keys()
    with np.load(root / "flow_i1" / "00001_fwd.npz") as archive:
        assert np.array_equal(items[0]["optical_flow_forward"].numpy(), archive["flow"])
    assert all(torch.equal(torch.as_tensor(items[0][key]), torch.as_tensor(items[1][key])) for key in items[0])


def rewrite(root: Path, **keys: Any) -> Path:
    path = root / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return root


def test_fisheyes_are_right_or_refused(tmp_path: Path) -> None:
    root = capture.write_distorted_capture(tmp_path / "scene")
    none = dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)
    outputs = outputs_of(rewrite(root, camera_model="OPENCV_FISHEYE", **none))
    item = MonocularDataset(outputs).get_data(1)
    offset = torch.tensor([0.5, 0.5]) - torch.tensor([12.5, 9.5])
    expected = offset / offset.norm() * 24 * (offset.norm() / 24).tan() + torch.tensor([12.5, 9.5])
    torch.testing.assert_close(item["pinhole_pixels"][0, 0], expected, atol=1e-4, rtol=0)
    rewrite(root, fl_x=9.0, fl_y=9.0)
    with pytest.raises(InputError, match="fisheye lens .* looks 80 degrees or more off its axis in .* pinhole images"):
        outputs_of(root)
    contracted = MonocularDataset(outputs_of(root, space="contracted")).get_data(1)
    assert not bool(contracted["optical_flow_forward_valid"][0, 0]) and bool(
        contracted["pinhole_pixels"].isfinite().all()
    )


def test_what_no_lens_images_is_told_and_has_no_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = rewrite(capture.write_distorted_capture(tmp_path / "scene"), k1=-0.5, k2=0.0, p1=0.0, p2=0.0)
    item = MonocularDataset(outputs_of(root)).get_data(1)
    assert "its distortion cannot be undone" in capsys.readouterr().out
    assert not bool(item["optical_flow_forward_valid"][0, 0]) and bool(item["optical_flow_forward_valid"][9, 12])
    assert all(bool(item[key].isfinite().all()) for key in ("pinhole_pixels", "optical_flow_forward"))


def test_the_range_of_depth_is_that_of_points_that_selected_frames_see(tmp_path: Path) -> None:
    import trimesh

    root = capture.write_distorted_capture(tmp_path / "scene", ply_file_path="sparse_pc.ply")
    points = np.concatenate([truth.see(truth.camera_pose(t), t).points.reshape(-1, 3) for t in (0.0, 0.5, 1.0)])
    corner = capture.pinhole_pixels(np.array([0.3, 0.3]), capture.LENS, truth.focal_length(), (12.5, 9.5))
    seen_from = truth.camera_pose(0.0)
    direction = seen_from[:3, :3] @ np.array([(corner[0] - 12.5) / 24, -(corner[1] - 9.5) / 24, -1])
    rim = seen_from[:3, 3] + 50 * direction * np.ones((len(points), 1))  # a pinhole would not see it
    trimesh.PointCloud(np.concatenate([points, rim])).export(root / "sparse_pc.ply")

    def parsed(**options: Any) -> Any:
        return NSFFDataParserConfig(data=root, **options).setup().get_dataparser_outputs("train")

    aabb = parsed(end_frame=3).metadata
    assert float(-aabb["scene_aabb"][0, 2] / aabb["world_from_scene"][:3, :3].det() ** (-1 / 3)) > 45
    contents = json.loads((root / "transforms.json").read_text())
    last = next(frame for frame in contents["frames"] if frame["file_path"].endswith("_12.png"))
    last["transform_matrix"] = (np.diag([-1.0, 1, -1, 1]) @ np.array(last["transform_matrix"])).tolist()
    rewrite(root, frames=contents["frames"])
    assert len(parsed(end_frame=4).image_filenames) == 4
    with pytest.raises(InputError, match="Frame 4 of .*transforms.json, in order of time, sees none of the points"):
        parsed()
    for bounds in ({"near_bound": 900.0}, {"near_bound": -1.0}, {"far_bound": 1.0}):
        with pytest.raises(InputError, match="expected 0 < near < far"):
            parsed(end_frame=4, **bounds)


def test_lenses_that_differ_are_refused(tmp_path: Path) -> None:
    root = capture.write_distorted_capture(tmp_path / "scene")
    contents = json.loads((root / "transforms.json").read_text())
    for key in ("k1", "k2"):
        value = contents.pop(key)
        for frame in contents["frames"]:
            frame[key] = value
    (root / "transforms.json").write_text(json.dumps(contents))
    assert len(outputs_of(root).image_filenames) == 5
    contents["frames"][3]["k1"] = -0.2
    (root / "transforms.json").write_text(json.dumps(contents))
    with pytest.raises(InputError, match="different lenses"):
        outputs_of(root)


def test_flow_of_frames_that_were_left_out_is_refused(tmp_path: Path) -> None:
    root = capture.write_distorted_capture(tmp_path / "scene")
    path = root / "flow_i1" / "00004_bwd.npz"
    (root / "flow_i1" / "00005_bwd.npz").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="00005_bwd.npz is the flow of frame 5, but there are 5 images"):
        outputs_of(root)
