from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monocular_scene as truth
import numpy as np
import pytest
import torch
from PIL import Image

from dataparsers.nsff import NSFFDataParser, NSFFDataParserConfig
from nf_plugins.errors import InputError
from nf_plugins.model_components.ndc import NDCFrame, ndc_rays, project

PRIORS = ("disparity_filenames", "flow_forward_filenames", "flow_backward_filenames", "motion_mask_filenames")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return truth.write_monocular_scene(tmp_path_factory.mktemp("monocular") / "scene")


@pytest.fixture
def own_scene(scene: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scene, tmp_path / "own"))


def parser(data: Path, **options: Any) -> NSFFDataParser:
    return NSFFDataParserConfig(data=data, **options).setup()


def test_rays_of_pixels_see_what_the_true_camera_sees(scene: Path) -> None:
    outputs = parser(scene).get_dataparser_outputs("train")
    cameras, to_world = outputs.cameras, outputs.metadata["world_from_scene"].double()
    view = truth.see(truth.camera_pose(0.25), 0.25)
    coordinates = torch.tensor([[3, 5], [17, 23], [9, 12]])
    rays = cameras.generate_rays(1, coords=coordinates + 0.5)
    origin = to_world[:3, :3] @ rays.origins[0].double() + to_world[:3, 3]
    np.testing.assert_allclose(origin, truth.camera_pose(0.25)[:3, 3], atol=1e-6)
    directions = rays.directions.double() @ to_world[:3, :3].T
    offsets = torch.from_numpy(view.points[tuple(coordinates.T.numpy())]) - origin
    cosines = torch.nn.functional.cosine_similarity(directions, offsets, dim=-1)
    torch.testing.assert_close(cosines, torch.ones_like(cosines), atol=1e-9, rtol=0)


def test_flow_depth_and_cameras_agree_in_what_the_model_is_given(scene: Path) -> None:
    """A static pixel's point, from its disparity, projects to where its flow leads."""
    from nf_plugins.data.monocular_dataset import MonocularDataset

    outputs = parser(scene).get_dataparser_outputs("train")
    data = MonocularDataset(outputs).get_data(2)
    metadata = outputs.metadata
    scale = outputs.dataparser_scale
    rays = outputs.cameras.generate_rays(2)
    depth = scale / data["disparity"]
    pose = metadata["frame_camera_to_worlds"][2]
    points = rays.origins + rays.directions * depth / (rays.directions @ -pose[:, 2])[..., None]
    rows, columns = torch.meshgrid(torch.arange(truth.HEIGHT), torch.arange(truth.WIDTH), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1) + 0.5
    is_still = data["motion_mask"][..., 0] == 0
    for other, direction in ((3, "forward"), (1, "backward"), (2, None)):
        seen = project(points, metadata["frame_camera_to_worlds"][other], metadata["frame_intrinsics"][other])
        flow = 0 if direction is None else data[f"optical_flow_{direction}"]
        assert (seen - centres - flow)[is_still].abs().max() < 1e-3


def test_rays_fill_the_cube_of_normalised_device_coordinates(scene: Path) -> None:
    outputs = parser(scene).get_dataparser_outputs("train")
    rays = outputs.cameras.generate_rays(torch.arange(5)[:, None], keep_shape=False)
    origins, directions = ndc_rays(rays.origins, rays.directions, NDCFrame(**outputs.metadata["ndc"]))
    torch.testing.assert_close(origins[:, 2], torch.full_like(origins[:, 2], -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(directions[:, 2], torch.full_like(origins[:, 2], 2), atol=1e-6, rtol=0)
    near = np.load(scene / "poses_bounds.npy")[:, 15]
    assert outputs.dataparser_scale == pytest.approx(1 / (0.9 * np.percentile(near, 5)))


def test_times_cameras_and_files_of_the_splits(scene: Path) -> None:
    parsed = parser(scene)
    train, test = parsed.get_dataparser_outputs("train"), parsed.get_dataparser_outputs("test")
    assert train.cameras.times is not None and train.cameras.times[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert torch.equal(train.metadata["frame_times"], test.metadata["frame_times"])
    assert [path.name for path in train.metadata["flow_forward_filenames"][:4]] == [
        f"{frame:05d}_fwd.npz" for frame in range(4)
    ]
    assert train.metadata["flow_forward_filenames"][4] is None is train.metadata["flow_backward_filenames"][0]
    assert train.cameras.metadata["camera_id"].unique().tolist() == [0]
    assert len(test.image_filenames) == 10 and test.cameras.times is not None
    to_world = test.metadata["world_from_scene"].double()
    for index in (0, 1, 9):
        camera = int(test.cameras.metadata["camera_id"][index]) - 1
        assert test.image_filenames[index].parts[-2:] == (f"{index // 2:05d}", f"cam{camera + 1:02d}.png")
        assert float(test.cameras.times[index]) == index // 2 / 4
        centre = to_world[:3, :3] @ test.cameras.camera_to_worlds[index, :, 3].double() + to_world[:3, 3]
        np.testing.assert_allclose(centre, truth.held_out_pose(camera)[:3, 3], atol=1e-6)
    assert test.metadata["camera_names"] == ["video", "cam01", "cam02"]
    assert "disparity_filenames" not in test.metadata and len(test.metadata["motion_mask_filenames"]) == 10


def test_a_rig_is_evaluated_on_the_cameras_that_were_not_trained_on(tmp_path: Path) -> None:
    root = truth.write_monocular_scene(tmp_path / "rig" / "dense", num_frames=6, num_rig_cameras=4, priors=False)
    parsed = parser(root.parent)
    test, train = parsed.get_dataparser_outputs("test"), parsed.get_dataparser_outputs("train")
    pairs = [(round(5 * float(time)), int(camera)) for time, camera in zip(
        test.cameras.times, test.cameras.metadata["camera_id"], strict=True  # type: ignore[arg-type]
    )]  # fmt: skip
    assert pairs == [(frame, camera) for frame in range(6) for camera in range(4) if camera != frame % 4]
    assert train.cameras.metadata["camera_id"][:, 0].tolist() == [0, 1, 2, 3, 0, 1]
    for index, (_, camera) in enumerate(pairs):
        assert torch.equal(test.cameras.camera_to_worlds[index], train.cameras.camera_to_worlds[camera])


def test_what_is_selected_is_sliced_first(scene: Path) -> None:
    outputs = parser(scene, start_frame=1, end_frame=4).get_dataparser_outputs("train")
    assert [path.name for path in outputs.image_filenames] == ["00001.png", "00002.png", "00003.png"]
    assert outputs.metadata["frame_times"].tolist() == [0, 0.5, 1]
    assert [None if path is None else path.name for path in outputs.metadata["flow_backward_filenames"]] == [
        None, "00002_bwd.npz", "00003_bwd.npz",
    ]  # fmt: skip
    assert outputs.metadata["flow_forward_filenames"][2] is None
    near = np.load(scene / "poses_bounds.npy")[1:4, 15]
    assert outputs.dataparser_scale == pytest.approx(1 / (0.9 * np.percentile(near, 5)))
    np.testing.assert_allclose(outputs.metadata["frame_camera_to_worlds"].mean(0)[:, 3], 0, atol=1e-6)


def test_what_is_not_there_is_not_in_the_metadata(tmp_path: Path) -> None:
    root = truth.write_monocular_scene(tmp_path / "bare", priors=False, motion_masks=False, num_held_out=0)
    (root / "poses_bounds.npy").rename(root / "poses_bounds_cvd.npy")
    for split in ("train", "val"):
        outputs = parser(root).get_dataparser_outputs(split)
        assert not set(PRIORS) & set(outputs.metadata) and len(outputs.image_filenames) == 5
    assert "no frame is held out" in outputs.metadata["protocol_note"]
    with pytest.raises(InputError, match="has no mv_images"):
        parser(root, eval_protocol="nsff").get_dataparser_outputs("train")


def test_held_out_frames_keep_their_place_in_time(scene: Path) -> None:
    parsed = parser(scene, eval_protocol="held-out-frames", eval_interval=3)
    train, test = parsed.get_dataparser_outputs("train"), parsed.get_dataparser_outputs("val")
    assert train.cameras.times is not None and test.cameras.times is not None
    assert train.cameras.times[:, 0].tolist() == [0.25, 0.5, 1] and test.cameras.times[:, 0].tolist() == [0, 0.75]
    assert len(train.metadata["frame_times"]) == len(train.metadata["frame_camera_to_worlds"]) == 5
    assert [path.name for path in train.metadata["disparity_filenames"]] == ["00001.npy", "00002.npy", "00004.npy"]
    # Flow to a held-out frame was made with its image.
    names = {
        key: [path and path.name for path in train.metadata[f"flow_{key}_filenames"]] for key in ("forward", "backward")
    }
    assert names == {"forward": ["00001_fwd.npz", None, None], "backward": [None, "00002_bwd.npz", None]}


def test_the_pixel_convention_moves_the_principal_point_by_half_a_pixel(own_scene: Path) -> None:
    def centre(**options: Any) -> list[float]:
        cameras = parser(own_scene, **options).get_dataparser_outputs("train").cameras
        return [float(cameras.cx[0]), float(cameras.cy[0])]

    assert centre() == centre(pixel_convention="integer") == [12.5, 9.5]
    assert centre(pixel_convention="half") == [12, 9]
    assert centre(downscale_factor=2) == [6.25, 4.75]
    (own_scene / "scene.json").write_text(json.dumps({"pixel_convention": "half"}))
    assert centre() == [12, 9]


def test_contracted_space_has_no_frustum(scene: Path) -> None:
    metadata = parser(scene, space="contracted").get_dataparser_outputs("train").metadata
    assert "ndc" not in metadata and metadata["scene_aabb"].tolist() == [[-1] * 3, [1] * 3]
    near = np.load(scene / "poses_bounds.npy")[:, 15]
    scale = 1 / metadata["world_from_scene"][:3, 0].norm()
    assert metadata["near_distance"] == pytest.approx(float(scale) * 0.9 * np.percentile(near, 5))
    assert parser(scene).get_dataparser_outputs("train").metadata["near_distance"] == pytest.approx(1)


def write_transforms(root: Path, **keys: Any) -> Path:
    """transforms.json for a scene folder, its frames in disorder."""
    focal = truth.focal_length()
    frames = [
        {
            "file_path": f"images_{truth.WIDTH}x{truth.HEIGHT}/{frame:05d}.png",
            "transform_matrix": truth.camera_pose(frame / 4).tolist(),
            "time": 10.0 + 0.2 * frame,
        }
        for frame in (3, 0, 4, 1, 2)
    ]
    lens = {"w": truth.WIDTH, "h": truth.HEIGHT, "fl_x": focal, "fl_y": focal, "cx": 12.5, "cy": 9.5}
    (root / "transforms.json").write_text(json.dumps({**lens, "frames": frames, **keys}))
    (root / "poses_bounds.npy").unlink(missing_ok=True)
    return root


def test_a_transforms_file_with_points_gives_the_same_scene(scene: Path, own_scene: Path) -> None:
    import trimesh

    points = np.concatenate([truth.see(truth.camera_pose(t), t).points.reshape(-1, 3) for t in (0.0, 0.5, 1.0)])
    trimesh.PointCloud(points).export(own_scene / "sparse_pc.ply")
    write_transforms(own_scene, ply_file_path="sparse_pc.ply")
    (expected, found) = (parser(data).get_dataparser_outputs("train") for data in (scene, own_scene))
    assert [path.name for path in found.image_filenames] == [path.name for path in expected.image_filenames]
    assert [path.name for path in found.metadata["disparity_filenames"]] == [f"{i:05d}.npy" for i in range(5)]
    assert found.dataparser_scale == pytest.approx(expected.dataparser_scale, rel=0.1)
    ratio = found.dataparser_scale / expected.dataparser_scale
    torch.testing.assert_close(
        found.cameras.camera_to_worlds[..., 3], ratio * expected.cameras.camera_to_worlds[..., 3], atol=1e-5, rtol=0
    )
    assert found.metadata["ndc"] == expected.metadata["ndc"]


def test_a_transforms_file_without_points_needs_bounds(own_scene: Path) -> None:
    write_transforms(own_scene)
    with pytest.raises(InputError, match="--near-bound and --far-bound"):
        parser(own_scene).get_dataparser_outputs("train")
    outputs = parser(own_scene, near_bound=2.0, far_bound=7.0).get_dataparser_outputs("train")
    assert outputs.dataparser_scale == pytest.approx(1 / 1.8)
    with pytest.raises(InputError, match="--near-bound 7 --far-bound 2: expected"):
        parser(own_scene, near_bound=7.0, far_bound=2.0).get_dataparser_outputs("train")
    bent = parser(write_transforms(own_scene, k1=-0.2), near_bound=2.0, far_bound=7.0).get_dataparser_outputs("train")
    assert bent.cameras.distortion_params[4].tolist() == pytest.approx([-0.2, 0, 0, 0, 0, 0])  # type: ignore[index]
    for key in ("frame_intrinsics", "frame_camera_to_worlds"):
        assert torch.equal(bent.metadata[key], outputs.metadata[key])
    # It sees more than a pinhole.
    lower, upper = bent.metadata["scene_aabb"][:, :2] - outputs.metadata["scene_aabb"][:, :2]
    assert bool((lower < 0).all()) and bool((upper > 0).all())


def test_two_images_of_one_time_are_no_monocular_video(own_scene: Path) -> None:
    write_transforms(own_scene)
    contents = json.loads((own_scene / "transforms.json").read_text())
    contents["frames"][1]["time"] = contents["frames"][0]["time"]
    (own_scene / "transforms.json").write_text(json.dumps(contents))
    with pytest.raises(InputError, match="have the same time"):
        parser(own_scene, near_bound=2.0, far_bound=7.0).get_dataparser_outputs("train")


def resave(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))


def smaller_flow(root: Path) -> None:
    np.savez(root / "flow_i1" / "00002_fwd.npz", flow=np.zeros((9, 12, 2), np.float32), mask=np.ones((9, 12), bool))


def turned_images(root: Path) -> None:
    for path in (root / f"images_{truth.WIDTH}x{truth.HEIGHT}").iterdir():
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path)


def sideways(values: np.ndarray) -> np.ndarray:
    poses = [truth.camera_pose(time) for time in np.linspace(0, 1, 5)]
    turn = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    return truth.pose_rows([turn @ poses[0], *poses[1:]], list(values[:, 15:]), truth.HEIGHT, truth.WIDTH)


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (smaller_flow, {}, r"00002_fwd\.npz holds the flow of 12x9 pixels, but the images are 24x18"),
        (lambda root: (root / "flow_i1/00003_bwd.npz").unlink(), {}, "the backward flow from frame 3 .* to frame 2"),
        (lambda root: (root / "flow_i1/00001_fwd.npz").unlink(), {}, "the forward flow from frame 1"),
        (lambda root: resave(root / "disp/00002.npy", np.ones_like), {}, r"00002\.npy has the same value 1 everywhere"),
        (lambda root: resave(root / "disp/00002.npy", lambda d: d * np.nan), {}, "nothing but NaN"),
        (lambda root: resave(root / "disp/00002.npy", lambda d: d * np.inf), {}, "holds infinite values"),
        (lambda root: (root / "disp/00002.npy").unlink(), {}, "disp holds 4, but the folder of images .* holds 5"),
        (lambda root: (root / "motion_masks/00002.png").unlink(), {}, "motion_masks holds 4"),
        (lambda root: resave(root / "poses_bounds.npy", lambda rows: rows[:4]), {}, "poses_bounds.npy holds 4, but"),
        (lambda root: resave(root / "poses_bounds.npy", lambda rows: rows[:, :12]), {}, r"expected \(N, 17\)"),
        (lambda root: resave(root / "poses_bounds.npy", sideways), {}, "does not face one way.* select fewer frames"),
        (turned_images, {}, "expected the same proportions"),
        (lambda root: (root / "images_12x9").mkdir(), {}, "several folders of images, images_12x9, images_24x18"),
        (lambda root: shutil.rmtree(root / "mv_images/00003"), {}, "mv_images/00003 does not exist"),
        (lambda root: (root / "mv_masks/00003/cam02.png").unlink(), {}, r"cam02\.png has no mask"),
        (lambda root: (root / "mv_images/00003/cam02.png").unlink(), {}, r"views of the cameras \[1\]"),
        (lambda root: None, {"start_frame": 3, "end_frame": 3}, "--start-frame 3 --end-frame 3 selects no frames"),
        (lambda root: None, {"start_frame": 4, "end_frame": 2}, "--start-frame 4 --end-frame 2 selects no frames"),
        (lambda root: None, {"end_frame": 6}, "--end-frame 6 selects no frames of the 5"),
        (lambda root: None, {"start_frame": 3}, "selects 2 of the 5 frames .* at least 3"),
        (lambda root: None, {"bd_factor": 0.0}, "--bd-factor is 0"),
        (lambda root: None, {"pose_file": "poses.npy"}, "poses.npy does not exist|holds neither"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(
    own_scene: Path, damage: Callable[[Path], None], options: dict[str, Any], message: str
) -> None:
    damage(own_scene)
    with pytest.raises(InputError, match=message):
        parser(own_scene, **options).get_dataparser_outputs("train")


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        parser(tmp_path / "absent").get_dataparser_outputs("train")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="neither poses_bounds.npy nor transforms.json"):
        parser(tmp_path).get_dataparser_outputs("train")


def test_the_real_hand_loads(shared_data: Path) -> None:
    folder = shared_data / "llff" / "hand_monocular"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    outputs = parser(folder, end_frame=30, pixel_convention="half").get_dataparser_outputs("train")
    assert len(outputs.image_filenames) == 30 and not set(PRIORS) & set(outputs.metadata)
    assert outputs.metadata["ndc"]["focal"] == pytest.approx(128.3, abs=0.1)
    assert (outputs.metadata["ndc"]["height"], outputs.metadata["ndc"]["width"]) == (192, 256)
    ray = outputs.cameras.generate_rays(0, coords=torch.tensor([[96.0, 128.0]]))
    torch.testing.assert_close(ray.directions[0], -outputs.cameras.camera_to_worlds[0, :, 2], atol=1e-4, rtol=0)
