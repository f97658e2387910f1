"""The images of a split: the dataset, what each image is, what it should show and what the model shows instead."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_times import frame_ids_from_times

Split = Literal["train", "val", "test"]


class ImageIdentity(TypedDict):
    """Which image a row of results is about; None for what the dataset does not say."""

    image_index: int
    file_name: str
    camera_id: int | None
    time: float | None
    frame_id: int | None


class RenderedImage(NamedTuple):
    """What the model shows of a dataset camera beside what it should show, on the pipeline's device."""

    rgb: Tensor
    """Rendered image (H, W, 3) in [0, 1]."""
    truth: Tensor
    """True image (H, W, 3) in [0, 1]."""
    foreground: Tensor | None
    """Foreground mask (H, W, 1), None without masks."""
    accumulation: Tensor | None
    """Rendered opacity (H, W, 1), None where the model has none."""
    outputs: dict[str, Tensor]
    """All image outputs (H, W, C) of the model."""
    motion_mask: Tensor | None = None
    """Mask (H, W, 1) of what moves, None where the dataset has none."""


def dataset_for_split(datamanager: Any, split: Split) -> Any:
    """The dataset of a split: one that the datamanager holds, else a new one of the same class.

    Raises:
        InputError: if the split holds no images.
    """
    if split == "train":
        dataset = datamanager.train_dataset
    elif split == getattr(datamanager, "test_split", None):
        dataset = datamanager.eval_dataset
    else:
        outputs = datamanager.dataparser.get_dataparser_outputs(split=split)
        scale_factor = getattr(datamanager.config, "camera_res_scale_factor", 1.0)
        dataset = type(datamanager.train_dataset)(dataparser_outputs=outputs, scale_factor=scale_factor)
    if len(dataset) == 0:
        raise InputError(f"The {split} split of {datamanager.config.data} holds no images; choose another --split.")
    return dataset


@torch.no_grad()
def refined_cameras(model: Any, cameras: Cameras) -> Cameras:
    """The training cameras as the model has learnt them; the same object where it learns none."""
    refine = getattr(model, "refined_cameras", None)
    refined = cameras if refine is None else refine(cameras)
    return cameras if refined is cameras else refined.to(cameras.device)


def with_cameras(dataset: Any, cameras: Cameras) -> Any:
    """The same images with other poses."""
    changed = copy.copy(dataset)
    changed.cameras = cameras
    return changed


def with_learnt_poses(pipeline: Any, dataset: Any) -> tuple[Any, str]:
    """The same images, those that were trained on seen from where the model has learnt that they were taken.

    Args:
        pipeline: Its model may have ``refined_cameras``.
        dataset: Of any split.

    Returns:
        The dataset, and a sentence on its poses for the protocol.
    """
    train = pipeline.datamanager.train_dataset
    refined = refined_cameras(pipeline.model, train.cameras)
    if refined is train.cameras:
        return dataset, "as given"
    learnt = dict(zip(map(str, train.image_filenames), refined.camera_to_worlds, strict=True))
    poses = dataset.cameras.camera_to_worlds
    names = [str(path) for path in dataset.image_filenames]
    cameras = dataset.cameras[torch.arange(len(names))]
    cameras.camera_to_worlds = torch.stack(
        [learnt[name].to(pose) if name in learnt else pose for name, pose in zip(names, poses, strict=True)]
    )
    count = sum(name in learnt for name in names)
    note = f"learnt for {count} of {len(names)} images; the others as given, in a frame that may have drifted"
    return with_cameras(dataset, cameras), "learnt" if count == len(names) else note


@torch.no_grad()
def render_and_load(pipeline: Any, dataset: Any, index: int) -> RenderedImage:
    """Render one dataset camera and load what it should show.

    Raises:
        InputError: if the model renders no colours.
    """
    device = pipeline.device
    outputs = with_final_names(pipeline.model.get_outputs_for_camera(dataset.cameras[index : index + 1].to(device)))
    batch = dataset[index]
    truth = composite(batch["image"].to(device), pipeline.model).clamp(0.0, 1.0)
    if "rgb" not in outputs:
        raise InputError(f"The model renders no rgb image, only {', '.join(sorted(outputs))}: nothing to compare.")
    rendered = outputs["rgb"][..., :3].to(device).clamp(0.0, 1.0)
    foreground = batch["fg_mask"].to(device) if "fg_mask" in batch else None
    accumulation = outputs["accumulation"].to(device) if "accumulation" in outputs else None
    motion_mask = batch["motion_mask"].to(device) if "motion_mask" in batch else None
    return RenderedImage(rendered, truth, foreground, accumulation, outputs, motion_mask)


def with_final_names(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's outputs, where ``NAME`` is ``NAME_fine`` for methods that render coarse to fine (vanilla-nerf)."""
    fine = {name.removesuffix("_fine"): value for name, value in outputs.items() if name.endswith("_fine")}
    return {**fine, **outputs}


def truth_of(dataset: Any, index: int, pipeline: Any) -> Tensor:
    """What a dataset's image shows, (H, W, 3), on the pipeline's device."""
    return composite(dataset[index]["image"].to(pipeline.device), pipeline.model)


def composite(image: Tensor, model: Any) -> Tensor:
    """Turn a dataset's image into float (H, W, 3); RGBA goes onto the model's own background, else onto white."""
    if not image.is_floating_point():
        image = image.float() / 255.0
    if image.shape[-1] == 3:
        return image
    renderer = getattr(model, "renderer_rgb", None)
    if renderer is not None:
        return renderer.blend_background(image)
    alpha = image[..., 3:]
    return image[..., :3] * alpha + (1.0 - alpha)


def image_identity(dataset: Any, index: int) -> ImageIdentity:
    """File name, camera, time and frame of a dataset's image."""
    cameras, metadata = dataset.cameras, getattr(dataset, "metadata", None) or {}
    image_time = None if cameras.times is None else cameras.times[index].flatten()[:1]
    # Where frames are held out of a sequence, a frame is counted among all of them.
    frame_times = metadata.get("sequence_times", metadata.get("frame_times"))
    frame_id = None
    if image_time is not None and frame_times is not None:
        frame_id = int(frame_ids_from_times(image_time.cpu(), frame_times.cpu())[0])
    camera_ids = (cameras.metadata or {}).get("camera_id")
    filename = Path(dataset.image_filenames[index])
    return {
        "image_index": index,
        "file_name": "/".join(filename.parts[-3:]),
        "camera_id": None if camera_ids is None else int(camera_ids[index].flatten()[0]),
        "time": None if image_time is None else float(image_time[0]),
        "frame_id": frame_id,
    }
