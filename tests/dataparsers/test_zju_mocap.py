from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from nf_plugins.data.check import check_capture
from nf_plugins.data.check_figure import draw_capture, scene_points
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.restricted_pickle import load_restricted
from nf_plugins.data.synthetic.generate import SynthOptions, generate_scene
from nf_plugins.errors import InputError
from nf_plugins.model_components.visual_hull import project_points

LENS = [-0.35, 0.1, 0.012, -0.009, 0.02]
SIZE = 40


def parse(scene: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return ZjuMocapDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split)


@pytest.fixture(scope="module")
def dancer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in dancer in ZJU-MoCap's files: 3 training cameras and a held-out one, 3 frames, masks, vertices."""
    return generate_scene(
        SynthOptions(
            output_dir=tmp_path_factory.mktemp("zju") / "dancer", layout="zju", num_frames=3, num_train_cameras=3,
            resolution=SIZE,
        )
    )  # fmt: skip


@pytest.fixture
def scene(dancer: Path, tmp_path: Path) -> Path:
    """A copy of the dancer that a test may break."""
    return Path(shutil.copytree(dancer, tmp_path / "dancer"))


def annotations(scene: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    contents = load_restricted(scene / "annots.npy")
    change(contents)
    np.save(scene / "annots.npy", np.array(contents, dtype=object), allow_pickle=True)


def scene_to_world(outputs: DataparserOutputs, points: torch.Tensor) -> np.ndarray:
    matrix = outputs.metadata["world_from_scene"]
    return (points @ matrix[:3, :3].T + matrix[:3, 3]).double().numpy()


def test_outputs_of_a_whole_scene(dancer: Path):
    train, val, test = (parse(dancer, split) for split in ("train", "val", "test"))
    assert len(train.image_filenames) == len(train.cameras) == 9
    assert val.image_filenames == test.image_filenames
    assert {path.parent.name for path in val.image_filenames} == {"Camera_B4"}
    assert train.metadata["camera_names"] == ["Camera_B1", "Camera_B2", "Camera_B3", "Camera_B4"]
    assert train.cameras.metadata["camera_id"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert val.cameras.metadata["camera_id"].unique().tolist() == [3]
    for outputs in (train, val):
        assert outputs.metadata["frame_times"].tolist() == [0.0, 0.5, 1.0]
        assert outputs.cameras.times.reshape(-1, 3).tolist() == [[0.0, 0.5, 1.0]] * (len(outputs.cameras) // 3)
        assert len(outputs.metadata["fg_mask_filenames"]) == len(outputs.cameras)
        rotation = outputs.cameras.camera_to_worlds[:, :, :3]
        torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.metadata["scene_aabb"].norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(train.metadata["world_from_scene"], val.metadata["world_from_scene"])
    assert train.alpha_color.tolist() == [0, 0, 0]
    assert train.cameras.distortion_params is None, "lenses without distortion cost nothing"


def test_round_trip_of_cameras_and_masks(dancer: Path, tmp_path: Path):
    """The same scene in the Owlii layout, read by the other dataparser: points project to the same pixels."""
    from dataparsers.owlii import OwliiDataParserConfig

    options = {"num_frames": 3, "num_train_cameras": 3, "resolution": SIZE, "num_cloud_points": 10}
    other_scene = generate_scene(SynthOptions(output_dir=tmp_path / "owlii", **options))
    other = OwliiDataParserConfig(data=other_scene).setup().get_dataparser_outputs("train")
    ours = parse(dancer, background_color="white")
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.4, 0.4, (30, 3))).float()
    in_other = torch.from_numpy(
        np.linalg.solve(
            other.metadata["world_from_scene"].double().numpy(), np.c_[scene_to_world(ours, points), np.ones(30)].T
        ).T[:, :3]
    ).float()
    datasets = DynamicDataset(ours), DynamicDataset(other)
    for index in (0, 4, 8):
        ours_x, ours_y, _ = project_points(ours.cameras[index], points)
        other_x, other_y, _ = project_points(other.cameras[index], in_other)
        assert float((ours_x - other_x).abs().max()) < 1e-3
        assert float((ours_y - other_y).abs().max()) < 1e-3
        for key in ("image", "fg_mask"):
            assert torch.equal(datasets[0][index][key], datasets[1][index][key])


def test_pixels_are_opencvs_plus_a_half(dancer: Path):
    """The one place where the ways of counting pixels meet: OpenCV's projection of a point, plus (0.5, 0.5)."""
    outputs = parse(dancer)
    cams = load_restricted(dancer / "annots.npy")["cams"]
    points = torch.from_numpy(np.random.default_rng(1).uniform(-0.4, 0.4, (10, 3))).float()
    for camera in range(3):
        rotation, translation, matrix = (np.array(cams[key][camera]) for key in ("R", "T", "K"))
        pixels, _ = cv2.projectPoints(
            1000 * scene_to_world(outputs, points), cv2.Rodrigues(rotation)[0], translation, matrix, np.zeros(5)
        )
        x, y, _ = project_points(outputs.cameras[3 * camera], points)
        np.testing.assert_allclose(torch.stack([x, y], dim=-1).numpy(), pixels[:, 0] + 0.5, atol=1e-3)


@pytest.mark.parametrize("factor", [1, 2])
def test_rays_go_through_the_lens(scene: Path, factor: int):
    """Where OpenCV images a point with the lens's distortion, nerfstudio's ray through that pixel meets the point."""
    annotations(scene, lambda contents: contents["cams"].update(D=[LENS] * 4))
    outputs = parse(scene, downscale_factor=factor)
    k1, k2, p1, p2, k3 = LENS
    torch.testing.assert_close(outputs.cameras.distortion_params, torch.tensor([k1, k2, k3, 0.0, p1, p2]).expand(9, 6))
    cams = load_restricted(scene / "annots.npy")["cams"]
    points = torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 0.5, (10, 3))).float()
    rotation, translation, matrix = (np.array(cams[key][1]) for key in ("R", "T", "K"))
    pixels, _ = cv2.projectPoints(
        1000 * scene_to_world(outputs, points), cv2.Rodrigues(rotation)[0], translation, matrix, np.array(LENS)
    )
    coords = torch.from_numpy((pixels[:, 0, ::-1] + 0.5) / factor).float()
    rays = outputs.cameras.generate_rays(torch.full((10, 1), 3), coords=coords)
    offset = points - rays.origins
    assert float(torch.linalg.cross(offset, rays.directions).norm(dim=-1).max()) < 1e-4
    straight = outputs.cameras.generate_rays(torch.full((10, 1), 3), coords=coords, disable_distortion=True)
    assert float(torch.linalg.cross(offset, straight.directions).norm(dim=-1).max()) > 5e-3


def test_cameras_by_name_and_by_number(dancer: Path):
    chosen = parse(dancer, train_cameras=("2", "Camera_B1"), eval_cameras=("1",), start_frame=1)
    assert [path.parent.name for path in chosen.image_filenames] == ["Camera_B3"] * 2 + ["Camera_B1"] * 2
    assert [path.stem for path in chosen.image_filenames] == ["000001", "000002"] * 2
    assert (
        parse(dancer, "test", train_cameras=("2",), eval_cameras=("1",)).image_filenames[0].parent.name == "Camera_B2"
    )
    with pytest.raises(InputError, match="--eval-cameras names 7, which .* does not have, expected one of Camera_B1"):
        parse(dancer, eval_cameras=("7",))


def test_box_from_every_source_holds_the_subject(scene: Path):
    vertices = np.concatenate([np.load(path) for path in sorted((scene / "vertices").iterdir())])
    add_keypoints(scene, joints_of(scene))
    for source, slack in (("vertices", 0.11), ("masks", 0.6), ("keypoints", 0.4)):
        outputs = parse(scene, scene_box_from=source)
        box = scene_to_world(outputs, outputs.metadata["scene_aabb"])
        assert (box[0] <= vertices.min(axis=0) + 1e-3).all() and (box[1] >= vertices.max(axis=0) - 1e-3).all()
        assert (vertices.min(axis=0) - box[0] < slack).all() and (box[1] - vertices.max(axis=0) < slack).all(), source
        evaluation = parse(scene, "test", scene_box_from=source)
        torch.testing.assert_close(evaluation.metadata["scene_aabb"], outputs.metadata["scene_aabb"])
        torch.testing.assert_close(evaluation.metadata["world_from_scene"], outputs.metadata["world_from_scene"])
    explicit = parse(scene, scene_box=(-1.0, -1.0, 0.0, 1.0, 1.0, 2.0))
    box = scene_to_world(explicit, explicit.metadata["scene_aabb"])
    np.testing.assert_allclose(box, [[-1, -1, 0], [1, 1, 2]], atol=1e-6)


def joints_of(scene: Path) -> list[np.ndarray]:
    """Detections (C, J, 3) of every frame: OpenCV's images of vertices all over the body."""
    cams = load_restricted(scene / "annots.npy")["cams"]
    detections = []
    for path in sorted((scene / "vertices").iterdir()):
        vertices = np.load(path).astype(np.float64)
        joints = vertices[:: len(vertices) // 60]
        columns = []
        for rotation, translation, matrix in zip(cams["R"], cams["T"], cams["K"], strict=True):
            pixels, _ = cv2.projectPoints(
                1000 * joints, cv2.Rodrigues(np.array(rotation))[0], np.array(translation), np.array(matrix), None
            )
            columns.append(np.c_[pixels[:, 0], np.ones(len(joints))])
        detections.append(np.stack(columns)[:, :60])
    return detections


def add_keypoints(scene: Path, detections: list[np.ndarray]) -> None:
    def change(contents: dict[str, Any]) -> None:
        for entry, of_frame in zip(contents["ims"], detections, strict=True):
            entry["kpts2d"] = of_frame

    annotations(scene, change)


def test_joints_and_what_the_cameras_disagree_by(scene: Path):
    detections = joints_of(scene)
    for frame in detections:
        frame[3, :, 0] += 4.0  # the held-out camera is off by four pixels
        frame[0, 5, 2] = 0.1  # hardly seen
    add_keypoints(scene, detections)
    outputs = parse(scene)
    keypoints = outputs.metadata["keypoints"]
    assert keypoints.shape == (3, 60, 3)
    x, y, _ = project_points(outputs.cameras[4], keypoints[1])  # the second camera's second frame
    np.testing.assert_allclose(torch.stack([x, y], -1).numpy(), detections[1][1, :, :2] + 0.5, atol=2e-3)
    note = outputs.metadata["calibration_note"]
    assert "Camera_B1 0.0, Camera_B2 0.0, Camera_B3 0.0, Camera_B4 4.0 (not used)" in note
    report = check_capture(ZjuMocapDataParserConfig(data=scene), "zju-mocap-data")
    drawn = scene_points(report)
    assert drawn is not None and drawn[2] == "triangulated joints at all times" and len(drawn[0]) == 180
    draw_capture(report, scene / "check.png")
    assert Image.open(scene / "check.png").size == (1800, 1000)


def test_check_has_nothing_against_the_dancer(dancer: Path):
    report = check_capture(ZjuMocapDataParserConfig(data=dancer), "zju-mocap-data")
    assert report.warnings == []
    assert report.splits["train"].rays_in_box > 0.999


def test_masks_in_other_places(scene: Path):
    expected = [np.array(Image.open(path)) > 0 for path in parse(scene).metadata["fg_mask_filenames"]]
    (scene / "mask_cihp").rename(scene / "masks")
    for path in sorted((scene / "masks").rglob("*.png")):
        white = np.where(np.array(Image.open(path)) > 0, 255, 0).astype(np.uint8)
        Image.fromarray(white).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    found = parse(scene)
    assert found.metadata["fg_mask_source"] == "any_channel_above_half"
    agreement = [
        (DynamicDataset(found)[index]["fg_mask"][..., 0].numpy() == mask).mean() for index, mask in enumerate(expected)
    ]
    assert min(agreement) > 0.99
    (scene / "masks").rename(scene / "person")
    assert "fg_mask_filenames" not in parse(scene).metadata
    assert len(parse(scene, mask_folder="person").metadata["fg_mask_filenames"]) == 9
    without = parse(scene, mask_folder="none")
    assert "fg_mask_filenames" not in without.metadata and without.alpha_color is None


def test_masks_beside_images_in_a_folder_of_their_own(scene: Path):
    """EasyVolcap's and the refined captures' way: images/CAMERA and schp/CAMERA, without images/ in between."""
    (scene / "images").mkdir()
    for folder in scene.glob("Camera_B*"):
        folder.rename(scene / "images" / folder.name)
    (scene / "mask_cihp").rename(scene / "schp")

    def move(contents: dict[str, Any]) -> None:
        for entry in contents["ims"]:
            entry["ims"] = [f"images/{path}" for path in entry["ims"]]

    annotations(scene, move)
    outputs = parse(scene)
    assert outputs.metadata["fg_mask_filenames"][0] == scene / "schp/Camera_B1/000000.png"
    assert outputs.metadata["fg_mask_source"] == "any_channel_positive"


def drop(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def without_subject(scene: Path) -> None:
    drop(scene / "vertices")
    drop(scene / "mask_cihp")


BAD_SCENES: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "no calibration": (lambda s: drop(s / "annots.npy"), {}, "holds neither annots.npy nor intri.yml"),
    "truncated": (
        lambda s: (s / "annots.npy").write_bytes((s / "annots.npy").read_bytes()[:300]),
        {},
        r"annots\.npy cannot be read",
    ),
    "image missing": (lambda s: drop(s / "Camera_B2/000001.png"), {}, r"Camera_B2/000001\.png does not exist"),
    "mask missing": (
        lambda s: drop(s / "mask_cihp/Camera_B2/000001.png"),
        {},
        r"mask_cihp has no mask for Camera_B2/000001\.png \(1 of 9 are missing\)",
    ),
    "mask of another size": (
        lambda s: Image.new("L", (9, 9)).save(s / "mask_cihp/Camera_B1/000000.png"),
        {},
        "is 9x9 pixels, but its image",
    ),
    "no such mask folder": (lambda s: None, {"mask_folder": "matte"}, "--mask-folder matte: there is no folder"),
    "nothing to find the subject by": (without_subject, {}, "cannot be found from .*--scene-box"),
    "one training camera": (
        lambda s: drop(s / "vertices"),
        {"train_cameras": ("0",)},
        "1 training cameras.*--scene-box",
    ),
    "reversed box": (lambda s: None, {"scene_box": (1.0, 0, 0, 0, 1, 1)}, "--scene-box is"),
    "vertices missing": (
        lambda s: drop(s / "vertices/000001.npy"),
        {},
        "vertices holds 2, but the capture's list of frames holds 3",
    ),
    "vertices damaged": (lambda s: (s / "vertices/000001.npy").write_bytes(b"x"), {}, r"000001\.npy cannot be read"),
    "one frame": (lambda s: None, {"num_frames": 1}, "has 1 frame, expected at least two"),
    "factor 0": (lambda s: None, {"downscale_factor": 0}, "--downscale-factor is 0"),
}


@pytest.mark.parametrize("name", BAD_SCENES)
def test_bad_scenes_get_their_sentence(scene: Path, name: str):
    damage, options, says = BAD_SCENES[name]
    damage(scene)
    with pytest.raises(InputError, match=says):
        parse(scene, **options)


def test_vertices_cannot_smuggle_a_pickle_in(scene: Path):
    np.save(scene / "vertices/000001.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"000001\.npy cannot be read"):
        parse(scene)


def test_other_data_are_answered_with_their_dataparser(tiny_owlii_scene: Path, tmp_path: Path):
    with pytest.raises(InputError, match="looks like Owlii .* data; use owlii-data"):
        parse(tiny_owlii_scene)
    with pytest.raises(InputError, match="nowhere does not exist"):
        parse(tmp_path / "nowhere")


def test_a_camera_of_the_annotations_without_images(scene: Path):
    drop(scene / "Camera_B2")
    with pytest.raises(InputError, match=r"annots\.npy lists the camera Camera_B2, but there are no images of it"):
        parse(scene)
    left = parse(scene, train_cameras=("0", "2"), eval_cameras=("3",))
    assert len(left.image_filenames) == 6, "a download of some cameras is enough for these"


def test_options_of_all_rigs(scene: Path):
    """Undistorted, scaled and cropped images, each frame's box, strides of evaluation."""
    annotations(scene, lambda contents: contents["cams"].update(D=[LENS] * 4))
    options: dict[str, Any] = {"undistort": True, "scale_ratio": 0.75, "crop_size": (20, 24), "eval_frame_stride": 2}
    train, test = parse(scene, **options), parse(scene, "test", **options)
    assert train.cameras.distortion_params is None
    assert DynamicDataset(train)[0]["image"].shape == (20, 24, 3)
    assert test.cameras.times[:, 0].tolist() == [0.0, 1.0]
    assert train.metadata["frame_boxes"].shape == (3, 2, 3) and train.metadata["box_source"] == "vertices"
    assert "frame_boxes" not in parse(scene, scene_box_from="masks").metadata
    everything = parse(scene, train_views="all")
    assert len(everything.image_filenames) == 12 and "flatter" in everything.metadata["protocol_note"]
    kept = parse(scene, background_color="keep")
    assert kept.alpha_color is None and kept.metadata["keep_background"]
    annotations(scene, lambda contents: contents["cams"].update(D=[[-9.0, 0, 0, 0, 0]] * 4))
    with pytest.raises(InputError, match="Camera_B1 of .* is too strong to undistort"):
        parse(scene, undistort=True)


def test_real_walker_is_calibrated_but_for_its_third_camera(shared_data: Path):
    """Joints of cam01, cam02 and cam04 agree to two pixels of 270x480; cam03 is nine off, so it is held out."""
    outputs = parse(shared_data / "zju/walker", eval_cameras=("cam03",), frame_stride=5)
    assert {path.parent.name for path in outputs.image_filenames} == {"cam01", "cam02", "cam04"}
    note = outputs.metadata["calibration_note"]
    errors = {part.split()[0]: float(part.split()[1]) for part in note.split(": ", 1)[1].split(", ")}
    assert max(errors["cam01"], errors["cam02"], errors["cam04"]) < 3
    assert 6 < errors["cam03"] < 12
    height = scene_to_world(outputs, outputs.metadata["scene_aabb"])[:, 2]
    assert -0.5 < height[0] < 0.1 and 1.7 < height[1] < 2.3, "a standing man, z upwards, metres"
    assert outputs.cameras.distortion_params is not None


def test_real_walker_reads_the_same_from_easymocap_files(shared_data: Path, tmp_path: Path):
    walker = shared_data / "zju/walker"
    for name in ("intri.yml", "extri.yml", "images"):
        (tmp_path / name).symlink_to(walker / name)
    options = {"frame_stride": 20, "scene_box": (-2.0, -1.0, 0.0, 0.0, 1.0, 2.0)}
    first, second = parse(walker, **options), parse(tmp_path, **options)
    torch.testing.assert_close(first.cameras.camera_to_worlds, second.cameras.camera_to_worlds, atol=1e-5, rtol=0)
    torch.testing.assert_close(first.cameras.cx, second.cameras.cx)
    torch.testing.assert_close(first.cameras.distortion_params, second.cameras.distortion_params)
    assert [path.name for path in first.image_filenames] == [path.name for path in second.image_filenames]
