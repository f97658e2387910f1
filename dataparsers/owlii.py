"""Multi-view captures in the layout of ResFields' Owlii and Kinect4D scenes: one folder per synchronised camera.

::

    SCENE/
      aabb.txt            [xmin,ymin,zmin,xmax,ymax,zmax], scene units (optional: [-1, 1]^3)
      cloud/*.ply         true points per frame, scene units (optional)
      mesh/*.ply          true mesh per frame, scene units (optional)
      CAMERA/             cam_train_0, cam_train_1, ..., cam_test; or any names, such as Kinect4D's cam_0, cam_1, ...
        rgb/*.png         sorted by name, the position is the frame
        mask/*.png        first channel > 0 is foreground (optional)
        depth/*.png       16 bit (optional)
        cameras_sphere.npz  world_mat_i and scale_mat_i (4, 4) of every frame i

``(world_mat_i @ scale_mat_i)[:3]`` maps scene points to pixels, where the centre of the first pixel is (0.5, 0.5).
``depth/`` holds thousandths of a world unit (millimetres) along the pixel's ray; captures of RGB-D sensors often hold
z instead, which ``--depth-convention z`` says. 0 means not measured. Poses and intrinsics are per frame, so that
sensors may move.

Scene units are those in which the subject fits the unit sphere; ``scale_mat_0`` leads back to the data's own units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import camera_to_world_opengl
from nf_plugins.data.dataparser_outputs import background_tensor, pinhole_cameras, require_downscale_factor
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.projection_archive import ProjectionArchive, common_scale_mat, read_projection_archive
from nf_plugins.data.selection import choose_cameras, select_frames
from nf_plugins.errors import InputError

CAMERA_FILE = "cameras_sphere.npz"


@dataclass
class OwliiDataParserConfig(DataParserConfig):
    """Owlii (ResFields) layout: one folder per synchronised camera with rgb, mask, depth and cameras_sphere.npz."""

    _target: type = field(default_factory=lambda: OwliiDataParser)
    """Class that is set up."""
    data: Path = Path("data/owlii/dancer")
    """Folder of the scene, which holds the cameras' folders."""
    train_cameras: tuple[str, ...] = ()
    """Folders of the training cameras; empty takes every cam_train_* (with none, every camera not used to evaluate)."""
    eval_cameras: tuple[str, ...] = ()
    """Folders of the evaluation cameras; empty takes every cam_test*, and with none holds the last camera out."""
    start_frame: int = 0
    """First frame to load."""
    num_frames: int | None = None
    """How many frames to load at most; None takes all."""
    frame_stride: int = 1
    """Load every n-th frame."""
    downscale_factor: int = 1
    """Reduce images, masks and depth by this factor, averaging over areas."""
    background_color: Literal["white", "black"] = "white"
    """Colour that the masked images are laid on."""
    depth_unit: float = 0.001
    """World units (metres) per raw value of a depth image."""
    depth_convention: Literal["ray", "z"] = "ray"
    """What a depth image holds: the distance along the pixel's ray, or the camera's z coordinate."""


class CameraFolder(NamedTuple):
    """The files of one camera, frame by frame."""

    path: Path
    images: list[Path]
    masks: list[Path]
    depths: list[Path]
    projections: ProjectionArchive


class OwliiDataParser(DataParser):
    """Reads the Owlii layout.

    The splits "val" and "test" both give the evaluation cameras. A camera may move: poses and intrinsics are read per
    frame. Times are f / (T - 1) of the T loaded frames. Images come camera by camera, frame by frame.
    """

    config: OwliiDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        require_downscale_factor(self.config.downscale_factor)
        train_names, eval_names, protocol_note = self._camera_names()
        all_names = train_names + [name for name in eval_names if name not in train_names]
        used_names = train_names if split == "train" else eval_names
        cameras = {
            name: _read_camera_folder(self.config.data / name) for name in dict.fromkeys(train_names + eval_names)
        }
        first = cameras[train_names[0]]
        for camera in cameras.values():
            validation.require_equal_counts(
                f"{camera.path / 'rgb'}",
                len(camera.images),
                f"{first.path / 'rgb'}",
                len(first.images),
                "cameras are taken to be synchronised; name those that are with --train-cameras and --eval-cameras.",
            )
        frames = select_frames(
            len(first.images),
            self.config.start_frame,
            self.config.frame_stride,
            self.config.num_frames,
            first.path / "rgb",
        )
        used = [cameras[name] for name in used_names]
        times = torch.arange(len(frames), dtype=torch.float32) / (len(frames) - 1)

        headers = self._checked_headers(used, frames, split)
        nerfstudio_cameras = self._cameras(used, frames, headers, times, [all_names.index(name) for name in used_names])
        scene_aabb = self._scene_aabb()
        world_from_scene = self._world_from_scene(used, first, frames)
        metadata: dict[str, Any] = {
            "dataparser_name": "owlii-data",
            "split": split,
            "protocol_note": protocol_note,
            "camera_names": all_names,
            "frame_times": times,
            "scene_aabb": scene_aabb,
            "world_from_scene": world_from_scene,
            "downscale_factor": self.config.downscale_factor,
        }
        background = None
        if used[0].masks:
            background = background_tensor(self.config.background_color)
            metadata["background_color"] = background
            metadata["fg_mask_filenames"] = [camera.masks[frame] for camera in used for frame in frames]
            metadata["fg_mask_source"] = "first_channel_positive"
        if used[0].depths:
            scene_scale = float(np.cbrt(np.linalg.det(first.projections.scale_mats[frames[0]][:3, :3])))
            metadata["depth_filenames"] = [camera.depths[frame] for camera in used for frame in frames]
            metadata["depth_scale"] = self.config.depth_unit / scene_scale
            metadata["depth_convention"] = self.config.depth_convention
        for folder, key in (("cloud", "point_cloud_filenames"), ("mesh", "mesh_filenames")):
            truth = self._truth_files(self.config.data / folder, len(first.images), first.path / "rgb")
            if truth:
                metadata[key] = [truth[frame] for frame in frames]
        scale = float(torch.linalg.det(world_from_scene[:3, :3])) ** (1 / 3)
        rotation = world_from_scene[:3, :3] / scale
        return DataparserOutputs(
            image_filenames=[camera.images[frame] for camera in used for frame in frames],
            cameras=nerfstudio_cameras,
            alpha_color=background,
            scene_box=SceneBox(aabb=scene_aabb),
            metadata=metadata,
            dataparser_transform=torch.cat([rotation.T, -rotation.T @ world_from_scene[:3, 3:]], dim=1),
            dataparser_scale=1 / scale,
        )

    def _camera_names(self) -> tuple[list[str], list[str], str]:
        """Names of the training and the evaluation cameras, and a note on how they were chosen."""
        root = self.config.data
        hint = layout_hint(root, "owlii-data")
        validation.require_folder(root, "one folder per camera (Owlii layout)", hint)
        found = sorted((path.parent.name for path in root.glob(f"*/{CAMERA_FILE}")), key=validation.natural_key)
        named = {path.name for path in root.iterdir() if path.is_dir() and re.match(r"cam_(train_|test)", path.name)}
        found = sorted(named.union(found), key=validation.natural_key)
        if not found:
            raise InputError(
                f"The folder {root} holds no camera folder with {CAMERA_FILE}, expected the Owlii layout (cam_train_0, "
                f"..., cam_test). {hint}".rstrip()
            )
        return choose_cameras(
            found,
            self.config.train_cameras,
            self.config.eval_cameras,
            root,
            usual_train=[name for name in found if name.startswith("cam_train_")],
            usual_evaluation=[name for name in found if name.startswith("cam_test")],
        )

    def _checked_headers(
        self, used: Sequence[CameraFolder], frames: Sequence[int], split: str
    ) -> list[validation.ImageHeader]:
        """Headers of the images, after masks and depth images were compared with them."""
        images = [camera.images[frame] for camera in used for frame in frames]
        headers = validation.read_image_headers(images, f"Checking {split} images")
        for key in ("masks", "depths"):
            without = [camera for camera in used if not getattr(camera, key)]
            if len(without) == len(used):
                continue
            if without:
                raise InputError(
                    f"{without[0].path} has no {key[:-1]} folder, but other cameras have one, expected one in "
                    "all or in none: add it, or leave the camera out with --train-cameras and --eval-cameras."
                )
            files = [getattr(camera, key)[frame] for camera in used for frame in frames]
            validation.require_same_sizes(
                files, validation.read_image_headers(files, f"Checking {split} {key}"), images, headers
            )
        return headers

    def _cameras(
        self,
        used: Sequence[CameraFolder],
        frames: Sequence[int],
        headers: Sequence[validation.ImageHeader],
        times: torch.Tensor,
        camera_ids: Sequence[int],
    ) -> Cameras:
        poses, intrinsics = [], []
        for camera in used:
            for frame in frames:
                matrices = camera.projections.decompose(frame)
                intrinsics.append(matrices.intrinsics)
                poses.append(camera_to_world_opengl(matrices.rotation, matrices.centre))
        return pinhole_cameras(
            np.stack(poses),
            np.stack(intrinsics),
            headers,
            self.config.downscale_factor,
            camera_ids=torch.tensor(camera_ids).repeat_interleave(len(frames)),
            times=times.repeat(len(used)),
        )

    def _scene_aabb(self) -> torch.Tensor:
        path = self.config.data / "aabb.txt"
        if not path.exists():
            return torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            corners = torch.tensor([float(part) for part in re.split(r"[\s,\[\]()]+", text) if part]).reshape(2, 3)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"{path} holds {text.strip()[:60]!r}, expected [xmin,ymin,zmin,xmax,ymax,zmax]."
            ) from error
        if not bool(torch.isfinite(corners).all() and (corners[0] < corners[1]).all()):
            raise InputError(
                f"{path} holds the box {corners.tolist()}, expected finite numbers, each minimum below its maximum."
            )
        return corners

    def _world_from_scene(
        self, used: Sequence[CameraFolder], first: CameraFolder, frames: Sequence[int]
    ) -> torch.Tensor:
        """``scale_mat`` of the first frame, which all share (another one would be another scene frame)."""
        archives = [(first.projections, frames), *((camera.projections, frames) for camera in used)]
        return torch.from_numpy(common_scale_mat(archives)).float()

    def _truth_files(self, folder: Path, num_images: int, images: Path) -> list[Path]:
        """The .ply files of a folder of truths, one per frame; none when there is no such folder."""
        files = sorted(folder.glob("*.ply"))
        if files:
            validation.require_equal_counts(
                f"{folder}", len(files), f"{images}", num_images, "write one .ply per frame, or remove the folder."
            )
        return files


def _read_camera_folder(path: Path) -> CameraFolder:
    """Lists a camera's files and reads its matrices.

    Raises:
        InputError: Something is missing, or numbers of files and matrices differ.
    """
    images = validation.require_files(path / "rgb", "*.png", "the frames of a camera (rgb/000000.png, ...)")
    others = {}
    for name in ("mask", "depth"):
        folder = path / name
        others[name] = validation.require_files(folder, "*.png", f"one {name} per image") if folder.exists() else []
        if others[name]:
            validation.require_equal_counts(
                f"{folder}", len(others[name]), f"{path / 'rgb'}", len(images), f"write one {name} per image."
            )
    projections = read_projection_archive(path / CAMERA_FILE, path / "rgb", len(images))
    return CameraFolder(path, images, others["mask"], others["depth"], projections)


owlii_data = DataParserSpecification(
    config=OwliiDataParserConfig(),
    description="ResFields' Owlii layout: synchronised cameras with masks, depth and cameras_sphere.npz.",
)
