from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from ball_capture import write_colmap
from nerfstudio.data.utils import colmap_parsing_utils as colmap
from numpy.typing import NDArray
from PIL import Image
from rig_scene import rig_lens, rig_poses, write_ball_rig

from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.processing.convert import READERS, process_convert
from nf_plugins.data.processing.convert_capture import ConvertedCapture, camera_names
from nf_plugins.data.processing.convert_options import ConvertOptions
from nf_plugins.data.processing.known_cameras import KnownCamera
from nf_plugins.errors import InputError

DISTORTION = (-0.3, 0.1, 0.004, -0.003, 0.02)
POINTS = np.random.default_rng(1).uniform(-0.6, 0.6, (20, 3)) + [3.0, -2.0, 1.5]


def convert(source: Any, target: Any, data: Path, output: Path, **options: Any) -> str:
    return process_convert(ConvertOptions(source=source, target=target, data=data, output_dir=output, **options))


def read(source: Any, data: Path, **options: Any) -> ConvertedCapture:
    return READERS[source](
        ConvertOptions(source=source, target="colmap", data=data, output_dir=data / "none", **options)
    )


def projected(camera: KnownCamera) -> NDArray[np.float64]:
    """Pixels (N, 2) of the points, the first pixel's centre at (0.5, 0.5)."""
    import cv2

    lens, pose = camera.lens, camera.camera_to_world
    rotation = (pose[:, :3] * [1, -1, -1]).T
    k1, k2, k3, _, p1, p2 = lens.distortion
    matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    turn = cv2.Rodrigues(rotation)[0]
    pixels = cv2.projectPoints(POINTS, turn, -rotation @ pose[:, 3], matrix, np.array([k1, k2, p1, p2, k3]))[0]
    return np.asarray(pixels[:, 0], dtype=np.float64)


def require_same_views(one: ConvertedCapture, other: ConvertedCapture) -> None:
    assert one.names == other.names
    for mine, theirs in zip(one.calibration.cameras, other.calibration.cameras, strict=True):
        assert (mine.lens.width, mine.lens.height) == (theirs.lens.width, theirs.lens.height)
        np.testing.assert_allclose(projected(mine), projected(theirs), rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_ball_rig(tmp_path_factory.mktemp("rig") / "ball", num_cameras=3, num_frames=3, distortion=DISTORTION)
    trimesh.PointCloud(POINTS, colors=np.full((20, 3), 77, dtype=np.uint8)).export(root / "sparse.ply")
    return root


def test_the_truth_is_read_from_easyvolcaps_layout(rig: Path) -> None:
    capture = read("easyvolcap", rig)
    truth = [KnownCamera(name, rig_lens(32, DISTORTION), pose[:3]) for name, pose in rig_poses(3).items()]
    for camera, expected in zip(capture.calibration.cameras, truth, strict=True):
        np.testing.assert_allclose(projected(camera), projected(expected), atol=1e-6)
    assert len(capture.images) == 3 and capture.mask_rule == "soft"


@pytest.mark.parametrize("suffix", ["bin", "txt"])
def test_around_all_layouts_and_back(rig: Path, tmp_path: Path, suffix: Any) -> None:
    before = read("easyvolcap", rig)
    a, b, c = tmp_path / "colmap", tmp_path / "nerfstudio", tmp_path / "easyvolcap"
    command = convert("easyvolcap", "colmap", rig, a, frame=2, colmap_format=suffix)
    assert command == f"ns-train nerfacto --data {a} colmap"
    convert("colmap", "nerfstudio", a, b, world="nerfstudio")
    assert convert("nerfstudio", "easyvolcap", b, c) == ""
    after = read("easyvolcap", c)
    require_same_views(before, read("colmap", a))
    require_same_views(before, read("nerfstudio", b))
    require_same_views(before, after)
    assert after.calibration.points is not None and after.calibration.colors is not None
    np.testing.assert_allclose(after.calibration.points, POINTS, atol=1e-5)
    assert (after.calibration.colors == 77).all()
    assert after.masks is not None and before.masks is not None
    for column in range(3):
        assert after.images[0][column].read_bytes() == before.images[2][column].read_bytes()
        mine, theirs = after.masks[0][column], before.masks[2][column]
        assert mine is not None and theirs is not None
        np.testing.assert_array_equal(read_mask(mine, "soft"), read_mask(theirs, "soft"))


@pytest.mark.parametrize("world", ["same", "nerfstudio"])
def test_applied_transform_is_written_and_undone(rig: Path, tmp_path: Path, world: Any) -> None:
    convert("easyvolcap", "nerfstudio", rig, tmp_path / "a", world=world)
    contents = json.loads((tmp_path / "a" / "transforms.json").read_text())
    applied = np.array(contents["applied_transform"])
    pose = np.array(contents["frames"][1]["transform_matrix"])
    expected = np.eye(3, 4) if world == "same" else np.eye(4)[[0, 2, 1]] * [[1], [1], [-1]]
    np.testing.assert_array_equal(applied, expected)
    np.testing.assert_allclose(pose[:3], applied @ rig_poses(3)["01"], atol=1e-9)
    cloud = trimesh.load(tmp_path / "a" / contents["ply_file_path"])
    np.testing.assert_allclose(np.asarray(cloud.vertices), POINTS @ applied[:, :3].T, atol=1e-5)  # type: ignore[union-attr]
    # A scale that was applied is undone too.
    contents["applied_scale"] = 0.5
    for frame in contents["frames"]:
        for row in range(3):
            frame["transform_matrix"][row][3] *= 0.5
    (tmp_path / "a" / "transforms.json").write_text(json.dumps(contents))
    require_same_views(read("easyvolcap", rig), read("nerfstudio", tmp_path / "a"))


def test_all_moments_go_through_nerfstudio_with_times(rig: Path, tmp_path: Path) -> None:
    command = convert("easyvolcap", "nerfstudio", rig, tmp_path / "a", all_frames=True, link_images=True)
    assert command.endswith("nerfstudio-time-data")
    assert (tmp_path / "a/images/01/000002.png").is_symlink()
    capture = read("nerfstudio", tmp_path / "a")
    assert capture.times == [0, 0.5, 1]
    command = convert("nerfstudio", "easyvolcap", tmp_path / "a", tmp_path / "b", all_frames=True)
    assert command == f"ns-train im4d --data {tmp_path / 'b'} easyvolcap-data"
    before, after = read("easyvolcap", rig), read("easyvolcap", tmp_path / "b")
    require_same_views(before, after)
    assert [[path.read_bytes() for path in row] for row in before.images] == [
        [path.read_bytes() for path in row] for row in after.images
    ]


def test_masks_can_become_alpha(rig: Path, tmp_path: Path) -> None:
    convert("easyvolcap", "nerfstudio", rig, tmp_path / "a", masks="alpha")
    cutout = np.asarray(Image.open(tmp_path / "a/images/01.png"))
    mask = read_mask(rig / "masks/01/000000.png", "soft")[..., 0].numpy()
    np.testing.assert_array_equal(cutout[..., 3], 255 * mask)
    assert "fg_mask_path" not in (tmp_path / "a" / "transforms.json").read_text()
    convert("easyvolcap", "nerfstudio", rig, tmp_path / "b", masks="none")
    assert not (tmp_path / "b" / "masks").exists()


def test_points_that_few_images_see_are_left_out(tmp_path: Path) -> None:
    write_colmap(tmp_path / "sparse/0", ".txt")
    (tmp_path / "images").mkdir()
    for name in ("cam1", "cam2", "cam3"):
        Image.new("RGB", (40, 32)).save(tmp_path / "images" / f"{name}.png")
    assert read("colmap", tmp_path).calibration.points is None
    found = read("colmap", tmp_path, min_track_length=1).calibration
    assert found.points is not None and len(found.points) == 6


@pytest.mark.parametrize(
    ("model", "parameters", "distortion"),
    [
        ("SIMPLE_PINHOLE", [60, 20, 16], [0, 0, 0, 0, 0, 0]),
        ("PINHOLE", [60, 62, 20, 16], [0, 0, 0, 0, 0, 0]),
        ("SIMPLE_RADIAL", [60, 20, 16, 0.1], [0.1, 0, 0, 0, 0, 0]),
        ("OPENCV", [60, 62, 20, 16, 0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0, 0, 0.3, 0.4]),
        ("FULL_OPENCV", [60, 62, 20, 16, 0.1, 0.2, 0.3, 0.4, 0.5, 0, 0, 0], [0.1, 0.2, 0.5, 0, 0.3, 0.4]),
    ],
)
def test_camera_models_of_colmap(tmp_path: Path, model: str, parameters: list[float], distortion: list[float]) -> None:
    write_colmap(tmp_path / "sparse/0", ".txt")
    camera = colmap.Camera(1, model, 40, 32, np.array(parameters, dtype=np.float64))
    other = colmap.Camera(2, model, 40, 32, np.array(parameters, dtype=np.float64))
    colmap.write_cameras_text({1: camera, 2: other}, str(tmp_path / "sparse/0/cameras.txt"))
    for name in ("cam1", "cam2", "cam3"):
        Image.new("RGB", (40, 32)).save(tmp_path / f"{name}.png")
    lens = read("colmap", tmp_path).calibration.cameras[0].lens
    assert (lens.fx, lens.cx, lens.cy) == (60, 20, 16) and list(lens.distortion) == distortion


def test_names_of_cameras() -> None:
    assert camera_names(["00/000000.jpg", "01/000000.jpg"]) == ["00", "01"]
    assert camera_names(["images/left 1.jpg", "images/right.jpg"]) == ["left_1", "right"]
    assert camera_names(["a/0.jpg", "a/1.jpg", "b/0.jpg"]) == ["a_0", "a_1", "b_0"]
    with pytest.raises(InputError, match="different ones"):
        camera_names(["a.1.jpg", "a_1.jpg"])


def test_bad_input(rig: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="both easyvolcap"):
        convert("easyvolcap", "easyvolcap", rig, out)
    with pytest.raises(InputError, match="hold one moment"):
        convert("easyvolcap", "colmap", rig, out, all_frames=True)
    with pytest.raises(InputError, match="--frame is 3, but .* has 3 moments"):
        convert("easyvolcap", "colmap", rig, out, frame=3)
    with pytest.raises(InputError, match="--masks alpha"):
        convert("easyvolcap", "colmap", rig, out, masks="alpha")
    with pytest.raises(InputError, match="holds no COLMAP model"):
        convert("colmap", "nerfstudio", rig, out)
    model = tmp_path / "model"
    convert("easyvolcap", "colmap", rig, model, masks="none")
    (model / "images" / "01.png").unlink()
    with pytest.raises(InputError, match=r"01\.png of .* is missing \(1 of 3 are\).*--images"):
        convert("colmap", "nerfstudio", model, out)
    write_colmap(tmp_path / "odd", ".txt")
    for kind in ("THIN_PRISM_FISHEYE", "FULL_OPENCV"):
        cameras = {number: colmap.Camera(number, kind, 40, 32, np.arange(1.0, 13.0)) for number in (1, 2)}
        colmap.write_cameras_text(cameras, str(tmp_path / "odd/cameras.txt"))
        with pytest.raises(InputError, match=f"camera . of .* cannot be used .{kind}"):
            convert("colmap", "nerfstudio", tmp_path / "odd", out)
    fisheye = {number: colmap.Camera(number, "OPENCV_FISHEYE", 40, 32, np.ones(8)) for number in (1, 2)}
    colmap.write_cameras_text(fisheye, str(tmp_path / "odd/cameras.txt"))
    for name in ("cam1", "cam2", "cam3"):
        Image.new("RGB", (40, 32)).save(tmp_path / "odd" / f"{name}.png")
    with pytest.raises(InputError, match="The lens of camera cam1 is a fisheye"):
        convert("colmap", "easyvolcap", tmp_path / "odd", out)
    assert not out.exists()


def test_moving_and_missing_cameras_of_nerfstudio(rig: Path, tmp_path: Path) -> None:
    convert("easyvolcap", "nerfstudio", rig, tmp_path / "a", all_frames=True)
    path = tmp_path / "a" / "transforms.json"
    contents = json.loads(path.read_text())
    contents["frames"][4]["transform_matrix"][0][3] += 0.1
    path.write_text(json.dumps(contents))
    with pytest.raises(InputError, match="camera 01 of .* moves"):
        read("nerfstudio", tmp_path / "a")
    del contents["frames"][4]
    path.write_text(json.dumps(contents))
    with pytest.raises(InputError, match=r"no image of camera 01 at time 0\.5"):
        read("nerfstudio", tmp_path / "a")
