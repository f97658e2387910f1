"""Image metrics of space-time view synthesis, over whole images and over what moves (Li et al., CVPR 2021).

Images are float (H, W, 3) in [0, 1], masks (H, W, 1) with 1 where something moves. These are not the masked metrics of
:mod:`nf_plugins.evaluation.image_metrics`: nothing is hidden from the windows of SSIM and the layers of LPIPS, only
their maps are averaged over the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nf_plugins.data.monocular_dataset import nearest_resize
from nf_plugins.evaluation.image_metrics import psnr
from nf_plugins.evaluation.lpips import LazyLPIPS

SSIM_WINDOW = 7
SSIM_RANGES = {"ssim_range1": 1.0, "ssim_range2": 2.0}
"""Range of values that SSIM assumes. Published numbers assume 2, that of colours in [-1, 1], which inflates them."""
WHOLE_METRICS = ("psnr", *SSIM_RANGES, "lpips")
DYNAMIC_METRICS = tuple(f"{name}_dynamic" for name in WHOLE_METRICS)
MONOCULAR_METRICS = WHOLE_METRICS + DYNAMIC_METRICS


def monocular_metrics(
    rendered: Tensor, truth: Tensor, motion_mask: Tensor | None, lpips: LazyLPIPS | None = None
) -> dict[str, float | None]:
    """All of ``MONOCULAR_METRICS`` of an image; None for those that are not defined.

    Args:
        rendered: Image (H, W, 3).
        truth: Image (H, W, 3).
        motion_mask: (H, W, 1); None or empty leaves the dynamic metrics None.
        lpips: None leaves both LPIPS metrics None.
    """
    values: dict[str, float | None] = dict.fromkeys(MONOCULAR_METRICS)
    similarities = {name: ssim_map(rendered, truth, extent) for name, extent in SSIM_RANGES.items()}
    distances = None if lpips is None else lpips.layer_maps(rendered, truth)
    masks = {"": None} | ({"_dynamic": motion_mask} if motion_mask is not None and bool(motion_mask.any()) else {})
    for suffix, mask in masks.items():
        values[f"psnr{suffix}"] = psnr(rendered, truth, mask)
        for name, similarity in similarities.items():
            values[f"{name}{suffix}"] = None if similarity is None else mean_similarity(similarity, mask)
        values[f"lpips{suffix}"] = None if distances is None else layered_distance(distances, mask)
    return values


def ssim_map(rendered: Tensor, truth: Tensor, data_range: float) -> Tensor | None:
    """Structural similarity of every pixel and channel as scikit-image has it, the publications' implementation.

    Windows of 7 x 7 equal weights, sample covariance, images mirrored at their borders.

    Args:
        rendered: Image (H, W, 3).
        truth: Image (H, W, 3).
        data_range: Distance of the least and the greatest possible value; see ``SSIM_RANGES``.

    Returns:
        (H, W, 3), float64; None when the image is smaller than one window.
    """
    if min(rendered.shape[:2]) < SSIM_WINDOW:
        return None
    from skimage.metrics import structural_similarity

    arrays = [image.detach().cpu().double().numpy() for image in (rendered, truth)]
    result: Any = structural_similarity(
        *arrays, win_size=SSIM_WINDOW, data_range=data_range, channel_axis=-1, full=True
    )
    return torch.from_numpy(result[1])


def mean_similarity(similarity: Tensor, mask: Tensor | None = None) -> float:
    """Mean of a map (H, W, 3): over windows wholly inside the image, or over the mask's pixels (H, W, 1)."""
    if mask is None:
        border = SSIM_WINDOW // 2
        return float(similarity[border:-border, border:-border].mean())
    weights = mask.to(similarity).expand_as(similarity)
    return float((similarity * weights).sum() / weights.sum())


def layered_distance(layer_maps: Sequence[Tensor], mask: Tensor | None = None) -> float | None:
    """LPIPS of the maps of its layers: their means, over a mask where there is one, summed.

    Args:
        layer_maps: (H_l, W_l) of each layer.
        mask: (H, W, 1), brought to each layer's size by nearest values. A layer in which nothing is left of it adds
            nothing, as published.

    Returns:
        None where nothing is left in any layer.
    """
    if mask is None:
        return float(sum(distance.mean() for distance in layer_maps))
    weights = [nearest_resize(mask, (len(distance), distance.shape[1]))[..., 0].to(distance) for distance in layer_maps]
    if not any(bool(weight.any()) for weight in weights):
        return None
    means = [
        (distance * weight).sum() / weight.sum().clamp(min=1e-8)
        for distance, weight in zip(layer_maps, weights, strict=True)
    ]
    return float(sum(means))
