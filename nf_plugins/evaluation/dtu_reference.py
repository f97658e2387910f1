"""The reference of a DTU scan: scanned points, the volume that the scanner saw, and the plane of the table.

    ROOT/Points/stl/stl065_total.ply     structured-light points, millimetres
    ROOT/ObsMask/ObsMask65_10.mat        ObsMask (X, Y, Z), BB (2, 3), Res: the observed voxels
    ROOT/ObsMask/Plane65.mat             P (4,): the table; the object is on its positive side

The folders are those of the archives "Points" and "SampleSet" of the data set (Jensen et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.errors import InputError

WHERE_FROM = "the archives SampleSet.zip and Points.zip at https://roboimagedata.compute.dtu.dk/?page_id=36"
FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class ObservedVolume:
    """Which voxels the scanner saw; world units."""

    mask: NDArray[np.bool_]
    """(X, Y, Z)."""
    bounding_box: FloatArray
    """(2, 3): lowest corner, which is the centre of the first voxel, and highest corner."""
    voxel_size: float
    """Edge of a voxel."""

    def within_margins(self, points: FloatArray, margin: float) -> NDArray[np.bool_]:
        """Which points (N, 3) lie in the box, extended by ``margin`` below and, as published, twice that above."""
        low, high = self.bounding_box[0] - margin, self.bounding_box[1] + 2.0 * margin
        return ((points >= low) & (points < high)).all(axis=1)

    def observed(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which points (N, 3) lie in an observed voxel."""
        voxels = np.round((points - self.bounding_box[0]) / self.voxel_size)
        inside = ((voxels >= 0) & (voxels < self.mask.shape)).all(axis=1)
        result = np.zeros(len(points), dtype=bool)
        x, y, z = voxels[inside].astype(np.intp).T
        result[inside] = self.mask[x, y, z]
        return result


@dataclass(frozen=True)
class SurfaceReference:
    """Where a surface truly is and where that is known; world units."""

    points: FloatArray
    """(N, 3)."""
    observed: ObservedVolume | None = None
    """None: everywhere."""
    plane: FloatArray | None = None
    """(4,): only reference points x with plane . (x, 1) > 0 count for completeness; None: all."""

    def above_plane(self) -> NDArray[np.bool_]:
        """Which of the reference points (N,) count for completeness."""
        if self.plane is None:
            return np.ones(len(self.points), dtype=bool)
        return self.points @ self.plane[:3] + self.plane[3] > 0


def read_dtu_reference(root: Path, scan: int) -> SurfaceReference:
    """Read the reference of a scan from the published folders.

    Args:
        root: Holds ``Points`` and ``ObsMask``.
        scan: Its number, such as 65.

    Raises:
        InputError: if a file is missing, cannot be read, or holds something else.
    """
    root = Path(root)
    cloud = root / "Points" / "stl" / f"stl{scan:03d}_total.ply"
    observed, plane = root / "ObsMask" / f"ObsMask{scan}_10.mat", root / "ObsMask" / f"Plane{scan}.mat"
    for path in (cloud, observed, plane):  # before reading hundreds of megabytes
        _require_file(path, root, scan)
    return SurfaceReference(read_points(cloud), read_observed_volume(observed), read_plane(plane))


def read_points(path: Path) -> FloatArray:
    """The points (N, 3), float64, of a PLY file.

    Raises:
        InputError: if it cannot be read or holds no points.
    """
    import trimesh

    try:
        loaded: Any = trimesh.load(path, process=False)
    except Exception as error:
        raise InputError(f"The reference points {path} cannot be read ({error}): fetch {WHERE_FROM} anew.") from error
    vertices = getattr(loaded, "vertices", None)
    if vertices is None or len(vertices) == 0:
        raise InputError(f"The reference points {path} hold no points, expected a PLY of the scanned surface.")
    return np.asarray(vertices, dtype=np.float64)


def read_observed_volume(path: Path) -> ObservedVolume:
    """ObsMask, BB and Res of a .mat file.

    Raises:
        InputError: if it cannot be read or holds something else.
    """
    content = _read_mat(path, ("ObsMask", "BB", "Res"))
    mask, box = np.asarray(content["ObsMask"]), np.asarray(content["BB"], dtype=np.float64)
    size = np.asarray(content["Res"], dtype=np.float64).reshape(-1)
    if mask.ndim != 3 or box.shape != (2, 3) or len(size) != 1 or not size[0] > 0:
        raise InputError(
            f"{path} holds ObsMask {mask.shape}, BB {box.shape} and Res {size.tolist()}, expected (X, Y, Z), (2, 3) "
            f"and one positive number: fetch {WHERE_FROM} anew."
        )
    return ObservedVolume(mask.astype(bool), box, float(size[0]))


def read_plane(path: Path) -> FloatArray:
    """P (4,) of a .mat file.

    Raises:
        InputError: if it cannot be read or holds something else.
    """
    plane = np.asarray(_read_mat(path, ("P",))["P"], dtype=np.float64)
    if plane.size != 4:
        raise InputError(f"{path} holds P of the shape {plane.shape}, expected 4 numbers: fetch {WHERE_FROM} anew.")
    return plane.reshape(4)


def _require_file(path: Path, root: Path, scan: int) -> None:
    if not path.is_file():
        raise InputError(
            f"The DTU reference of scan {scan} lacks {path}; --dtu-root {root} must hold Points/stl and ObsMask, which "
            f"are in {WHERE_FROM}."
        )


def _read_mat(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=names)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read ({error}), expected a MATLAB file: fetch {WHERE_FROM} anew."
        ) from error
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{path} holds no {', '.join(missing)}, expected {', '.join(names)}: is it another file?")
    return content
