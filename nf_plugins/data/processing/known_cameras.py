"""Calibrated cameras from files: nerfstudio's transforms.json, EasyMocap's intri.yml and extri.yml, a COLMAP model."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import camera_to_world_opengl, require_rigid_pose
from nf_plugins.data.easymocap import EXTRINSICS, INTRINSICS, read_easymocap_cameras
from nf_plugins.errors import InputError

ASPECT_TOLERANCE = 0.005
EXPECTED = "transforms.json, intri.yml and extri.yml, or a COLMAP model (cameras, images, points3D .bin or .txt)"
OPENCV_PIXEL_SHIFT = 0.5
"""OpenCV's calibration, which EasyMocap's files come from, has the centre of the first pixel at (0, 0)."""


@dataclass(frozen=True)
class KnownCamera:
    """A standing camera."""

    name: str
    lens: tj.Lens
    """Of the calibration; its width and height are 0 where the calibration does not say them."""
    camera_to_world: NDArray[np.float64]
    """(3, 4), OpenGL axes."""
    aliases: tuple[str, ...] = ()
    """What its video may be called besides."""

    def lens_at(self, width: int, height: int) -> tj.Lens:
        """The lens for images of this size.

        Raises:
            InputError: Their shape is not that of the calibration.
        """
        lens = self.lens
        if lens.width == 0:
            return replace(lens, width=width, height=height)
        if (lens.width, lens.height) == (width, height):
            return lens
        ratio = (width / lens.width) / (height / lens.height)
        if abs(ratio - 1) > ASPECT_TOLERANCE:
            raise InputError(
                f"The frames of {self.name} are {width}x{height} pixels, but it was calibrated at {lens.width}x"
                f"{lens.height}, expected the same shape: crop or rotate the video as for the calibration."
            )
        CONSOLE.print(
            f"{self.name}: calibrated at {lens.width}x{lens.height}, its frames are {width}x{height}; the intrinsics "
            "are scaled.",
            soft_wrap=True,
        )
        return lens.resized(width, height)


@dataclass(frozen=True)
class Calibration:
    """What a calibration's files say."""

    cameras: list[KnownCamera]
    source: str
    """transforms, easymocap or colmap."""
    points: NDArray[np.float64] | None = None
    """(N, 3), world units; only COLMAP has them."""
    colors: NDArray[np.uint8] | None = None
    """(N, 3)."""
    applied_transform: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """(4, 4): what poses and points were moved by to make z point up."""


def read_calibration(path: Path) -> Calibration:
    """Reads whichever of the kinds of files ``path`` is or holds.

    Raises:
        InputError: It holds none, or a file that is damaged or says something impossible.
    """
    if not path.exists():
        raise InputError(f"--cameras {path} does not exist, expected {EXPECTED}.")
    if path.suffix.lower() == ".json":
        return read_transforms_cameras(path)
    if path.is_file():
        path = path.parent
    if (path / "transforms.json").is_file():
        return read_transforms_cameras(path / "transforms.json")
    if (path / "intri.yml").is_file() and (path / "extri.yml").is_file():
        return read_easymocap(path)
    model = find_colmap(path)
    if model is not None:
        return read_colmap(*model)
    raise InputError(f"--cameras {path} holds no cameras, expected {EXPECTED}.")


def read_transforms_cameras(path: Path) -> Calibration:
    """A transforms.json with one entry per camera, called by ``camera`` or by its image's name or folder."""
    transforms = tj.read_transforms(path)
    poses = tj.camera_poses(transforms)
    names = []
    for frame in transforms.frames:
        file = Path(str(frame["file_path"]))
        declared = frame.get("camera", frame.get("camera_id"))
        names.append((str(declared) if declared is not None else file.stem, (file.stem, file.parent.name)))
    _require_distinct([name for name, _ in names], path)
    cameras = [
        KnownCamera(name, tj.lens_of_frame(transforms, index), poses[index], aliases)
        for index, (name, aliases) in enumerate(names)
    ]
    return Calibration(cameras, "transforms")


def read_easymocap(folder: Path) -> Calibration:
    """EasyMocap's intri.yml and extri.yml; see ``data/easymocap.py``."""
    intrinsics, extrinsics = folder / INTRINSICS, folder / EXTRINSICS
    cameras = []
    for camera in read_easymocap_cameras(folder):
        pose = camera_to_world_opengl(camera.rotation, -camera.rotation.T @ camera.translation)
        lens = tj.Lens(
            width=camera.width,
            height=camera.height,
            fx=float(camera.intrinsics[0, 0]),
            fy=float(camera.intrinsics[1, 1]),
            cx=float(camera.intrinsics[0, 2]) + OPENCV_PIXEL_SHIFT,
            cy=float(camera.intrinsics[1, 2]) + OPENCV_PIXEL_SHIFT,
            distortion=_from_opencv(camera.distortion, f"dist_{camera.name} of {intrinsics}"),
        )
        if lens.fx <= 0 or lens.fy <= 0:
            raise InputError(
                f"K_{camera.name} of {intrinsics} has the focal length {min(lens.fx, lens.fy):g}, expected a positive "
                "one."
            )
        pose = require_rigid_pose(pose, f"Rot_{camera.name} of {extrinsics}")
        cameras.append(KnownCamera(camera.name, lens, pose))
    return Calibration(cameras, "easymocap")


def read_colmap(folder: Path, suffix: str) -> Calibration:
    """A COLMAP model with one image per camera, turned so that the images' mean up axis is z."""
    views = read_colmap_views(folder, suffix)
    cameras = []
    for view in views.cameras:
        file = Path(view.name)
        name = file.parent.name or file.stem
        cameras.append(replace(view, name=name, aliases=(file.stem, file.parent.name)))
    _require_distinct([camera.name for camera in cameras], folder)
    return _with_z_up(replace(views, cameras=cameras))


def find_colmap(path: Path) -> tuple[Path, str] | None:
    """The folder of a COLMAP model at or below a folder, and the suffix of its files."""
    for folder in (path, path / "sparse" / "0", path / "sparse", path / "colmap" / "sparse" / "0"):
        for suffix in (".bin", ".txt"):
            if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
                return folder, suffix
    return None


def read_colmap_views(folder: Path, suffix: str) -> Calibration:
    """A COLMAP model in its own coordinates; every image is a camera, called by the image's name in the model."""
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    readers: dict[str, Any] = {
        ".bin": (colmap.read_cameras_binary, colmap.read_images_binary, colmap.read_points3D_binary),
        ".txt": (colmap.read_cameras_text, colmap.read_images_text, colmap.read_points3D_text),
    }
    model: list[dict[int, Any]] = []
    for name, reader in zip(("cameras", "images", "points3D"), readers[suffix], strict=True):
        path = folder / f"{name}{suffix}"
        if name == "points3D" and not path.is_file():
            model.append({})
            continue
        try:
            model.append(reader(str(path)))
        except (struct.error, ValueError, IndexError, KeyError, AssertionError) as error:
            raise InputError(
                f"{path} cannot be read ({error}), expected a whole COLMAP model: export it anew."
            ) from error
    cameras, images, points = model
    if not images:
        raise InputError(f"The COLMAP model {folder} has no registered images, expected one per camera.")
    known = []
    for image in sorted(images.values(), key=lambda image: validation.natural_key(image.name)):
        try:
            parameters = _colmap_lens_keys(cameras[image.camera_id])
        except (NotImplementedError, KeyError) as error:
            raise InputError(
                f"The camera {image.camera_id} of {folder} cannot be used ({error}), expected a pinhole, radial, "
                "OPENCV or OPENCV_FISHEYE model: undistort the images with COLMAP, or calibrate with one of these."
            ) from error
        parameters["camera_model"] = getattr(parameters["camera_model"], "value", parameters["camera_model"])
        entry = tj.TransformsFile(folder / f"cameras{suffix}", {}, [parameters])
        rotation = colmap.qvec2rotmat(image.qvec)
        pose = camera_to_world_opengl(rotation, -rotation.T @ image.tvec)
        pose = require_rigid_pose(pose, f"image {image.name} of {folder}")
        known.append(KnownCamera(image.name, tj.lens_of_frame(entry, 0), pose))
    positions = np.array([point.xyz for point in points.values()]).reshape(-1, 3)
    colors = np.array([point.rgb for point in points.values()]).reshape(-1, 3).astype(np.uint8)
    return Calibration(known, "colmap", positions if len(positions) else None, colors)


def _colmap_lens_keys(camera: Any) -> dict[str, Any]:
    """transforms.json's keys for one of COLMAP's cameras.

    Raises:
        NotImplementedError: Its model is none that nerfstudio has.
    """
    from nerfstudio.process_data.colmap_utils import parse_colmap_camera_params

    if camera.model != "FULL_OPENCV" or np.any(camera.params[9:]):
        return parse_colmap_camera_params(camera)
    # Without a denominator it is OPENCV with k3, which nerfstudio has but does not take from COLMAP.
    keys = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3")
    numbers = dict(zip(keys, camera.params.tolist(), strict=False))
    return {"w": camera.width, "h": camera.height, "camera_model": "OPENCV", **numbers}


def match_cameras(
    cameras: list[KnownCamera], names: list[str], wanted: tuple[str, ...], where: str
) -> list[KnownCamera]:
    """The camera of every video, under the video's name.

    Args:
        names: Of the videos.
        wanted: Take these alone; empty takes all.
        where: What error messages call the place of the videos.

    Raises:
        InputError: A video has no camera, or a camera no video.
    """
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InputError(
            f"--only names {unknown[0]}, which {where} does not have, expected some of {', '.join(names)}."
        )
    taken = [name for name in names if not wanted or name in wanted]
    found: dict[str, KnownCamera] = {camera.name: camera for camera in cameras if camera.name in taken}
    for name in taken:
        if name not in found:
            same = [camera for camera in cameras if name in camera.aliases and camera.name not in found]
            if len(same) == 1:
                found[name] = same[0]
    without = [name for name in taken if name not in found]
    if without:
        raise InputError(
            f"The video {without[0]} of {where} has no camera, expected its name among {_names(cameras)}: rename one "
            "of them, or choose the videos with --only."
        )
    used = {id(camera) for camera in found.values()}
    left = [camera.name for camera in cameras if id(camera) not in used]
    if left and not wanted:
        raise InputError(
            f"The camera {left[0]} has no video in {where}, expected one called like it beside {', '.join(names)}: add "
            "it, or choose the cameras with --only."
        )
    ordered = sorted(found, key=validation.natural_key)
    return [KnownCamera(name, found[name].lens, found[name].camera_to_world) for name in ordered]


def _with_z_up(calibration: Calibration) -> Calibration:
    from nf_plugins.data.scene_frame import orientation

    transform = np.eye(4)
    transform[:3, :3] = orientation(np.stack([camera.camera_to_world for camera in calibration.cameras]), "up")
    rotation = transform[:3, :3]
    cameras = [
        KnownCamera(camera.name, camera.lens, rotation @ camera.camera_to_world, camera.aliases)
        for camera in calibration.cameras
    ]
    points = None if calibration.points is None else calibration.points @ rotation.T
    return Calibration(cameras, calibration.source, points, calibration.colors, transform)


def _from_opencv(values: NDArray[np.float64], name: str) -> tuple[float, ...]:
    """k1, k2, k3, k4, p1, p2 from OpenCV's k1, k2, p1, p2, k3."""
    if len(values) > 5 and np.any(values[5:] != 0):
        raise InputError(f"{name} has {len(values)} numbers, expected k1, k2, p1, p2, k3 alone: calibrate with these.")
    k1, k2, p1, p2, k3 = np.concatenate([values, np.zeros(5)])[:5].tolist()
    return (k1, k2, k3, 0.0, p1, p2)


def _require_distinct(names: list[str], where: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{where} has {names.count(name)} entries of camera {name}, expected one per camera, of cameras that "
                "stand still: keep one image of each."
            )


def _names(cameras: list[KnownCamera]) -> str:
    return ", ".join(camera.name for camera in cameras)
