from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nf_plugins.data.zju_capture import read_annotations, read_capture, read_easymocap
from nf_plugins.errors import InputError


def annotations(num_cameras: int = 2, num_frames: int = 3, **changes: Any) -> dict[str, Any]:
    rotations = [cv2.Rodrigues(np.array([0.1 * i, -0.3, 0.2]))[0] for i in range(num_cameras)]
    cams = {
        "K": [np.array([[400.0 + i, 0, 130], [0, 410, 240], [0, 0, 1]]) for i in range(num_cameras)],
        "R": rotations,
        "T": [np.array([[100.0], [200.0], [3000.0 + i]]) for i in range(num_cameras)],
        "D": [np.array([[-0.1], [0.05], [0.002], [-0.001], [0.01]]) for _ in range(num_cameras)],
    }
    cams.update(changes)
    names = [f"Camera_B{i + 1}" for i in range(num_cameras)]
    ims = [{"ims": [f"{name}/{frame:06d}.jpg" for name in names]} for frame in range(num_frames)]
    return {"cams": cams, "ims": ims}


def saved(root: Path, contents: Any) -> Path:
    np.save(root / "annots.npy", np.array(contents, dtype=object), allow_pickle=True)
    return root


def easymocap(root: Path, distortion_key: str = "dist", rotation_key: str = "R") -> Path:
    """The same calibration in EasyMocap's files, with two images per camera."""
    cams = annotations()["cams"]
    intrinsics = cv2.FileStorage(str(root / "intri.yml"), cv2.FILE_STORAGE_WRITE)
    extrinsics = cv2.FileStorage(str(root / "extri.yml"), cv2.FILE_STORAGE_WRITE)
    for index in range(2):
        name = f"{index:02d}"
        intrinsics.write(f"K_{name}", cams["K"][index])
        intrinsics.write(f"{distortion_key}_{name}", cams["D"][index].T.copy())
        rotation = cams["R"][index]
        if rotation_key == "R":
            extrinsics.write(f"R_{name}", cv2.Rodrigues(rotation)[0])
        else:
            extrinsics.write(f"Rot_{name}", rotation)
        # Numbers among the matrices, as EasyMocap's own calibration writes them.
        intrinsics.write(f"H_{name}", 1024)
        intrinsics.write(f"W_{name}", 1024)
        extrinsics.write(f"T_{name}", cams["T"][index] / 1000)
        (root / "images" / name).mkdir(parents=True)
        for frame in range(2):
            (root / "images" / name / f"{frame:06d}.jpg").touch()
    intrinsics.release()
    extrinsics.release()
    return root


def test_annotations_in_metres_and_our_pixels(tmp_path: Path):
    capture = read_annotations(saved(tmp_path, annotations()), 0.001)
    assert capture.camera_names == ["Camera_B1", "Camera_B2"]
    np.testing.assert_allclose(capture.intrinsics[1], [[401, 0, 130.5], [0, 410, 240.5], [0, 0, 1]])
    np.testing.assert_allclose(capture.world_to_cameras[1, :, 3], [0.1, 0.2, 3.001])
    np.testing.assert_allclose(capture.distortions[0], [-0.1, 0.05, 0.002, -0.001, 0.01])
    assert capture.images[2] == [Path("Camera_B1/000002.jpg"), Path("Camera_B2/000002.jpg")]
    assert capture.keypoints is None
    metres = read_annotations(tmp_path, 1.0)
    np.testing.assert_allclose(metres.world_to_cameras[1, :, 3], [100, 200, 3001])


def test_keypoints_move_with_the_pixels(tmp_path: Path):
    contents = annotations()
    detections = np.random.default_rng(0).random((2, 25, 3)).astype(np.float32)
    for entry in contents["ims"]:
        entry["kpts2d"] = detections
    keypoints = read_annotations(saved(tmp_path, contents), 0.001).keypoints
    assert keypoints is not None and keypoints.shape == (3, 25, 2, 3)
    np.testing.assert_allclose(keypoints[1, 4, 1], detections[1, 4] + [0.5, 0.5, 0], rtol=1e-6)
    del contents["ims"][1]["kpts2d"]
    assert read_annotations(saved(tmp_path, contents), 0.001).keypoints is None


def test_distortion_may_be_missing_or_short(tmp_path: Path):
    contents = annotations(D=[[-0.1, 0.05, 0.002, -0.001], np.zeros((0, 1))])
    capture = read_annotations(saved(tmp_path, contents), 0.001)
    np.testing.assert_allclose(capture.distortions, [[-0.1, 0.05, 0.002, -0.001, 0], [0] * 5])
    del contents["cams"]["D"]
    assert not read_annotations(saved(tmp_path, contents), 0.001).distortions.any()
    contents["cams"]["D"] = [[0.0] * 5 + [0.0] * 3] * 2
    assert not read_annotations(saved(tmp_path, contents), 0.001).distortions.any()


@pytest.mark.parametrize("inside", ["images/", ""])
def test_images_are_listed_where_the_annotations_do_not(tmp_path: Path, inside: str):
    contents = annotations()
    del contents["ims"]
    for name in ("Camera_B10", "Camera_B9"):
        (tmp_path / inside / name).mkdir(parents=True)
        for frame in (2, 10, 1):
            (tmp_path / inside / name / f"f{frame}.jpg").touch()
        (tmp_path / inside / name / "notes.txt").touch()
    capture = read_annotations(saved(tmp_path, contents), 0.001)
    assert capture.camera_names == ["Camera_B9", "Camera_B10"]
    assert [row[0].name for row in capture.images] == ["f1.jpg", "f2.jpg", "f10.jpg"]
    assert capture.images[0][1] == Path(f"{inside}Camera_B10/f1.jpg")


def test_images_in_one_folder_number_the_cameras(tmp_path: Path):
    contents = annotations()
    for entry in contents["ims"]:
        entry["ims"] = ["all/a.jpg", "all/b.jpg"]
    assert read_annotations(saved(tmp_path, contents), 0.001).camera_names == ["00", "01"]


@pytest.mark.parametrize(("distortion_key", "rotation_key"), [("dist", "R"), ("D", "Rot")])
def test_easymocap_files_give_the_same_cameras(tmp_path: Path, distortion_key: str, rotation_key: str):
    from_yaml = read_easymocap(easymocap(tmp_path, distortion_key, rotation_key))
    from_annotations = read_annotations(saved(tmp_path, annotations(num_frames=2)), 0.001)
    assert from_yaml.camera_names == ["00", "01"]
    assert from_yaml.images[1] == [Path("images/00/000001.jpg"), Path("images/01/000001.jpg")]
    np.testing.assert_allclose(from_yaml.intrinsics, from_annotations.intrinsics)
    np.testing.assert_allclose(from_yaml.distortions, from_annotations.distortions)
    np.testing.assert_allclose(from_yaml.world_to_cameras, from_annotations.world_to_cameras, atol=1e-12)


def test_annotations_go_before_easymocap_files(tmp_path: Path):
    easymocap(tmp_path)
    assert read_capture(tmp_path, 0.001).source.name == "intri.yml"
    saved(tmp_path, annotations())
    assert read_capture(tmp_path, 0.001).source.name == "annots.npy"


SKEWED = [np.array([[400.0, 9, 130], [0, 400, 240], [0, 0, 1]])] * 2
BAD: dict[str, tuple[Any, str]] = {
    "no cameras": ({"ims": []}, r"annots\.npy has no cams with K, R and T"),
    "a list": ([1, 2], r"annots\.npy has no cams"),
    "a camera missing": (annotations(T=[np.zeros((3, 1))]), r"cams\['T'\] of .*annots\.npy holds 1, but"),
    "a shape": (annotations(K=[np.eye(4)] * 2), r"K of camera Camera_B1 of .* has the shape \(4, 4\)"),
    "skew": (annotations(K=SKEWED), "has a skew of 9 pixels"),
    "no focal length": (annotations(K=[np.zeros((3, 3))] * 2), "focal lengths 0, 0"),
    "no rotation": (annotations(R=[2 * np.eye(3)] * 2), "R and T of camera Camera_B1 .* is no camera pose"),
    "text": (annotations(R=[["a"]] * 2), "R of camera Camera_B1 .* holds no numbers"),
    "NaN": (annotations(T=[np.full((3, 1), np.nan)] * 2), "T of camera Camera_B1 .* holds NaN"),
    "rational model": (annotations(D=[[0.1] * 8] * 2), "expected k1, k2, p1, p2 and k3"),
    "an image missing": (
        annotations() | {"ims": [{"ims": ["Camera_B1/0.jpg"]}]},
        r"ims\[0\] of .* holds 1, but cams\['K'\] holds 2",
    ),
    "an absolute path": (
        annotations() | {"ims": [{"ims": ["/etc/passwd", "Camera_B2/0.jpg"]}]},
        "lists /etc/passwd, expected a path below",
    ),
    "a way out of the folder": (annotations() | {"ims": [{"ims": ["../a.jpg", "b.jpg"]}]}, "lists ../a.jpg"),
    "keypoints of another shape": (
        annotations(num_frames=1) | {"ims": [{"ims": ["a/0.jpg", "b/0.jpg"], "kpts2d": np.zeros((3, 25, 3))}]},
        r"kpts2d of .* has the shape \(3, 25, 3\), expected 2 cameras",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_annotations_get_their_sentence(tmp_path: Path, name: str):
    contents, says = BAD[name]
    with pytest.raises(InputError, match=says):
        read_annotations(saved(tmp_path, contents), 0.001)


def test_bad_easymocap_files_get_their_sentence(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds neither annots\.npy nor intri\.yml and extri\.yml"):
        read_capture(tmp_path, 0.001)
    easymocap(tmp_path)
    (tmp_path / "images/01/000001.jpg").unlink()
    with pytest.raises(InputError, match=r"images/01 holds 1, but .*images/00 holds 2"):
        read_easymocap(tmp_path)
    for file in (tmp_path / "images/01").iterdir():
        file.unlink()
    (tmp_path / "images/01").rmdir()
    with pytest.raises(InputError, match="names the camera 01, but .* has no folder 01"):
        read_easymocap(tmp_path)
    text = (tmp_path / "extri.yml").read_text()
    (tmp_path / "extri.yml").write_text(text.replace("T_00", "U_00"))
    with pytest.raises(InputError, match="has no T_00"):
        read_easymocap(tmp_path)
    (tmp_path / "intri.yml").write_text("%YAML:1.0\n---\nK_00: [1, 2\n")
    with pytest.raises(InputError, match=r"intri\.yml"):
        read_easymocap(tmp_path)
