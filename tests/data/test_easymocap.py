from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nf_plugins.data.easymocap import read_easymocap_cameras
from nf_plugins.errors import InputError

INTRINSICS = np.array([[400.0, 0, 130], [0, 410, 240], [0, 0, 1]])
VECTOR = np.array([[0.1], [-0.3], [0.2]])
ROTATION = cv2.Rodrigues(VECTOR)[0]
TRANSLATION = np.array([[0.1], [0.2], [3.0]])
INTRI: dict[str, Any] = {"K_01": INTRINSICS, "dist_01": np.array([[-0.1, 0.05, 0.002, -0.001, 0.01]])}
EXTRI: dict[str, Any] = {"R_01": VECTOR, "Rot_01": ROTATION, "T_01": TRANSLATION}


def write(folder: Path, intri: dict[str, Any], extri: dict[str, Any], names: list[str] | None = None) -> Path:
    for file, values in (("intri.yml", intri), ("extri.yml", extri)):
        storage = cv2.FileStorage(str(folder / file), cv2.FILE_STORAGE_WRITE)
        if names is not None:
            storage.startWriteStruct("names", cv2.FileNode_SEQ)
            for name in names:
                storage.write("", name)
            storage.endWriteStruct()
        for key, value in values.items():
            storage.write(key, value)
        storage.release()
    return folder


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def named(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key.replace("01", name): value for key, value in values.items()}


def test_size_is_a_number_and_no_matrix(tmp_path: Path):
    """As EasyMocap's calibration writes it."""
    (camera,) = read_easymocap_cameras(write(tmp_path, INTRI | {"H_01": 1024, "W_01": 768.0, "note": "text"}, EXTRI))
    assert (camera.name, camera.width, camera.height) == ("01", 768, 1024)
    np.testing.assert_array_equal(camera.intrinsics, INTRINSICS)
    np.testing.assert_array_equal(camera.distortion, INTRI["dist_01"][0])
    np.testing.assert_array_equal(camera.rotation, ROTATION)
    np.testing.assert_array_equal(camera.translation, TRANSLATION[:, 0])
    (camera,) = read_easymocap_cameras(write(tmp_path, INTRI | {"H_01": 1024}, EXTRI))
    assert (camera.width, camera.height) == (0, 0)


def test_rotation_is_a_vector_or_a_matrix_and_distortion_has_two_names_or_none(tmp_path: Path):
    for extri in (without(EXTRI, "R_01"), without(EXTRI, "Rot_01"), {"R_01": ROTATION, "T_01": TRANSLATION.T.copy()}):
        (camera,) = read_easymocap_cameras(write(tmp_path, {"K_01": INTRINSICS, "D_01": np.ones((4, 1))}, extri))
        np.testing.assert_allclose(camera.rotation, ROTATION, atol=1e-12)
        np.testing.assert_array_equal(camera.distortion, np.ones(4))
    (camera,) = read_easymocap_cameras(write(tmp_path, {"K_01": INTRINSICS}, EXTRI))
    assert camera.distortion.shape == (0,)


def test_names_are_those_listed_else_those_of_the_matrices(tmp_path: Path):
    several = [named(INTRI, name) | named(EXTRI, name) for name in ("10", "9", "left")]
    values = {key: value for each in several for key, value in each.items()}
    assert [camera.name for camera in read_easymocap_cameras(write(tmp_path, values, values))] == ["9", "10", "left"]
    write(tmp_path, values, values, names=["10", "9"])
    assert [camera.name for camera in read_easymocap_cameras(tmp_path)] == ["9", "10"]
    path = tmp_path / "intri.yml"
    path.write_text(path.read_text().replace('"10"', "10"))  # a number to YAML
    assert [camera.name for camera in read_easymocap_cameras(tmp_path)] == ["9", "10", "left"]


@pytest.mark.parametrize(
    ("intri", "extri", "names", "says"),
    [
        ({"a": 1}, EXTRI, None, r"intri\.yml names no camera"),
        (INTRI, EXTRI, ["01", "02"], r"intri\.yml has no K_02"),
        (INTRI, EXTRI, ["01", "01"], "names the camera 01 twice"),
        (INTRI | {"K_01": np.eye(4)}, EXTRI, None, r"K_01 of .* has the shape \(4, 4\)"),
        (INTRI | {"D_01": np.full((1, 5), np.nan)}, EXTRI, None, "D_01 of .* holds NaN"),
        (INTRI | {"H_01": -3, "W_01": 5}, EXTRI, None, "H_01 of .* is -3"),
        (INTRI, {"T_01": TRANSLATION}, None, r"extri\.yml has no R_01 and no Rot_01"),
        (INTRI, without(EXTRI, "T_01"), None, r"extri\.yml has no T_01"),
        (INTRI, EXTRI | {"T_01": np.zeros((2, 1))}, None, "T_01 of .* has the shape"),
        (INTRI, {"R_01": np.full((3, 1), np.inf), "T_01": TRANSLATION}, None, "R_01 of .* holds NaN or inf"),
    ],
)
def test_bad_files_get_their_sentence(
    tmp_path: Path, intri: dict[str, Any], extri: dict[str, Any], names: list[str] | None, says: str
):
    with pytest.raises(InputError, match=says):
        read_easymocap_cameras(write(tmp_path, intri, extri, names))


@pytest.mark.parametrize("text", ["", "no YAML", "%YAML:1.0\n---\nK_01: [1, 2\n", "%YAML:1.0\n---\n- a\n", None])
def test_damaged_and_missing_files_get_their_sentence(tmp_path: Path, text: str | None):
    path = write(tmp_path, INTRI, EXTRI) / "extri.yml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"extri\.yml cannot be read"):
        read_easymocap_cameras(tmp_path)
