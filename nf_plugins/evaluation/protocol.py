"""Under which conditions a number was measured: the block that every results file carries."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nf_plugins.run_facts import machine_name


def protocol_block(
    config: Any,
    dataset: Any,
    split: str,
    step: int,
    *,
    device: torch.device | str,
    checkpoint: Path | str | None = None,
) -> dict[str, Any]:
    """Describe one evaluation so that somebody else can repeat it.

    Args:
        config: The TrainerConfig of the run.
        dataset: The evaluated nerfstudio dataset (cameras, metadata).
        split: Name of the split.
        step: Training step of the evaluated weights.
        device: Where the model ran.
        checkpoint: The checkpoint that was loaded; None for a model that has just been trained.

    Returns:
        A dictionary of plain values. Colours are in [0, 1], the resolution is [width, height], or the distinct ones
        when the images differ.
    """
    datamanager = config.pipeline.datamanager
    dataparser = getattr(datamanager, "dataparser", None)
    metadata = getattr(dataset, "metadata", {}) or {}
    return {
        "method": config.method_name,
        "experiment": config.experiment_name,
        "dataparser": metadata.get("dataparser_name", type(dataparser).__name__),
        "data": str(getattr(datamanager, "data", None) or getattr(dataparser, "data", None)),
        "split": split,
        "num_images": len(dataset),
        "resolution": _resolution(dataset.cameras),
        "downscale": _downscale(datamanager, dataparser, metadata),
        "background": _background(dataset, metadata),
        "mask_source": metadata.get("fg_mask_source", "none"),
        "step": int(step),
        "max_num_iterations": int(config.max_num_iterations),
        "seed": int(config.machine.seed),
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "versions": package_versions(),
        "machine": machine_name(device),
        "protocol_note": metadata.get("protocol_note", ""),
        "metrics_note": (
            "Rendered colours are clipped to [0, 1]. psnr, ssim and lpips are over whole images; the same with _fg are "
            "over the foreground mask (ssim_fg: windows centred on the foreground, partial convolution). mask_iou "
            "and mask_bce (cross entropy) compare the rendered opacity with the mask. Means are over images."
        ),
    }


def package_versions() -> dict[str, str]:
    """Versions of what a number depends on; "unknown" for a package that runs from its source without metadata."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("nf-plugins", "nerfstudio", "torchmetrics"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def _resolution(cameras: Any) -> list[int] | list[list[int]]:
    sizes = sorted({(int(w), int(h)) for w, h in zip(cameras.width.flatten(), cameras.height.flatten(), strict=True)})
    return list(sizes[0]) if len(sizes) == 1 else [list(size) for size in sizes]


def _downscale(datamanager: Any, dataparser: Any, metadata: dict[str, Any]) -> float:
    """By how much the images were shrunk after reading, all stages together; 1 is full size."""
    of_files = metadata.get("downscale_factor") or getattr(dataparser, "downscale_factor", None) or 1
    return float(of_files) / float(getattr(datamanager, "camera_res_scale_factor", 1.0))


def _background(dataset: Any, metadata: dict[str, Any]) -> list[float] | str:
    outputs = getattr(dataset, "_dataparser_outputs", None)
    color = metadata.get("background_color", getattr(outputs, "alpha_color", None))
    if isinstance(color, Tensor):
        return [round(float(value), 4) for value in color.flatten()]
    return "as in the images" if color is None else str(color)
