"""From a capture of several standing cameras to what nerfstudio's dataparsers return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.dataparser_outputs import background_tensor, downscaled_size
from nf_plugins.data.frame_boxes import FrameBoxes, frame_boxes
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.prepared_images import (
    ImagePreparation,
    centre_crop,
    prepared_lens,
    reduced_size,
    require_undistortable_image,
)
from nf_plugins.data.processing.undistortion import has_distortion
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_selection import RigSelection, cameras_of, select_rig
from nf_plugins.data.subject_box import scene_units
from nf_plugins.data.transforms_json import Lens, nerfstudio_cameras
from nf_plugins.errors import InputError

FloatArray = NDArray[np.float64]


def multi_view_outputs(
    capture: RigCapture,
    config: MultiViewDataParserConfig,
    split: str,
    *,
    dataparser_name: str,
    transform: FloatArray | None = None,
    keypoints: FloatArray | None = None,
    downscale_factor: int = 1,
) -> DataparserOutputs:
    """Selects, prepares and describes the images of a split, camera by camera, frame by frame.

    The splits "val" and "test" both give the evaluation cameras. Times are f / (T - 1) of the T training frames, in
    every split. Scene units are world units divided by the half diagonal of the scene's box, whose centre is the
    origin; ``world_from_scene`` leads back to the world after ``transform``.

    Args:
        dataparser_name: Goes into the metadata.
        transform: (4, 4) rotation and translation that the capture's cameras, points and boxes are moved by, such as
            one that makes z point up.
        keypoints: (T, J, 3) joints at the training frames, world units before ``transform``; a source of boxes.
        downscale_factor: Reduces everything further, on top of the scale ratios.

    Raises:
        InputError: The options select nothing or contradict the files, a file is missing, damaged or of another size,
            a lens cannot be undistorted, or nothing says where the subject is.
    """
    matrix = np.eye(4) if transform is None else np.asarray(transform, dtype=np.float64)
    capture = _moved(capture, matrix)
    if keypoints is not None:
        keypoints = keypoints @ matrix[:3, :3].T + matrix[:3, 3]
    selection = select_rig(capture, config, split)
    for camera in (*selection.train_ids, *selection.used_ids):
        _require_images(capture, camera)
    prepared = _prepare(capture, config, selection, downscale_factor)
    images = _by_image(capture.images, selection)
    masks = _masks(capture, selection)
    if capture.picture_source is None:
        _check_sizes(capture, selection, images, masks, split)
    boxes = frame_boxes(capture, selection, config, transform=matrix, keypoints=keypoints)
    world_from_scene, scene_aabb = scene_units(torch.from_numpy(boxes.scene).float())
    scale, centre = float(world_from_scene[0, 0]), world_from_scene[:3, 3]
    times = torch.arange(len(selection.frames), dtype=torch.float32) / (len(selection.frames) - 1)
    metadata: dict[str, Any] = {
        "dataparser_name": dataparser_name,
        "split": split,
        "protocol_note": selection.note,
        "camera_names": capture.camera_names,
        "frame_times": times,
        "scene_aabb": scene_aabb,
        "world_from_scene": world_from_scene,
        "downscale_factor": prepared.downscale_factor,
        "box_source": boxes.source,
        **_boxes_in_scene(boxes, scale, centre),
        **_mask_metadata(masks, capture.mask_rule, config.background_color),
    }
    if prepared.preparation is not None:
        metadata["image_preparation"] = prepared.preparation
    if capture.picture_source is not None:
        metadata["picture_source"] = capture.picture_source
    if capture.plates is not None:
        metadata["background_plate_filenames"] = _plates(capture, selection)
    turn = torch.from_numpy(matrix[:3]).float()
    return DataparserOutputs(
        image_filenames=images,
        cameras=_cameras(capture, selection, prepared.lenses, times, world_from_scene),
        alpha_color=metadata.get("background_color"),
        scene_box=SceneBox(aabb=scene_aabb),
        metadata=metadata,
        dataparser_transform=torch.cat([turn[:, :3], turn[:, 3:] - centre[:, None]], dim=1),
        dataparser_scale=1 / scale,
    )


class _Prepared(NamedTuple):
    lenses: list[Lens]
    """Of the prepared images, by used camera."""
    preparation: ImagePreparation | None
    """By image; None where a whole downscale factor says it all."""
    downscale_factor: int


def _prepare(
    capture: RigCapture, config: MultiViewDataParserConfig, selection: RigSelection, downscale_factor: int
) -> _Prepared:
    """The lenses of a split's cameras and what is done to their images."""
    special = cameras_of(config.special_cameras, capture.camera_names, "--special-cameras", capture)
    for name in special:
        if name not in capture.camera_names:
            raise InputError(
                f"--special-cameras names {name}, which {capture.source} does not have, expected one of "
                f"{', '.join(capture.camera_names)}."
            )
    files, lenses, ratios, crops = [], [], [], []
    for camera in selection.used_ids:
        name = capture.camera_names[camera]
        lens = _without_k3(capture.lenses[camera]) if config.ignore_k3 else capture.lenses[camera]
        if config.undistort:
            require_undistortable_image(lens, f"camera {name} of {capture.source}")
        usual = config.scale_ratio if capture.ratios is None else capture.ratios[camera]
        ratio = _require_ratio(config.special_scale_ratio if name in special else usual, lens, name)
        ratio /= downscale_factor
        size = (
            downscaled_size(lens.height, lens.width, downscale_factor)
            if ratio * downscale_factor == 1
            else reduced_size(lens.height, lens.width, ratio)
        )
        crop = centre_crop(size, config.crop_size, f"the images of camera {name}")
        files.append(lens)
        lenses.append(prepared_lens(lens, config.undistort, ratio, crop))
        ratios.append(ratio)
        crops.append(crop)
    is_plain = (
        all(ratio == 1 / downscale_factor for ratio in ratios)
        and config.crop_size is None
        and not (config.undistort and any(has_distortion(lens) for lens in files))
    )
    if is_plain:
        return _Prepared(lenses, None, downscale_factor)
    rows = _rows(selection)
    per_image = [[column[row] for row in rows] for column in (files, ratios, crops)]
    preparation = ImagePreparation(per_image[0], config.undistort, per_image[1], per_image[2])  # type: ignore[arg-type]
    return _Prepared(lenses, preparation, 1)


def _require_ratio(ratio: float, lens: Lens, name: str) -> float:
    if not 0 < ratio <= 1 or min(reduced_size(lens.height, lens.width, ratio)) < 1:
        raise InputError(
            f"The scale ratio of camera {name} is {ratio:g} (--scale-ratio, --special-scale-ratio), expected above 0 "
            f"and at most 1, and at least a pixel left of {lens.width}x{lens.height}."
        )
    return ratio


def _without_k3(lens: Lens) -> Lens:
    k1, k2, _, k4, p1, p2 = lens.distortion
    return lens if lens.fisheye else replace(lens, distortion=(k1, k2, 0.0, k4, p1, p2))


def _rows(selection: RigSelection) -> list[int]:
    """For every image the position of its camera among the used ones."""
    return [row for row in range(len(selection.used_ids)) for _ in selection.used_frames]


def _by_image(files: Sequence[Sequence[Any]], selection: RigSelection) -> list[Any]:
    return [files[frame][camera] for camera in selection.used_ids for frame in selection.used_frames]


def _moved(capture: RigCapture, transform: FloatArray) -> RigCapture:
    poses = capture.camera_to_worlds
    homogeneous = np.concatenate([poses, np.broadcast_to([0.0, 0.0, 0.0, 1.0], (len(poses), 1, 4))], axis=1)
    return replace(capture, camera_to_worlds=(transform @ homogeneous)[:, :3])


def _require_images(capture: RigCapture, camera: int) -> None:
    """A camera of the calibration without images has a lens of no size; it may be there, but not be used."""
    name = capture.camera_names[camera]
    if capture.lenses[camera].width == 0:
        raise InputError(
            f"{capture.source} lists the camera {name}, but there are no images of it ({capture.images[0][camera]} is "
            "missing), expected a folder of images per camera: add them, or choose others with --train-cameras and "
            "--eval-cameras."
        )


def _masks(capture: RigCapture, selection: RigSelection) -> list[Path] | None:
    if capture.masks is None:
        return None
    found, images = _by_image(capture.masks, selection), _by_image(capture.images, selection)
    missing = [image for image, mask in zip(images, found, strict=True) if mask is None]
    if missing:
        raise InputError(
            f"{_mask_folder(capture)} has no mask for {_relative(missing[0], capture)} ({len(missing)} of {len(found)} "
            "are missing), expected one for every image: add them, name another folder with --mask-folder, or use "
            "none with --mask-folder none."
        )
    return found


def _root(capture: RigCapture) -> Path:
    return capture.source if capture.source.is_dir() else capture.source.parent


def _relative(path: Path, capture: RigCapture) -> Path:
    root = _root(capture)
    return path.relative_to(root) if path.is_relative_to(root) else path


def _mask_folder(capture: RigCapture) -> Path:
    """The folder of the masks, by one of them."""
    masks = [mask for frame in capture.masks or [] for mask in frame if mask is not None]
    if not masks or not masks[0].is_relative_to(_root(capture)):
        return masks[0].parent if masks else _root(capture)
    return _root(capture) / _relative(masks[0], capture).parts[0]


def _mask_metadata(masks: list[Path] | None, rule: str, background: str) -> dict[str, Any]:
    if masks is None:
        return {}
    told: dict[str, Any] = {"fg_mask_filenames": masks, "fg_mask_source": rule}
    if background == "keep":
        return told | {"keep_background": True}
    return told | {"background_color": background_tensor(background)}


def _plates(capture: RigCapture, selection: RigSelection) -> list[Path]:
    assert capture.plates is not None
    for camera in selection.used_ids:
        if capture.plates[camera] is None:
            raise InputError(
                f"{_root(capture)} has no background plate of camera {capture.camera_names[camera]}, expected one of "
                "every camera: add it, or use none with --background-plates none."
            )
    return [path for camera in selection.used_ids for path in [capture.plates[camera]] * len(selection.used_frames)]  # type: ignore[list-item]


def _check_sizes(
    capture: RigCapture, selection: RigSelection, images: list[Path], masks: list[Path] | None, split: str
) -> None:
    """All files are whole, and as large as their camera's lens says."""
    headers = validation.read_image_headers(images, f"Checking {split} images")
    cameras = [camera for camera in selection.used_ids for _ in selection.used_frames]
    for path, header, camera in zip(images, headers, cameras, strict=True):
        lens = capture.lenses[camera]
        if (header.height, header.width) != (lens.height, lens.width):
            raise InputError(
                f"The image {path} is {header.width}x{header.height} pixels, but camera {capture.camera_names[camera]} "
                f"has images of {lens.width}x{lens.height}, expected one size per camera: write it at that size."
            )
    if masks is not None:
        of_masks = validation.read_image_headers(masks, f"Checking {split} masks")
        validation.require_same_sizes(masks, of_masks, images, headers)


def _boxes_in_scene(boxes: FrameBoxes, scale: float, centre: torch.Tensor) -> dict[str, torch.Tensor]:
    if not boxes.is_per_frame:
        return {}
    return {"frame_boxes": ((torch.from_numpy(boxes.boxes) - centre.double()) / scale).float()}


def _cameras(
    capture: RigCapture,
    selection: RigSelection,
    lenses: list[Lens],
    times: torch.Tensor,
    world_from_scene: torch.Tensor,
) -> Cameras:
    rows = _rows(selection)
    ids = torch.tensor(selection.used_ids)[rows]
    poses = capture.camera_to_worlds[ids.numpy()].copy()
    poses[:, :, 3] = (poses[:, :, 3] - world_from_scene[:3, 3].double().numpy()) / float(world_from_scene[0, 0])
    cameras = nerfstudio_cameras(poses, [lenses[row] for row in rows])
    places = torch.tensor([selection.frames.index(frame) for frame in selection.used_frames])
    cameras.times = times[places].repeat(len(selection.used_ids))[:, None]
    cameras.metadata = {"camera_id": ids[:, None]}
    return cameras
