"""ZJU-MoCap and EasyMocap captures: synchronised standing cameras around a person.

::

    SCENE/
      annots.npy                  a pickled dictionary (read without running it):
                                  cams: K (3, 3), R (3, 3), T (3, 1; mm), D (5, 1) of every camera
                                  ims: for every frame the images of all cameras, and optionally kpts2d (C, J, 3)
      intri.yml, extri.yml        EasyMocap's calibration (metres), where there is no annots.npy
      Camera_B1/*.jpg, ...        or images/CAMERA/*.jpg
      mask_cihp/CAMERA/*.png      or schp/, mask/, masks/ (optional)
      vertices/*.npy              (V, 3) a body model's vertices per frame, metres (optional; they place the scene box)

Calibration is OpenCV's. Its lens distortion becomes the cameras', so that rays bend and images stay as they are. Scene
units are metres divided by the half diagonal of the box around the subject, whose centre is the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nf_plugins.data import validation
from nf_plugins.data.dataparser_outputs import background_tensor, downscaled_size, require_downscale_factor
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.selection import choose_cameras, select_frames
from nf_plugins.data.subject_box import scene_units
from nf_plugins.data.zju_capture import ZjuCapture, read_capture
from nf_plugins.data.zju_files import find_masks
from nf_plugins.data.zju_keypoints import keypoint_note, triangulated_keypoints
from nf_plugins.data.zju_subject import BoxSource, find_subject, world_cameras
from nf_plugins.errors import InputError


@dataclass
class ZjuMocapDataParserConfig(DataParserConfig):
    """ZJU-MoCap (annots.npy) or EasyMocap (intri.yml, extri.yml): synchronised standing cameras around a person."""

    _target: type = field(default_factory=lambda: ZjuMocapDataParser)
    """Class that is set up."""
    data: Path = Path("data/zju/CoreView_377")
    """Folder of the scene, which holds annots.npy or intri.yml."""
    train_cameras: tuple[str, ...] = ()
    """Names (folders) or numbers of the training cameras; empty takes all that do not evaluate."""
    eval_cameras: tuple[str, ...] = ()
    """Names or numbers of the evaluation cameras; empty takes all that do not train, and holds the last one out."""
    start_frame: int = 0
    """First frame to load."""
    num_frames: int | None = None
    """How many frames to load at most; None takes all."""
    frame_stride: int = 1
    """Load every n-th frame."""
    downscale_factor: int = 1
    """Reduce images and masks by this factor, averaging over areas."""
    background_color: Literal["white", "black"] = "black"
    """Colour that the masked images are laid on; published numbers on ZJU-MoCap have black."""
    mask_folder: str = "auto"
    """Folder of the masks; auto takes the first of mask_cihp, schp, mask, masks that is there, none leaves them out."""
    translation_unit: float = 0.001
    """Metres per unit of T in annots.npy."""
    scene_box: tuple[float, float, float, float, float, float] | None = None
    """xmin ymin zmin xmax ymax zmax of the subject in metres; None finds it, see --scene-box-from."""
    scene_box_from: BoxSource = "auto"
    """What the scene box is put around: the body model's vertices, the masks' visual hull, or triangulated joints; auto
    takes the first of these that the capture has."""
    box_padding: float = 0.1
    """Metres by which the box around vertices, hull or joints (these 0.2 more) is widened on every side."""


class ZjuMocapDataParser(DataParser):
    """Reads ZJU-MoCap's and EasyMocap's files.

    The splits "val" and "test" both give the evaluation cameras. Times are f / (T - 1) of the T loaded frames. Images
    come camera by camera, frame by frame. The scene box depends on the training cameras alone.
    """

    config: ZjuMocapDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        config, root = self.config, self.config.data
        require_downscale_factor(config.downscale_factor)
        hint = layout_hint(root, "zju-mocap-data")
        validation.require_folder(root, "annots.npy or intri.yml and extri.yml (ZJU-MoCap or EasyMocap)", hint)
        try:
            capture = read_capture(root, config.translation_unit)
        except InputError as error:
            raise InputError(f"{error} {hint}".strip()) from error
        names = capture.camera_names
        train, evaluation, protocol_note = choose_cameras(
            names, self._named(config.train_cameras, names), self._named(config.eval_cameras, names), root
        )
        frames = select_frames(
            len(capture.images), config.start_frame, config.frame_stride, config.num_frames, capture.source
        )
        train_ids, used = (
            [names.index(name) for name in part] for part in (train, train if split == "train" else evaluation)
        )
        images = [root / capture.images[frame][camera] for camera in used for frame in frames]
        headers = validation.read_image_headers(images, f"Checking {split} images")
        masks, mask_rule = find_masks(root, config.mask_folder, capture, used, frames)
        if masks:
            validation.require_same_sizes(
                masks, validation.read_image_headers(masks, f"Checking {split} masks"), images, headers
            )
        keypoints = triangulated_keypoints(capture, train_ids, frames)
        world_from_scene, scene_aabb = scene_units(self._subject_box(capture, train_ids, frames, keypoints))
        times = torch.arange(len(frames), dtype=torch.float32) / (len(frames) - 1)
        metadata: dict[str, Any] = {
            "dataparser_name": "zju-mocap-data",
            "split": split,
            "protocol_note": protocol_note,
            "camera_names": names,
            "frame_times": times,
            "scene_aabb": scene_aabb,
            "world_from_scene": world_from_scene,
            "downscale_factor": config.downscale_factor,
        }
        scale, centre = float(world_from_scene[0, 0]), world_from_scene[:3, 3]
        if keypoints is not None:
            metadata["keypoints"] = (torch.from_numpy(keypoints).float() - centre) / scale
            metadata["calibration_note"] = keypoint_note(capture, keypoints, train_ids, frames)
        background = None
        if masks:
            background = background_tensor(config.background_color)
            metadata["background_color"] = background
            metadata["fg_mask_filenames"] = masks
            metadata["fg_mask_source"] = mask_rule
        return DataparserOutputs(
            image_filenames=images,
            cameras=self._cameras(capture, used, times, headers, world_from_scene),
            alpha_color=background,
            scene_box=SceneBox(aabb=scene_aabb),
            metadata=metadata,
            dataparser_transform=torch.cat([torch.eye(3), -centre[:, None]], dim=1),
            dataparser_scale=1 / scale,
        )

    def _named(self, asked: Sequence[str], names: Sequence[str]) -> list[str]:
        """Names of cameras that may have been asked for by number."""
        numbered = {str(index): name for index, name in enumerate(names)}
        return [name if name in names else numbered.get(name, name) for name in asked]

    def _cameras(
        self,
        capture: ZjuCapture,
        used: Sequence[int],
        times: torch.Tensor,
        headers: Sequence[validation.ImageHeader],
        world_from_scene: torch.Tensor,
    ) -> Cameras:
        factor, num_frames = self.config.downscale_factor, len(times)
        sizes = torch.tensor([downscaled_size(header.height, header.width, factor) for header in headers])
        cameras = world_cameras(capture, used, sizes[::num_frames], factor)
        poses = cameras.camera_to_worlds
        poses[:, :, 3] = (poses[:, :, 3] - world_from_scene[:3, 3]) / world_from_scene[0, 0]
        rows = torch.arange(len(used)).repeat_interleave(num_frames)
        distortion = cameras.distortion_params
        return Cameras(
            camera_to_worlds=poses[rows],
            fx=cameras.fx[rows],
            fy=cameras.fy[rows],
            cx=cameras.cx[rows],
            cy=cameras.cy[rows],
            height=sizes[:, 0:1],
            width=sizes[:, 1:2],
            distortion_params=None if distortion is None else distortion[rows],
            camera_type=CameraType.PERSPECTIVE,
            times=times.repeat(len(used))[:, None],
            metadata={"camera_id": torch.tensor(used)[rows][:, None]},
        )

    def _subject_box(
        self, capture: ZjuCapture, train_ids: Sequence[int], frames: Sequence[int], keypoints: np.ndarray | None
    ) -> torch.Tensor:
        """The box (2, 3) around the subject, metres."""
        config = self.config
        if config.scene_box is not None:
            box = torch.tensor(config.scene_box, dtype=torch.float32).reshape(2, 3)
            if not bool(torch.isfinite(box).all() and (box[0] < box[1]).all()):
                raise InputError(
                    f"--scene-box is {config.scene_box}, expected xmin ymin zmin xmax ymax zmax in metres, each "
                    "minimum below its maximum."
                )
            return box
        return find_subject(
            root=config.data,
            capture=capture,
            cameras=train_ids,
            frames=frames,
            keypoints=keypoints,
            mask_folder=config.mask_folder,
            source=config.scene_box_from,
            padding=config.box_padding,
        )


zju_mocap_data = DataParserSpecification(
    config=ZjuMocapDataParserConfig(),
    description="ZJU-MoCap (annots.npy) and EasyMocap (intri.yml, extri.yml) captures: synchronised standing cameras.",
)
