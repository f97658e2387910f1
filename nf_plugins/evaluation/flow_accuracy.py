"""Scene flow as the video's camera sees it, against the optical flow of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nf_plugins.evaluation.dataset_images import image_identity
from nf_plugins.progress import progress_bar

DIRECTIONS = {"forward": 1, "backward": -1}
NOTE = (
    "Mean distance in pixels between the optical flow that the scene flow amounts to, at the training frames, and that "
    "of the data, where the latter is valid; epe_dynamic over the motion masks. Means over frames and both directions. "
    "The same for every protocol."
)


@torch.no_grad()
def flow_accuracy(pipeline: Any, image_stride: int = 1) -> dict[str, Any] | None:
    """End-point errors of a model that knows scene flow (Baker et al., IJCV 2011).

    Args:
        pipeline: Its model may have ``optical_flow(camera, direction)``, (H, W, 2) in pixels of the camera, to the next
            (1) or to the previous frame (-1).
        image_stride: Measure every n-th training frame.

    Returns:
        ``mean`` with ``epe`` and ``epe_dynamic`` (pixels; None without motion masks), ``rows`` with those of each frame
        and direction, ``not_finite``, the number of pixels for which the model had no flow, ``image_stride`` where it
        is above 1, ``note``. None if the model knows no scene flow, or the data no optical flow.
    """
    predict = getattr(pipeline.model, "optical_flow", None)
    dataset = pipeline.datamanager.train_dataset
    if predict is None or not getattr(dataset, "flow_filenames", None):
        return None
    was_training, rows = pipeline.training, []
    pipeline.eval()
    try:
        with progress_bar() as progress:
            for index in progress.track(range(0, len(dataset), image_stride), description="Evaluating, optical flow"):
                camera = dataset.cameras[index : index + 1].to(pipeline.device)
                data = dataset.get_data(index)
                for name, direction in DIRECTIONS.items():
                    valid = data.get(f"optical_flow_{name}_valid")
                    if valid is None or not bool(valid.any()):
                        continue
                    predicted = predict(camera, direction).cpu()
                    errors = end_point_errors(predicted, data[f"optical_flow_{name}"], valid, data.get("motion_mask"))
                    rows.append({**image_identity(dataset, index), "direction": name, **errors})
    finally:
        pipeline.train(was_training)
    means = {name: _mean([row[name] for row in rows]) for name in ("epe", "epe_dynamic")}
    stride = {"image_stride": image_stride} if image_stride > 1 else {}
    return {"mean": means, "not_finite": sum(row["not_finite"] for row in rows), **stride, "rows": rows, "note": NOTE}


def end_point_errors(predicted: Tensor, truth: Tensor, valid: Tensor, motion_mask: Tensor | None) -> dict[str, Any]:
    """Mean distances of flow vectors.

    Args:
        predicted: ``(H, W, 2)``, pixels.
        truth: ``(H, W, 2)``, pixels.
        valid: ``(H, W, 1)``, above 0 where the truth is known.
        motion_mask: ``(H, W, 1)``, above 0 where something moves.

    Returns:
        ``epe`` and ``epe_dynamic``; None where there is no pixel, or no mask. ``not_finite``: valid pixels without a
        prediction (of what went behind the camera), which take no part.
    """
    distance, known = (predicted - truth).norm(dim=-1), valid[..., 0] > 0
    lost = known & ~distance.isfinite()
    known = known & ~lost
    moving = None if motion_mask is None else known & (motion_mask[..., 0] > 0)
    errors = {"epe": _mean_where(distance, known), "epe_dynamic": _mean_where(distance, moving)}
    return errors | {"not_finite": int(lost.sum())}


def _mean_where(values: Tensor, mask: Tensor | None) -> float | None:
    return None if mask is None or not bool(mask.any()) else float(values[mask].mean())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
