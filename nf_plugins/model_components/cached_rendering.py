"""Rays of any times, rendered where an occupancy cache says that something is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nf_plugins.model_components.occupancy_cache import OccupancyCache
from nf_plugins.model_components.occupied_march import march, step_lengths
from nf_plugins.model_components.packed_rendering import PackedImage, render_packed
from nf_plugins.model_components.ray_levels import DensityFunction, RaySpan, scatter_rows

ColorFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Colours ``(N, 3)`` of points ``(N, 3)``, times ``(N,)`` and the rows of their rays ``(N,)``."""


def render_cached(
    cache: OccupancyCache,
    span: RaySpan,
    coordinates: Tensor,
    hits: Tensor,
    norms: Tensor,
    *,
    density: DensityFunction,
    color: ColorFunction,
    background: Tensor,
    num_samples: int,
    weight_threshold: float,
    renormalise: bool,
) -> dict[str, Tensor]:
    """Renders rays in steps through occupied cells.

    Args:
        cache: What is occupied, by frame.
        span: R rays.
        coordinates: Fractional frame index of each ray ``(R,)``.
        hits: Rays that see anything at all, bool ``(R,)``.
        norms: Ray distance of a unit of camera depth ``(R, 1)``.
        density: Per scene unit.
        color: In [0, 1]; asked only where it shows.
        background: ``(3,)``.
        num_samples: Steps along the diagonal of the box.
        weight_threshold: Samples of less weight get no colour.
        renormalise: Give their weight to the others of the ray, not to the background.

    Returns:
        ``rgb`` (R, 3), ``accumulation``, ``depth`` and ``median_depth`` (R, 1).

    Raises:
        InputError: A frame is not in the cache.
    """
    count, device = len(span.origins), span.origins.device
    channels = {"rgb": 3, "accumulation": 1, "depth": 1, "median_depth": 1}
    sums = {name: torch.zeros(count, size, device=device) for name, size in channels.items()}
    sums["rgb"] = background.to(device).expand(count, 3).clone()
    for coordinate in torch.unique(coordinates[hits]).tolist():
        rows = (hits & (coordinates == coordinate)).nonzero()[:, 0]
        image = _render_frame(
            cache, coordinate, span.rows(rows), rows,
            norms=norms[rows], density=density, color=color, background=background,
            num_samples=num_samples, weight_threshold=weight_threshold, renormalise=renormalise,
        )  # fmt: skip
        cache.count(rays=len(rows), samples=image.num_samples, shaded=image.num_shaded)
        sums["rgb"][rows] = image.rgb
        for name in ("accumulation", "depth", "median_depth"):
            sums[name] = sums[name] + scatter_rows(getattr(image, name), rows, count)
    return sums


def _render_frame(
    cache: OccupancyCache,
    coordinate: float,
    span: RaySpan,
    rows: Tensor,
    *,
    norms: Tensor,
    density: DensityFunction,
    color: ColorFunction,
    background: Tensor,
    num_samples: int,
    weight_threshold: float,
    renormalise: bool,
) -> PackedImage:
    """The rays of one moment, which are these rows of the bundle."""
    space = cache.at(coordinate, span.origins.device)
    steps = step_lengths(space.box, num_samples, norms)
    samples = march(span.origins, span.directions, space, steps, nears=span.nears, fars=span.fars)
    return render_packed(
        samples, span.origins, span.directions,
        lambda points, ray_ids: density(points, span.times[ray_ids]),
        lambda points, ray_ids: color(points, span.times[ray_ids], rows[ray_ids]),
        background=background, weight_threshold=weight_threshold, renormalise=renormalise,
    )  # fmt: skip
