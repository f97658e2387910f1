"""Reading the reference of a DTU scan from files as they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.io import savemat

from nf_plugins.errors import InputError
from nf_plugins.evaluation.dtu_reference import read_dtu_reference


def write_reference(root: Path, scan: int = 7, **changes: Any) -> Path:
    """A small reference: a mask of uint8 as MATLAB stores it, a plane of shape (4, 1)."""
    (root / "Points" / "stl").mkdir(parents=True)
    (root / "ObsMask").mkdir()
    cloud = trimesh.PointCloud([[0.0, 0, 0], [1.0, 2.0, 3.0]])
    cloud.export(root / "Points" / "stl" / f"stl{scan:03d}_total.ply")
    mask = np.zeros((2, 3, 4), dtype=np.uint8)
    mask[1, 2, 3] = 1
    observed = {"ObsMask": mask, "BB": np.array([[0, 0, 0], [1, 2, 3]], dtype=np.int16), "Res": 1.0, **changes}
    savemat(root / "ObsMask" / f"ObsMask{scan}_10.mat", {k: v for k, v in observed.items() if v is not None})
    savemat(root / "ObsMask" / f"Plane{scan}.mat", {"P": np.array([[0.0], [0], [1.0], [-2.0]])})
    return root


def test_all_parts_are_read_with_their_meaning(tmp_path: Path) -> None:
    reference = read_dtu_reference(write_reference(tmp_path), 7)
    assert reference.points.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert reference.above_plane().tolist() == [False, True]
    assert reference.observed is not None
    assert reference.observed.observed(reference.points).tolist() == [False, True]
    assert reference.observed.mask.dtype == bool and reference.observed.voxel_size == 1.0


@pytest.mark.parametrize("name", ["Points/stl/stl007_total.ply", "ObsMask/ObsMask7_10.mat", "ObsMask/Plane7.mat"])
def test_a_missing_file_is_named_with_where_to_get_it(tmp_path: Path, name: str) -> None:
    (write_reference(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=rf"lacks .*{Path(name).name}.*SampleSet\.zip and Points\.zip"):
        read_dtu_reference(tmp_path, 7)


def test_broken_files_are_named(tmp_path: Path) -> None:
    root = write_reference(tmp_path)
    (root / "ObsMask" / "Plane7.mat").write_bytes(b"no mat")
    with pytest.raises(InputError, match=r"Plane7\.mat cannot be read"):
        read_dtu_reference(root, 7)
    savemat(root / "ObsMask" / "Plane7.mat", {"P": np.zeros(3)})
    with pytest.raises(InputError, match="expected 4 numbers"):
        read_dtu_reference(root, 7)
    (root / "Points" / "stl" / "stl007_total.ply").write_bytes(b"ply\nbroken")
    with pytest.raises(InputError, match=r"stl007_total\.ply"):
        read_dtu_reference(root, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Res": None}, "holds no Res"),
        ({"BB": np.zeros((3, 2))}, r"BB \(3, 2\)"),
        ({"Res": 0.0}, "one positive number"),
        ({"ObsMask": np.ones((2, 2))}, r"ObsMask \(2, 2\)"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_dtu_reference(write_reference(tmp_path, **changes), 7)
