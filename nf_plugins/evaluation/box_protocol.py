"""Image metrics where the subject's box is, as captures with several cameras are evaluated.

Published numbers of Im4D (Lin et al., SIGGRAPH Asia 2023) and its relatives are these: PSNR over the pixels whose ray
meets the box, SSIM and LPIPS over the smallest rectangle around them. Images are float (H, W, 3) in [0, 1].
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.data.source_crops import Rectangle, crop_rectangle
from nf_plugins.evaluation.image_metrics import psnr
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.monocular_metrics import SSIM_RANGES, mean_similarity, ssim_map
from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.frame_box_collider import FrameBoxCollider

BoxChoice = Literal["frame", "scene"]
BOX_METRICS = ("psnr_box", "ssim_range1_box", "ssim_range2_box", "lpips_box")


def box_mask(camera: Cameras, box: Tensor) -> Tensor:
    """Pixels whose ray meets a box, bool (H, W).

    Args:
        camera: One camera, with or without distortion.
        box: Lower and upper corner (2, 3), scene units.
    """
    rays = camera.flatten().generate_rays(camera_indices=0, keep_shape=True)
    near, far = intersect_box(rays.origins, rays.directions, box.to(rays.origins))
    return (far > near)[..., 0]


def evaluation_box(dataset: Any, index: int, choice: BoxChoice = "frame") -> Tensor | None:
    """The box (2, 3) in which an image of a dataset is evaluated, scene units; None where nothing says where it is.

    Args:
        dataset: Its metadata has ``frame_boxes`` (T, 2, 3), or ``scene_aabb`` alone.
        index: Of the image.
        choice: The box of the image's frame, where there is one, or that of the whole scene.
    """
    boxes, times = dataset.metadata.get("frame_boxes"), dataset.cameras.times
    if choice == "scene" or boxes is None or times is None:
        scene = dataset.metadata.get("scene_aabb")
        return None if scene is None else torch.as_tensor(scene)
    collider = FrameBoxCollider(boxes, dataset.metadata["frame_times"])
    return collider.boxes_at(times[index].reshape(1).cpu())[0]


def masked_rectangle(mask: Tensor) -> Rectangle | None:
    """Top, left, height and width of the smallest rectangle around a mask, bool (H, W); None around an empty one."""
    return crop_rectangle(mask) if bool(mask.any()) else None


def cut_out(image: Tensor, rectangle: Rectangle) -> Tensor:
    """A rectangle (height, width, C) of an image (H, W, C)."""
    top, left, height, width = rectangle
    return image[top : top + height, left : left + width]


def rect_ssim(predicted: Tensor, truth: Tensor, rectangle: Rectangle, data_range: float) -> float | None:
    """SSIM of a rectangle: windows of 7 x 7 equal weights wholly inside it, as scikit-image has it.

    Args:
        predicted: Image (H, W, 3).
        truth: Image (H, W, 3).
        rectangle: Top, left, height, width.
        data_range: Of colours that is assumed. It is 1; published numbers assume 2, which inflates them.

    Returns:
        None where the rectangle is smaller than a window.
    """
    similarity = ssim_map(cut_out(predicted, rectangle), cut_out(truth, rectangle), data_range)
    return None if similarity is None else mean_similarity(similarity)


def box_metrics(predicted: Tensor, truth: Tensor, mask: Tensor, lpips: LazyLPIPS | None) -> dict[str, float | None]:
    """All of ``BOX_METRICS``; None for those that are not defined.

    Args:
        predicted: Image (H, W, 3).
        truth: Image (H, W, 3).
        mask: Pixels that see the box, bool (H, W).
        lpips: None leaves it out.
    """
    values: dict[str, float | None] = dict.fromkeys(BOX_METRICS)
    rectangle = masked_rectangle(mask)
    if rectangle is None:
        return values
    values["psnr_box"] = psnr(predicted, truth, mask[..., None])
    for name, data_range in SSIM_RANGES.items():
        values[f"{name}_box"] = rect_ssim(predicted, truth, rectangle, data_range)
    if lpips is not None:
        values["lpips_box"] = lpips(cut_out(predicted, rectangle), cut_out(truth, rectangle))
    return values
