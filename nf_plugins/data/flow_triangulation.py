"""Inverse depth of a frame's standing part, from flow to other frames and known poses.

A pixel with the viewing ray r (depth 1) is the point r / d, d being inverse depth. Another camera x' = R x + t sees it
along ``R r + d t``, so that its pixel q fulfils two equations that are linear in d,

    (a + d b) = 0   with   a = f (R r)_xy - q' (R r)_z,   b = f t_xy - q' t_z,   q' = q - (cx, cy),

``a`` being the flow that rotation leaves unexplained, and ``b`` the movement per unit of inverse depth, both in pixels
for points whose depth changes little. Least squares over all other frames is ``d = - sum w a.b / sum w b.b``.

Cameras are OpenCV's, pixels count from the corner of the first one (its centre is (0.5, 0.5)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

FloatArray = NDArray[np.floating]
REWEIGHTINGS = 4
RESIDUAL_SCALE = 0.5
"""Pixels of flow error that are usual; what is several times off counts little (Cauchy weights)."""
SIGNIFICANCE = 3.0
"""Inverse depth counts as known where it is this many standard deviations above 0."""


@dataclass(frozen=True)
class FlowObservation:
    """Where the pixels of a frame are in another one."""

    pixels: FloatArray
    """(H, W, 2)."""
    valid: NDArray[np.bool_]
    """(H, W) where that is trusted."""
    other_from_this: FloatArray
    """(3, 4) from this frame's camera to the other's."""


@dataclass(frozen=True)
class InverseDepth:
    """What flow says of a frame; float64 (H, W) each."""

    values: FloatArray
    """1 / z in the poses' units; 0 where nothing is known."""
    information: FloatArray
    """Inverse variance of the values, for a flow error of ``RESIDUAL_SCALE``; 0 where nothing is known."""
    residuals: FloatArray
    """Root of the weighted mean squared distance to the flows, pixels."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """(H, W) where the point is in front of the camera for certain; a camera that only turns has none."""
        return self.values * np.sqrt(self.information) > SIGNIFICANCE


def triangulate_flow(intrinsics: FloatArray, observations: Sequence[FlowObservation]) -> InverseDepth:
    """Inverse depth of every pixel by least squares over other frames, reweighted against outliers.

    Args:
        intrinsics: (3, 3) of all frames.
        observations: One or more.
    """
    height, width = observations[0].valid.shape
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([columns, rows, np.ones_like(columns)], axis=-1) @ np.linalg.inv(intrinsics).T
    terms = [_linear_terms(rays, intrinsics, observation) for observation in observations]
    products = np.stack([np.sum(offset * movement, axis=-1) for offset, movement in terms])
    squares = np.stack([np.sum(movement**2, axis=-1) for _, movement in terms])
    trusted = np.stack([observation.valid for observation in observations]).astype(np.float64)
    weights = trusted
    values, information, errors = np.zeros((height, width)), np.zeros((height, width)), np.zeros_like(squares)
    for _ in range(REWEIGHTINGS):
        information = np.sum(weights * squares, axis=0)
        known = information > 0
        values = np.where(known, -np.sum(weights * products, axis=0) / np.where(known, information, 1.0), 0.0)
        errors = np.stack([np.sum((offset + values[..., None] * movement) ** 2, axis=-1) for offset, movement in terms])
        weights = trusted / (1.0 + errors / (2 * RESIDUAL_SCALE) ** 2)
    total = np.sum(weights, axis=0)
    residuals = np.sqrt(np.sum(weights * errors, axis=0) / np.where(total > 0, total, 1.0))
    return InverseDepth(values, information / RESIDUAL_SCALE**2, residuals)


def fill_smoothly(values: FloatArray, weights: FloatArray) -> NDArray[np.float32]:
    """Values (H, W) where they have weight, and smooth means of their surroundings where they have little or none.

    Weighted means over ever larger blocks; each level fills what the finer one does not know (pull and push, after
    Gortler et al. 1996).

    Args:
        values: Ignored where the weight is 0.
        weights: (H, W), 0 or more, relative to 1: at 1 or more a value stays as it is.

    Raises:
        ValueError: All weights are 0.
    """
    if not np.any(weights > 0):
        raise ValueError("fill_smoothly needs a value somewhere")
    weight = torch.from_numpy(np.minimum(weights, 1.0)).double()[None, None]
    value = torch.from_numpy(np.where(weights > 0, values, 0.0)).double()[None, None]
    levels = [(value, weight)]
    while max(weight.shape[-2:]) > 1:
        pooled = functional.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
        sums = functional.avg_pool2d(weight * value, 2, ceil_mode=True, count_include_pad=False)
        value = sums / torch.where(pooled > 0, pooled, 1.0)
        # Four quarters make a whole: certainty grows with the block.
        weight = (4 * pooled).clamp(max=1.0)
        levels.append((value, weight))
    filled = levels[-1][0]
    for value, weight in reversed(levels[:-1]):
        coarse = functional.interpolate(filled, size=value.shape[-2:], mode="bilinear", align_corners=False)
        filled = weight * value + (1 - weight) * coarse
    return filled[0, 0].float().numpy()


def _linear_terms(
    rays: FloatArray, intrinsics: FloatArray, observation: FlowObservation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """a and b (H, W, 2) of the module's equation; a point that lies behind the other camera at once counts as far."""
    rotation, translation = observation.other_from_this[:, :3], observation.other_from_this[:, 3]
    focals = np.diag(intrinsics)[:2]
    turned = rays @ rotation.T
    offsets = observation.pixels - intrinsics[:2, 2]
    # Divided by the turned ray's depth, so that errors are pixels.
    depth = np.where(np.abs(turned[..., 2:]) > 1e-6, turned[..., 2:], 1e-6)
    offset = focals * turned[..., :2] / depth - offsets
    movement = (focals * translation[:2] - offsets * translation[2]) / depth
    return offset, movement
