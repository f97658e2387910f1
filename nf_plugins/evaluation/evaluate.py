"""Image metrics of a trained run on one split: per image, per frame, per camera and in the mean."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.atomic_files import check_writable, write_json
from nf_plugins.errors import InputError
from nf_plugins.evaluation.dataset_images import (
    Split,
    dataset_for_split,
    image_identity,
    render_and_load,
    with_learnt_poses,
)
from nf_plugins.evaluation.image_metrics import mask_cross_entropy, mask_iou, masked_ssim, psnr, ssim
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.protocol import protocol_block
from nf_plugins.evaluation.split_folder import FolderOptions, SplitFolder, evaluation_conditions
from nf_plugins.exporters.image_files import to_8_bit, write_image
from nf_plugins.progress import progress_bar
from nf_plugins.run_facts import count_parameters

MaskChoice = Literal["full", "foreground", "both"]

FULL_METRICS = ("psnr", "ssim", "lpips")
FOREGROUND_METRICS = ("psnr_fg", "ssim_fg", "lpips_fg", "mask_iou", "mask_bce")
METRICS = FULL_METRICS + FOREGROUND_METRICS

_shared_lpips = LazyLPIPS()


def evaluate_pipeline(
    pipeline: Any,
    config: Any,
    step: int,
    split: Split = "test",
    output_path: Path | None = None,
    *,
    save_images_dir: Path | None = None,
    folders: FolderOptions | None = None,
    mask: MaskChoice = "both",
    use_lpips: bool = True,
    image_stride: int = 1,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Render every image of a split and compare it with the truth.

    Works with any nerfstudio pipeline. Foreground metrics appear where the dataset gives ``fg_mask``.

    Args:
        pipeline: A pipeline with a datamanager of the vanilla or the full-image kind.
        config: Its TrainerConfig, for the protocol block.
        step: Training step of the weights.
        split: "train", "val" or "test"; read from disk when the pipeline does not hold it.
        output_path: Where to write the result as JSON; None writes nothing.
        save_images_dir: Folder for ``<index>_rendered.png`` and ``<index>_true.png``; None writes none.
        folders: Write a folder with everything the model renders, see ``split_folder.py``; None writes none.
        mask: Metrics over whole images, over the foreground, or both.
        use_lpips: LPIPS takes most of the time on a CPU; False leaves it out.
        image_stride: Evaluate every n-th image of the split; the protocol counts these, and names the stride above 1.
        checkpoint: The file the weights came from, for the protocol block.

    Returns:
        ``{"protocol", "num_parameters", "mean", "per_frame", "per_camera", "images", "seconds"}``. A metric that is
        not defined for an image (no mask, no LPIPS weights, image smaller than the SSIM window) is None and left out of
        the means. Of a model with ``protocol_results()`` also ``"protocol_results"``, the numbers that it returns.

    Raises:
        InputError: if an output cannot be written, the split holds no images, or ``mask="foreground"`` is asked of
            data without masks.
    """
    for path in (output_path, save_images_dir and save_images_dir / "probe.png"):
        if path is not None:
            check_writable(path)
    dataset = dataset_for_split(pipeline.datamanager, split)
    _check_masks(dataset, split, mask)
    dataset, poses = with_learnt_poses(pipeline, dataset)
    names = {"full": FULL_METRICS, "foreground": FOREGROUND_METRICS, "both": METRICS}[mask]
    lpips = _shared_lpips if use_lpips else None
    folder = None
    if folders is not None:
        conditions = evaluation_conditions(config, dataset, split, step, checkpoint, mask=mask, lpips=use_lpips)
        folder = SplitFolder(folders, split, dataset, conditions)
    stored = folder.stored_result() if folder is not None else None
    if folder is not None and stored is not None:
        CONSOLE.print(f"{folder.folder}: complete already, nothing is rendered anew.", soft_wrap=True)
        if output_path is not None:
            write_json(output_path, stored)
        return stored
    was_training = pipeline.training
    pipeline.eval()
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    try:
        with progress_bar() as progress:
            for index in progress.track(range(0, len(dataset), image_stride), description=f"Evaluating {split}"):
                stored_row = folder.stored_row(index) if folder is not None else None
                if stored_row is not None:
                    rows.append(stored_row)
                    continue
                image = render_and_load(pipeline, dataset, index)
                values = image_metrics(*image[:4], names=names, lpips=lpips)
                rows.append({**image_identity(dataset, index), **values})
                if save_images_dir is not None:
                    write_image(save_images_dir / f"{index:05d}_rendered.png", to_8_bit(image.rgb))
                    write_image(save_images_dir / f"{index:05d}_true.png", to_8_bit(image.truth))
                if folder is not None:
                    folder.add(index, rows[-1], image)
    finally:
        pipeline.train(was_training)
    protocol = protocol_block(config, dataset, split, step, device=pipeline.device, checkpoint=checkpoint)
    protocol["poses"] = poses
    protocol |= {"num_images": len(rows), "image_stride": image_stride} if image_stride > 1 else {}
    result = {
        "protocol": protocol,
        "num_parameters": count_parameters(pipeline.model),
        "mean": mean_metrics(rows),
        "per_frame": group_metrics(rows, "frame_id" if rows[0]["frame_id"] is not None else "time"),
        "per_camera": group_metrics(rows, "camera_id"),
        "images": rows,
        **results_beside_images(pipeline.model),
        "seconds": round(time.perf_counter() - started, 3),
    }
    result = result if folder is None else folder.finish(result)
    if output_path is not None:
        write_json(output_path, result)
    return result


def results_beside_images(model: Any) -> dict[str, Any]:
    """What a method's own protocol measures, such as the held-out pixels of a video: its ``protocol_results()``."""
    measure = getattr(model, "protocol_results", None)
    return {} if measure is None else {"protocol_results": measure()}


def _check_masks(dataset: Any, split: Split, mask: MaskChoice) -> None:
    if mask == "foreground" and "fg_mask_filenames" not in (getattr(dataset, "metadata", None) or {}):
        raise InputError(
            f"--mask foreground was asked for, but the {split} split of this dataset has no foreground masks; use a "
            "dataparser that reads masks (owlii-data, dnerf-rgba-data) or --mask full."
        )


def image_metrics(
    rendered: Tensor,
    truth: Tensor,
    foreground: Tensor | None,
    accumulation: Tensor | None,
    *,
    names: Sequence[str] = METRICS,
    lpips: LazyLPIPS | None = None,
) -> dict[str, float | None]:
    """All metrics of one image that are named and defined; the others are None.

    Args:
        rendered: Image (H, W, 3), clipped to [0, 1] here.
        truth: Image (H, W, 3), likewise.
        foreground: Mask (H, W, 1), or None.
        accumulation: Rendered opacity (H, W, 1), or None.
        names: Which of ``METRICS`` to compute.
        lpips: None leaves both LPIPS metrics out.
    """
    rendered, truth = rendered.clamp(0.0, 1.0), truth.clamp(0.0, 1.0)
    values: dict[str, float | None] = dict.fromkeys(names)
    has_foreground = foreground is not None and bool((foreground > 0.5).any())
    if "psnr" in values:
        values["psnr"] = psnr(rendered, truth)
        values["ssim"] = ssim(rendered, truth)
        values["lpips"] = lpips(rendered, truth) if lpips is not None else None
    if "psnr_fg" in values and foreground is not None:
        if has_foreground:
            values["psnr_fg"] = psnr(rendered, truth, foreground)
            values["ssim_fg"] = masked_ssim(rendered, truth, foreground)
            values["lpips_fg"] = lpips(rendered, truth, foreground) if lpips is not None else None
        if accumulation is not None:
            values["mask_iou"] = mask_iou(accumulation, foreground)
            values["mask_bce"] = mask_cross_entropy(accumulation, foreground)
    return values


def mean_metrics(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Mean of every metric over the rows in which it is defined; None where it is defined in none."""
    means: dict[str, float | None] = {}
    for name in METRICS:
        if any(name in row for row in rows):
            values = [row[name] for row in rows if row.get(name) is not None]
            means[name] = sum(values) / len(values) if values else None
    return means


def group_metrics(rows: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Mean metrics of the rows that share a value of ``key``, in its order; rows without the value take no part."""
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row[key] is not None:
            groups[row[key]].append(row)
    results = []
    for value in sorted(groups):
        entry: dict[str, Any] = {key: value}
        if key == "frame_id":
            entry["time"] = groups[value][0]["time"]
        results.append({**entry, "num_images": len(groups[value]), **mean_metrics(groups[value])})
    return results
