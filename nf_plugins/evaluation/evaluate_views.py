"""Views of a static scene: which were trained on, from where they are rendered, and how they compare with the truth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nf_plugins.evaluation.dataset_images import dataset_for_split, image_identity, render_and_load
from nf_plugins.evaluation.evaluate import METRICS, image_metrics
from nf_plugins.evaluation.image_metrics import ssim
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.progress import progress_bar

WHOLE_MASKED_SSIM = "ssim_whole_masked_image"
VIEW_METRICS = (*METRICS, WHOLE_MASKED_SSIM)


def is_still(dataset: Any) -> bool:
    """Whether a dataset knows no times at all."""
    has_times = getattr(getattr(dataset, "cameras", None), "times", None) is not None
    return dataset.metadata.get("frame_times") is None and not has_times


def held_out_dataset(datamanager: Any, train_dataset: Any) -> tuple[Any, list[int]]:
    """The test split and which of its images were not trained on; (None, []) where all were."""
    trained = {str(path) for path in train_dataset.image_filenames}
    dataset = dataset_for_split(datamanager, "test")
    indices = [index for index, path in enumerate(dataset.image_filenames) if str(path) not in trained]
    return (dataset, indices) if indices else (None, [])


def measure_views(
    pipeline: Any, dataset: Any, indices: Sequence[int], lpips: LazyLPIPS | None = None, description: str = "views"
) -> dict[str, Any]:
    """Render views and compare them with the truth, over whole images and over the masks.

    Args:
        pipeline: In evaluation mode.
        dataset: Whose images are the truth and whose cameras are rendered.
        indices: Which of them.
        lpips: None leaves both LPIPS metrics out.
        description: What the progress bar says after "Evaluating".

    Returns:
        ``{"num_images", "mean", "std", "not_finite", "images"}``. Metrics that are not defined for a view are None and
        left out of the means, and so are those that are not finite, as the PSNR of an image without error;
        ``not_finite`` says of how many views, by metric. ``std`` is that over views.
    """
    rows: list[dict[str, Any]] = []
    with progress_bar() as progress:
        for index in progress.track(indices, description=f"Evaluating {description}"):
            image = render_and_load(pipeline, dataset, index)
            mask = None if image.foreground is None else (image.foreground > 0.5).to(image.rgb)
            values = image_metrics(image.rgb, image.truth, mask, image.accumulation, lpips=lpips)
            values[WHOLE_MASKED_SSIM] = whole_masked_ssim(image.rgb, image.truth, mask)
            rows.append({**image_identity(dataset, index), **values})
    return {
        "num_images": len(rows),
        "mean": _over_views(rows, statistics.fmean),
        "std": _over_views(rows, statistics.pstdev),
        "not_finite": _not_finite(rows),
        "images": rows,
    }


def whole_masked_ssim(rendered: Tensor, truth: Tensor, mask: Tensor | None) -> float | None:
    """SSIM of whole images (H, W, 3) that are black outside the mask (H, W, 1); None without a mask, or where it
    is empty: black images agree, whatever the model shows."""
    if mask is None or not bool((mask > 0).any()):
        return None
    return ssim(rendered.clamp(0.0, 1.0) * mask, truth.clamp(0.0, 1.0) * mask)


def _over_views(rows: Sequence[dict[str, Any]], statistic: Callable[[list[float]], float]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for name in VIEW_METRICS:
        values = [row[name] for row in rows if row.get(name) is not None and math.isfinite(row[name])]
        result[name] = statistic(values) if values else None
    return result


def _not_finite(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in VIEW_METRICS}
    counts = {name: sum(not math.isfinite(value) for value in of_views) for name, of_views in values.items()}
    return {name: count for name, count in counts.items() if count}
