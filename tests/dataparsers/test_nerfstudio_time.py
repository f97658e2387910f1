from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ball_capture import LENS, MIDDLE, NUM_FRAMES, RADIUS, centre_at, moving_views, ring_poses, write_capture
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from dataparsers.nerfstudio_time import NerfstudioTimeDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.writers.nerfstudio_time_writer import write_nerfstudio_time_scene
from nf_plugins.errors import InputError


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return NerfstudioTimeDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


def edit(scene: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = scene / "transforms.json"
    contents = json.loads(path.read_text())
    change(contents)
    path.write_text(json.dumps(contents))
    return scene


def to_scene(outputs: DataparserOutputs, points: np.ndarray) -> torch.Tensor:
    scene_from_world = torch.linalg.inv(outputs.metadata["world_from_scene"].double())
    return (torch.from_numpy(points) @ scene_from_world[:3, :3].T + scene_from_world[:3, 3]).float()


def distance_to_ray(outputs: DataparserOutputs, index: int, pixel: np.ndarray, point: torch.Tensor) -> float:
    coords = torch.tensor([[pixel[1], pixel[0]]]).float()
    rays = outputs.cameras.generate_rays(index, coords=coords)
    return float(torch.linalg.cross(point - rays.origins[0], rays.directions[0]).norm())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: 4 cameras x 4 frames with masks and depth, times in seconds."""
    return write_capture(tmp_path_factory.mktemp("timed") / "scene", 4, mask=True, depth=True)


@pytest.fixture
def capture(tmp_path: Path) -> Callable[..., Path]:
    """Factory of captures that a test may break."""
    return lambda name="capture", cameras=3, **kinds: write_capture(tmp_path / name, cameras, **kinds)


def test_a_synchronised_capture_holds_out_its_last_camera(scene: Path):
    train, test = parse(scene), parse(scene, "test")
    assert len(train.image_filenames) == 3 * NUM_FRAMES
    assert {path.parent.name for path in test.image_filenames} == {"cam4"}
    assert "cam4" in test.metadata["protocol_note"]
    for outputs in (train, test, parse(scene, "val")):
        torch.testing.assert_close(outputs.metadata["frame_times"], torch.arange(4) / 3)
        torch.testing.assert_close(outputs.metadata["scene_aabb"], train.metadata["scene_aabb"])
        torch.testing.assert_close(outputs.metadata["world_from_scene"], train.metadata["world_from_scene"])
        assert outputs.metadata["camera_names"] == ["cam1", "cam2", "cam3", "cam4"]
        names = [outputs.metadata["camera_names"][int(i)] for i in outputs.cameras.metadata["camera_id"]]
        assert names == [path.parent.name for path in outputs.image_filenames]
        frames = [int(path.stem) for path in outputs.image_filenames]
        torch.testing.assert_close(outputs.cameras.times[:, 0], torch.tensor(frames) / 3)


@pytest.mark.parametrize("options", [{}, {"orientation_method": "vertical"}, {"center_method": "focus"}])
def test_projections_agree_with_opencv_with_distortion_and_any_scene_frame(
    capture: Callable[..., Path], options: dict[str, str]
):
    distortion = {"k1": 0.08, "k2": -0.03, "k3": 0.01, "p1": 0.002, "p2": -0.003}
    folder = edit(capture(mask=True), lambda contents: contents.update(distortion))
    outputs = parse(folder, **options)
    points = MIDDLE + np.random.default_rng(0).uniform(-0.6, 0.6, (5, 3))
    matrix = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])
    coefficients = np.array([0.08, -0.03, 0.002, -0.003, 0.01])
    for index, path in enumerate(outputs.image_filenames[::3]):
        world_to_camera = np.linalg.inv(ring_poses(3)[path.parent.name] @ np.diag([1.0, -1, -1, 1]))
        rotation = cv2.Rodrigues(world_to_camera[:3, :3])[0]
        pixels = cv2.projectPoints(points, rotation, world_to_camera[:3, 3], matrix, coefficients)[0][:, 0]
        for pixel, point in zip(pixels, to_scene(outputs, points), strict=True):
            assert distance_to_ray(outputs, 3 * index, pixel, point) < 2e-4


def test_fisheye_projections_agree_with_opencv(capture: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    lens = {"camera_model": "OPENCV_FISHEYE", "k1": 0.05, "k2": -0.01, "k3": 0.002, "k4": -0.001}
    folder = edit(capture(mask=True), lambda contents: contents.update(lens))
    outputs = parse(folder, scene_aabb=(2, -3, 0, 4, -1, 3))
    assert "visual-hull False" in capsys.readouterr().out
    points = (MIDDLE + np.random.default_rng(1).uniform(-0.8, 0.8, (4, 3)))[:, None]
    matrix = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])
    pose = np.linalg.inv(ring_poses(3)["cam1"] @ np.diag([1.0, -1, -1, 1]))
    rotation = cv2.Rodrigues(pose[:3, :3])[0]
    coefficients = np.array([0.05, -0.01, 0.002, -0.001])
    pixels = cv2.fisheye.projectPoints(points, rotation, pose[:3, 3], matrix, coefficients)[0][:, 0]
    for pixel, point in zip(pixels, to_scene(outputs, points[:, 0]), strict=True):
        assert distance_to_ray(outputs, 0, pixel, point) < 2e-4


@pytest.mark.parametrize("kinds", [{"mask": True}, {"alpha": True}])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_masks_and_box_enclose_the_ball(capture: Callable[..., Path], kinds: dict[str, bool], factor: int):
    outputs = parse(capture(cameras=4, **kinds), downscale_factor=factor)
    assert outputs.metadata["fg_mask_source"] == ("alpha" if "alpha" in kinds else "first_channel_positive")
    low, high = outputs.metadata["scene_aabb"]
    for index in range(len(outputs.image_filenames)):
        centre = to_scene(outputs, centre_at(int(outputs.image_filenames[index].stem) / 10)[None])[0]
        radius = RADIUS / float(torch.linalg.det(outputs.metadata["world_from_scene"][:3, :3])) ** (1 / 3)
        assert bool(((centre - radius > low - 0.02) & (centre + radius < high + 0.02)).all())
        mask = DynamicDataset(outputs)[index]["fg_mask"][..., 0]
        assert mask.shape == (LENS.height // factor, LENS.width // factor)
        rows, columns = torch.meshgrid(*(torch.arange(size) + 0.5 for size in mask.shape), indexing="ij")
        middle = torch.stack([(columns * mask).sum(), (rows * mask).sum()]) / mask.sum()
        assert distance_to_ray(outputs, index, middle.numpy(), centre) < 0.05
    # Tight enough to be of use: the motion and the ball are 1.6 long, the ball is 1 wide and high.
    sides = (high - low) * torch.linalg.det(outputs.metadata["world_from_scene"][:3, :3]) ** (1 / 3)
    assert float(sides.max()) < 2.6
    torch.testing.assert_close(low.norm(), torch.tensor(1.0))


def test_depth_is_the_distance_along_the_ray_in_scene_units(scene: Path):
    outputs = parse(scene)
    assert outputs.metadata["depth_convention"] == "z"
    for index in (0, 5, 11):
        data = DynamicDataset(outputs)[index]
        rays = outputs.cameras.generate_rays(index)
        points = rays.origins + data["depth"] * rays.directions
        centre = to_scene(outputs, centre_at(int(outputs.image_filenames[index].stem) / 10)[None])[0]
        inside = data["depth"][..., 0] > 0
        radius = (points - centre).norm(dim=-1)[inside] / float(outputs.dataparser_scale)
        torch.testing.assert_close(radius, torch.full_like(radius, RADIUS), atol=2e-3, rtol=0)


def test_z_depth_behind_a_lens_that_bends_rays(capture: Callable[..., Path]):
    outputs = parse(edit(capture(depth=True), lambda contents: contents.update(k1=0.15, p1=0.01)))
    raw = np.asarray(Image.open(outputs.metadata["depth_filenames"][2])) / 1000
    depth = DynamicDataset(outputs)[2]["depth"]
    rays, camera = outputs.cameras.generate_rays(2), outputs.cameras[2]
    z = (depth * rays.directions) @ -camera.camera_to_worlds[:, 2] / outputs.dataparser_scale
    np.testing.assert_allclose(z.numpy(), raw, atol=1e-4)


def test_depth_unit_and_convention_come_from_the_option_then_the_file(capture: Callable[..., Path]):
    folder = edit(
        capture(depth=True), lambda contents: contents.update(depth_unit_scale_factor=0.01, depth_convention="ray")
    )
    outputs = parse(folder)
    assert outputs.metadata["depth_scale"] == pytest.approx(0.01 * outputs.dataparser_scale)
    assert outputs.metadata["depth_convention"] == "ray"
    outputs = parse(folder, depth_unit=0.002, depth_convention="z")
    assert outputs.metadata["depth_scale"] == pytest.approx(0.002 * outputs.dataparser_scale)
    assert outputs.metadata["depth_convention"] == "z"


def test_with_nerfstudios_options_the_cameras_are_nerfstudios(scene: Path):
    theirs_config = NerfstudioDataParserConfig(data=scene, eval_mode="all", downscale_factor=1)
    theirs = theirs_config.setup().get_dataparser_outputs("train")
    ours = parse(scene, eval_mode="all", center_method="poses")
    assert ours.image_filenames == theirs.image_filenames
    torch.testing.assert_close(ours.cameras.camera_to_worlds, theirs.cameras.camera_to_worlds, atol=1e-5, rtol=0)
    for key in ("fx", "fy", "cx", "cy", "width", "height"):
        torch.testing.assert_close(getattr(ours.cameras, key), getattr(theirs.cameras, key), check_dtype=False)
    torch.testing.assert_close(ours.dataparser_transform, theirs.dataparser_transform, atol=1e-4, rtol=1e-4)
    assert ours.dataparser_scale == pytest.approx(theirs.dataparser_scale, rel=1e-4)


def test_world_is_what_was_before_applied_transform_and_scale(capture: Callable[..., Path]):
    folder = capture(mask=True)
    plain = parse(folder)
    turn = np.array([[0.0, -1, 0, 0.5], [1, 0, 0, 0], [0, 0, 1, -2]])
    edit(folder, lambda contents: contents.update(applied_transform=turn.tolist(), applied_scale=3.0))
    moved = parse(folder)
    torch.testing.assert_close(moved.cameras.camera_to_worlds, plain.cameras.camera_to_worlds)
    saved = np.eye(4)
    saved[:3] = 3.0 * turn
    torch.testing.assert_close(
        torch.from_numpy(saved).float() @ moved.metadata["world_from_scene"], plain.metadata["world_from_scene"]
    )


def test_one_moving_camera_with_unsorted_times_in_any_unit(tmp_path: Path):
    write_nerfstudio_time_scene(tmp_path / "phone", {"phone": LENS}, moving_views(mask=True))

    def shuffle(contents: dict[str, Any]) -> None:
        order = np.random.default_rng(0).permutation(12)
        contents["frames"] = [contents["frames"][index] for index in order]
        for frame in contents["frames"]:
            frame["time"] = 1000 + 24 * frame["time"]
            del frame["camera"]

    outputs = parse(edit(tmp_path / "phone", shuffle), eval_interval=4)
    numbers = [int(path.stem) for path in outputs.image_filenames]
    assert sorted(numbers) == [1, 2, 3, 5, 6, 7, 9, 10, 11] != numbers
    torch.testing.assert_close(outputs.cameras.times[:, 0], torch.tensor(numbers) / 11, atol=1e-6, rtol=0)
    torch.testing.assert_close(outputs.metadata["frame_times"], torch.tensor(sorted(numbers)) / 11, atol=1e-6, rtol=0)
    assert outputs.cameras.metadata["camera_id"].unique().tolist() == [0]
    held_out = parse(tmp_path / "phone", "test", eval_interval=4)
    assert sorted(int(path.stem) for path in held_out.image_filenames) == [0, 4, 8]
    low, high = outputs.metadata["scene_aabb"]
    for number, index in zip(numbers, range(len(numbers)), strict=True):
        centre = to_scene(outputs, centre_at(0.3 * number / 11)[None])[0]
        assert bool(((centre > low) & (centre < high)).all())
        data = DynamicDataset(outputs)[index]
        assert 0.01 < float(data["fg_mask"].mean()) < 0.5


def test_times_in_unit_range_stay_and_other_units_are_mapped(capture: Callable[..., Path]):
    folder = capture()
    torch.testing.assert_close(parse(folder).metadata["frame_times"], torch.arange(4) / 3)
    edit(folder, lambda contents: contents.pop("time_unit"))
    torch.testing.assert_close(parse(folder, times="unit").metadata["frame_times"], torch.arange(4) / 10)
    torch.testing.assert_close(parse(folder, times="auto").metadata["frame_times"], torch.arange(4) / 10)
    torch.testing.assert_close(parse(folder, times="sequence").metadata["frame_times"], torch.arange(4) / 3)
    outputs = parse(folder, times="sequence", start_frame=1, frame_stride=2)
    torch.testing.assert_close(outputs.metadata["frame_times"], torch.tensor([0.0, 1.0]))
    assert {path.stem for path in outputs.image_filenames} == {"000001", "000003"}


def test_the_unit_of_times_is_that_of_the_file_whichever_frames_are_selected(capture: Callable[..., Path]):
    def in_seconds(contents: dict[str, Any]) -> None:
        contents.pop("time_unit")
        for frame in contents["frames"]:
            frame["time"] *= 5  # 0, 0.5, 1, 1.5

    folder = edit(capture(), in_seconds)
    for options, times in (({}, [0, 1 / 3, 2 / 3, 1]), ({"num_frames": 2}, [0, 1]), ({"num_frames": 3}, [0, 0.5, 1])):
        torch.testing.assert_close(parse(folder, **options).metadata["frame_times"], torch.tensor(times).float())
    # Who says so has them as they are, of the selected frames.
    outputs = parse(folder, num_frames=2, times="unit")
    torch.testing.assert_close(outputs.metadata["frame_times"], torch.tensor([0.0, 0.5]))


def test_a_rig_that_was_triggered_unevenly_is_joined_by_tolerance(
    capture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    def delay(contents: dict[str, Any]) -> None:
        for frame in contents["frames"]:
            frame["time"] += 0.002 * int(frame["camera"][-1])

    folder = edit(capture(), delay)
    assert len(parse(folder).metadata["frame_times"]) > 4
    assert "raise --time-tolerance" in capsys.readouterr().out
    outputs = parse(folder, time_tolerance=0.01)
    assert len(outputs.metadata["frame_times"]) == 4
    assert len(outputs.image_filenames) == 8


def test_splits_by_lists_and_by_cameras(capture: Callable[..., Path]):
    folder = capture()
    assert {p.parent.name for p in parse(folder, "test", eval_cameras=("cam1",)).image_filenames} == {"cam1"}
    outputs = parse(folder, train_cameras=("cam3",))
    assert {path.parent.name for path in outputs.image_filenames} == {"cam3"}

    def with_lists(contents: dict[str, Any]) -> None:
        names = [frame["file_path"] for frame in contents["frames"]]
        contents.update(train_filenames=names[2:], val_filenames=names[:1], test_filenames=names[1:2])

    edit(folder, with_lists)
    counts = {split: len(parse(folder, split).image_filenames) for split in ("train", "val", "test")}
    assert counts == {"train": 10, "val": 1, "test": 1}
    assert len(parse(folder, num_frames=2).image_filenames) == 4
    assert len(parse(folder, eval_mode="fraction", train_split_fraction=0.5).image_filenames) == 6


def test_masks_in_nerfstudios_meaning_are_not_foreground(capture: Callable[..., Path]):
    def rename(contents: dict[str, Any]) -> None:
        for frame in contents["frames"]:
            frame["mask_path"] = frame.pop("fg_mask_path")

    folder = edit(capture(mask=True), rename)
    assert parse(folder).mask_filenames is None
    assert parse(folder).metadata["fg_mask_filenames"][0].parent.parent.name == "masks"
    outputs = parse(folder, mask_meaning="not_sampled")
    assert outputs.mask_filenames is not None and len(outputs.mask_filenames) == len(outputs.image_filenames)
    assert "fg_mask_filenames" not in outputs.metadata


def test_without_masks_the_box_is_what_the_cameras_look_at(capture: Callable[..., Path]):
    outputs = parse(capture())
    assert "fg_mask_filenames" not in outputs.metadata and outputs.alpha_color is None
    low, high = outputs.metadata["scene_aabb"]
    middle = to_scene(outputs, MIDDLE[None])[0]
    torch.testing.assert_close(middle, torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(high - low, (high - low)[0].expand(3))


def test_box_of_the_file_of_the_option_and_of_points(capture: Callable[..., Path]):
    import trimesh

    folder = capture(mask=True)
    box = np.stack([MIDDLE - 1, MIDDLE + np.array([1, 2, 3])])
    edit(folder, lambda contents: contents.update(scene_aabb=box.tolist(), orientation_override="none"))
    outputs = parse(folder)
    torch.testing.assert_close(outputs.metadata["scene_aabb"], to_scene(outputs, box), atol=1e-6, rtol=0)
    given = (0.0, -5.0, 0.0, 5.0, 0.0, 5.0)
    outputs = parse(folder, scene_aabb=given)
    torch.testing.assert_close(outputs.metadata["scene_aabb"], to_scene(outputs, np.reshape(given, (2, 3))))
    cloud = np.random.default_rng(0).uniform(MIDDLE - 0.5, MIDDLE + 0.5, (2000, 3))
    cloud[0] = 1e4
    trimesh.PointCloud(cloud).export(folder / "points.ply")
    edit(folder, lambda contents: contents.update(ply_file_path="points.ply"))
    outputs = parse(folder, scene_box_from="points", scene_box_margin=0.1)
    sides = (outputs.metadata["scene_aabb"][1] - outputs.metadata["scene_aabb"][0]) / outputs.dataparser_scale
    torch.testing.assert_close(sides, torch.full((3,), 1.18), atol=0.03, rtol=0)


def frame_2(key: str, value: Any) -> Callable[[Path], object]:
    return lambda scene: edit(scene, lambda contents: contents["frames"][2].__setitem__(key, value))


def all_frames(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda scene: edit(scene, lambda contents: [change(frame) for frame in contents["frames"]])


def resize(path: Path) -> None:
    Image.new("RGB", (20, 20)).save(path)


BAD_CAPTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no JSON": (lambda s: (s / "transforms.json").write_text("{"), "transforms.json is no valid JSON"),
    "no file": (lambda s: (s / "transforms.json").unlink(), "holds no transforms.json"),
    "no frames": (lambda s: edit(s, lambda c: c["frames"].clear()), "has no frames"),
    "no times": (all_frames(lambda f: f.pop("time")), "No frame of .* has a time.*use nerfstudio-data"),
    "a time missing": (lambda s: edit(s, lambda c: c["frames"][2].pop("time")), "frame 2 of .* has no time"),
    "NaN time": (frame_2("time", float("nan")), "time of frame 2 of .* is nan, expected a finite number"),
    "a word as time": (frame_2("time", "noon"), "time of frame 2 of .* is 'noon'"),
    "one time": (all_frames(lambda f: f.__setitem__("time", 2.0)), "has 1 frame, expected at least two"),
    "image missing": (lambda s: (s / "images/cam1/000002.png").unlink(), "cam1/000002.png does not exist"),
    "image of another size": (
        lambda s: resize(s / "images/cam1/000002.png"),
        "image of frame 2 of .* is 20x20 pixels, but its w and h are 40x32",
    ),
    "mask of another size": (lambda s: resize(s / "masks/cam1/000002.png"), "masks/cam1/000002.png is 20x20 pixels"),
    "a mask missing": (
        lambda s: edit(s, lambda c: c["frames"][2].pop("fg_mask_path")),
        "frame 2 of .* has no fg_mask_path, but",
    ),
    "two kinds of masks": (
        all_frames(lambda f: f.__setitem__("mask_path", f["fg_mask_path"])),
        "both mask_path and fg_mask_path.*--mask-meaning not_sampled",
    ),
    "NaN pose": (frame_2("transform_matrix", [[float("nan")] * 4] * 4), "transform_matrix of frame 2 of .* holds NaN"),
    "mirrored pose": (
        frame_2("transform_matrix", np.diag([-1.0, 1, 1, 1]).tolist()),
        "transform_matrix of frame 2 .* is no camera pose",
    ),
    "no focal length": (lambda s: edit(s, lambda c: [c.pop("fl_x"), c.pop("fl_y")]), "frame 0 of .* has no fl_x"),
    "negative focal length": (lambda s: edit(s, lambda c: c.update(fl_x=-3)), "focal length of frame 0 .* is -3"),
    "unknown lens": (lambda s: edit(s, lambda c: c.update(camera_model="VR180_L")), "camera_model .* is VR180_L"),
    "a camera missing": (lambda s: edit(s, lambda c: c["frames"][2].pop("camera")), "frame 2 of .* has no camera, but"),
    "an image twice": (frame_2("file_path", "images/cam1/000000.png"), "frames 0 and 2 .* both name"),
    "flat box": (lambda s: edit(s, lambda c: c.update(scene_aabb=[0, 0, 0, 1, 1, 0])), "scene_aabb of .* is"),
    "unknown name in a list": (
        lambda s: edit(s, lambda c: c.update(train_filenames=["images/x.png"])),
        "train_filenames of .* names images/x.png",
    ),
    "depth as NumPy": (
        all_frames(lambda f: f.__setitem__("depth_file_path", "depth.npy")),
        "depth.npy is no image file, expected a PNG",
    ),
    "bad orientation": (lambda s: edit(s, lambda c: c.update(orientation_override="down")), "orientation_override"),
    "bad convention": (
        lambda s: (
            all_frames(lambda f: f.__setitem__("depth_file_path", f["fg_mask_path"]))(s),
            edit(s, lambda c: c.update(depth_convention="w")),
        ),
        "depth_convention of .* is w",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CAPTURES)
def test_bad_captures_get_their_sentence(capture: Callable[..., Path], name: str):
    damage, says = BAD_CAPTURES[name]
    folder = capture(mask=True)
    damage(folder)
    with pytest.raises(InputError, match=says):
        parse(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eval_cameras": ("cam9",)}, "--eval-cameras names cam9"),
        ({"eval_cameras": ("cam1",), "eval_mode": "interval"}, "--eval-mode interval does not go with"),
        ({"eval_mode": "lists"}, "has no train_filenames"),
        ({"eval_mode": "filename"}, "expected 'train' or 'eval' in every file's name"),
        ({"eval_mode": "fraction", "train_split_fraction": 1.0}, "val split of .* has no images"),
        ({"eval_interval": 1, "eval_mode": "interval"}, "--eval-interval is 1"),
        ({"num_frames": 1}, "has 1 frame"),
        ({"time_tolerance": 9.0}, "has 1 frame"),
        ({"time_tolerance": -1.0}, "--time-tolerance is -1"),
        ({"scale_factor": 0.0}, "--scale-factor is 0"),
        ({"downscale_factor": 0}, "--downscale-factor is 0"),
        ({"scene_aabb": (0, 0, 0, 1, 1, 0)}, "--scene-aabb is"),
        ({"scene_box_from": "file"}, "has no scene_aabb"),
        ({"scene_box_from": "points"}, "has no ply_file_path"),
        ({"scene_box_from": "masks"}, "has no foreground masks"),
        ({"depth_unit": 0.0}, "--depth-unit is 0"),
    ],
)
def test_bad_options_get_their_sentence(capture: Callable[..., Path], options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        parse(capture(depth=True), **options)


def test_cameras_that_look_in_one_direction_need_a_box(tmp_path: Path):
    def translated():
        for number, view in enumerate(moving_views()):
            pose = view.camera_to_world.copy()
            pose[:3, :3] = np.eye(3)
            pose[0, 3] += number
            yield type(view)(view.camera, view.time, view.image, pose)

    write_nerfstudio_time_scene(tmp_path / "forward", {"phone": LENS}, translated())
    with pytest.raises(InputError, match="No scene box follows.*--scene-aabb"):
        parse(tmp_path / "forward")
    assert len(parse(tmp_path / "forward", scene_aabb=(0, 0, 0, 1, 1, 1)).image_filenames) == 10


def test_other_folders_are_answered_with_their_dataparser(
    tiny_owlii_scene: Path, tiny_dnerf_scene: Path, tmp_path: Path
):
    with pytest.raises(InputError, match="use owlii-data"):
        parse(tiny_owlii_scene)
    with pytest.raises(InputError, match="use dnerf-rgba-data"):
        parse(tiny_dnerf_scene)
    with pytest.raises(InputError, match="nowhere.json does not exist"):
        parse(tmp_path / "nowhere.json")


def test_the_json_itself_may_be_given(scene: Path):
    assert len(parse(scene / "transforms.json").image_filenames) == 12
