"""What is measured of images that held-out cameras of a capture take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nf_plugins.evaluation.box_protocol import BOX_METRICS, BoxChoice, box_mask, box_metrics, evaluation_box
from nf_plugins.evaluation.dataset_images import RenderedImage
from nf_plugins.evaluation.detail_metrics import detail_energy, detail_psnr
from nf_plugins.evaluation.dynamic_patches import DynamicPatches, cut_patches
from nf_plugins.evaluation.evaluate import image_metrics
from nf_plugins.evaluation.image_metrics import psnr
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.monocular_metrics import SSIM_RANGES, mean_similarity, ssim_map

DETAIL_METRICS = ("detail_psnr", "detail_energy")
WHOLE_METRICS = ("psnr", "ssim", "psnr_fg", "ssim_fg", "mask_iou")
EDGE_METRICS = ("psnr_inner",)
DYNAMIC_METRICS = ("psnr_dynamic", *(f"{name}_dynamic" for name in SSIM_RANGES), "lpips_dynamic")
METRICS = (*BOX_METRICS, *DETAIL_METRICS, *WHOLE_METRICS, *EDGE_METRICS, *DYNAMIC_METRICS)
METRICS_NOTE = (
    "Rendered colours are clipped to [0, 1]. psnr_box is over the pixels whose ray meets the subject's box, ssim and "
    "lpips (VGG) with _box are over the smallest rectangle around these; windows of SSIM are 7 x 7, equally weighted. "
    "ssim_range2 assumes values in a range of 2, as published numbers do, which inflates it; ssim_range1 the true "
    "range of 1. detail_psnr and detail_energy compare fine texture: what a blur of two pixels takes away, over the "
    "foreground without its rim. psnr and ssim are over whole images, _fg over the foreground. psnr_inner is over the "
    "foreground without a rim, _dynamic over the patches with most motion. Means are over images in which a number is "
    "defined and finite."
)


def view_metrics(
    dataset: Any, index: int, image: RenderedImage, choice: BoxChoice, lpips: LazyLPIPS | None
) -> dict[str, float | None]:
    """The metrics that all protocols have, and ``box_share``, the part of the image that sees the box.

    Args:
        dataset: Says where the box is.
        index: Of the image in the dataset.
        image: What was rendered, and the truth.
        choice: The box of the image's frame or of the whole scene; images of data without boxes are measured whole.
        lpips: None leaves it out.
    """
    rendered, truth = image.rgb, image.truth
    box = evaluation_box(dataset, index, choice)
    mask = torch.ones_like(truth[..., 0], dtype=torch.bool)
    if box is not None:
        mask = box_mask(dataset.cameras[index : index + 1].to(truth.device), box)
    whole = image_metrics(rendered, truth, image.foreground, image.accumulation)
    inside = mask[..., None].to(truth) if image.foreground is None else image.foreground
    return {
        "box_share": float(mask.float().mean()),
        **box_metrics(rendered, truth, mask, lpips),
        "detail_psnr": detail_psnr(rendered, truth, inside),
        "detail_energy": detail_energy(rendered, truth, inside),
        **{name: whole[name] for name in WHOLE_METRICS},
    }


def patch_metrics(
    rendered: Tensor, truth: Tensor, patches: DynamicPatches, place: int, lpips: LazyLPIPS | None
) -> dict[str, float | None]:
    """All of ``DYNAMIC_METRICS``: PSNR over all pixels of a frame's patches, the mean of the others over patches."""
    coords = patches.of_frame(place)
    pairs = list(
        zip(
            cut_patches(rendered, coords, patches.patch_size), cut_patches(truth, coords, patches.patch_size),
            strict=True,
        )
    )  # fmt: skip
    values: dict[str, float | None] = dict.fromkeys(DYNAMIC_METRICS)
    values["psnr_dynamic"] = psnr(torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs]))
    for name, data_range in SSIM_RANGES.items():
        maps = [ssim_map(*pair, data_range) for pair in pairs]
        values[f"{name}_dynamic"] = _mean([None if each is None else mean_similarity(each) for each in maps])
    if lpips is not None:
        values["lpips_dynamic"] = _mean([lpips(*pair) for pair in pairs])
    return values


def finite_means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean of each metric over the images where it is defined and finite; without those that are nowhere."""
    means = {name: _mean([row.get(name) for row in rows]) for name in METRICS}
    return {name: value for name, value in means.items() if value is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
