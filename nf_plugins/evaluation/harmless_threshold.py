"""The largest threshold of an occupancy cache that costs next to nothing on a training view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.evaluation.cache_comparison import CacheComparer
from nf_plugins.exporters.occupancy_baking import (
    GridOptions,
    cache_of_maxima,
    density_threshold,
    frame_maxima,
    raw_to_density,
)

RAW_THRESHOLDS = (5.0, 4.0, 3.0, 2.0, 1.0)
ALLOWED_LOSS = 0.2
"""dB."""


class ThresholdTrial(NamedTuple):
    """What a threshold costs."""

    raw_threshold: float
    loss: float
    """dB of PSNR on the view."""


def harmless_threshold(
    pipeline: Any,
    options: GridOptions,
    raw_thresholds: Sequence[float] = RAW_THRESHOLDS,
    allowed_loss: float = ALLOWED_LOSS,
) -> tuple[float, list[ThresholdTrial]]:
    """The largest raw threshold that loses no more than so many dB on a training view, and what was tried.

    Densities are computed once; the smallest threshold is taken, with a line, where all lose more.

    Args:
        pipeline: In evaluation mode.
        options: Of the cells.
        raw_thresholds: Falling.
        allowed_loss: dB.
    """
    comparer = CacheComparer(pipeline, "train", 1)
    model = pipeline.model
    lowest = density_threshold(model, options.resolution, raw_to_density(min(raw_thresholds)))
    maxima = [frame_maxima(model, frame, options, lowest) for frame in comparer.frames]
    uncached = comparer.add("without cache", None)
    trials: list[ThresholdTrial] = []
    for raw in raw_thresholds:
        threshold = density_threshold(model, options.resolution, raw_to_density(raw))
        cache = cache_of_maxima(model, comparer.frames, maxima, threshold, tag=f"raw {raw:g}", dilate=options.dilate)
        way = comparer.add(cache.tag, cache, raw)
        trials.append(ThresholdTrial(raw, uncached.psnr[0] - way.psnr[0]))
        if trials[-1].loss <= allowed_loss:
            return raw, trials
    CONSOLE.print(
        f"Every threshold loses more than {allowed_loss:g} dB on a training view, the least {trials[-1].loss:.2f} dB: "
        f"raw {trials[-1].raw_threshold:g} is taken. More cells (--resolution) or --dilate 1 may help.",
        soft_wrap=True,
    )
    return trials[-1].raw_threshold, trials
