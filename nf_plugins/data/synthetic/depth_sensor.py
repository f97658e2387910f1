"""What an RGB-D camera measures of a surface whose true depth is known.

The noise is that of time-of-flight and structured-light sensors in its first order: the standard deviation of z grows
with the square of the distance (the triangulation error of structured light; Khoshelham and Elberink, Sensors 2012).
Depth is missing at random beside silhouettes and steps in depth, and where the surface is seen at a grazing angle.
Neighbouring pixels and frames are independent; there are no points between foreground and background, no interference
of several sensors and no bias. Files round to thousandths of a world unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EDGE_STEP = 0.02
"""A step in depth is an edge when it is larger than this part of the depth."""


@dataclass(frozen=True)
class DepthSensor:
    """Parameters of the sensor."""

    noise: float
    """Standard deviation of z at a distance of one metre, metres; it is ``noise * z**2`` at z."""
    edge_dropout: float
    """Probability that a pixel next to a silhouette or a step in depth has no depth."""
    grazing_angle: float
    """Radians between view and normal from which depth gets lost; the probability grows linearly to 1 at pi / 2."""

    def measure(
        self, depth: np.ndarray, ray_norms: np.ndarray, incidence: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """A noisy, incomplete copy of a depth image.

        Args:
            depth: (H, W) true distance along the pixel's ray, metres; 0 = no surface.
            ray_norms: (H, W) ray distance per z.
            incidence: (H, W) angle between view and normal, radians in [0, pi / 2].
            rng: draws the same number of values for any depth.

        Returns:
            (H, W) distance along the ray, metres; 0 = not measured.
        """
        z = depth / ray_norms
        measured = (z + self.noise * z**2 * rng.standard_normal(depth.shape)) * ray_norms
        at_edge = depth_edges(depth) & (rng.random(depth.shape) < self.edge_dropout)
        span = max(0.5 * np.pi - self.grazing_angle, 1e-9)
        grazing = rng.random(depth.shape) < (incidence - self.grazing_angle) / span
        return np.where((depth > 0) & ~at_edge & ~grazing, np.maximum(measured, 0.0), 0.0)


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """Pixels (H, W), bool, that differ by a step from one of their eight neighbours; 0 is infinitely far."""
    far = np.where(depth > 0, depth, np.inf)
    padded = np.pad(far, 1, mode="edge")
    height, width = depth.shape
    shifted = [padded[r : r + height, c : c + width] for r in range(3) for c in range(3)]
    farthest, nearest = np.max(shifted, axis=0), np.min(shifted, axis=0)
    return (depth > 0) & ((farthest > far * (1.0 + EDGE_STEP)) | (nearest < far * (1.0 - EDGE_STEP)))


def incidence_angles(normals: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Angle (*batch,) in [0, pi / 2] between unit normals and unit view directions (*batch, 3); either side counts."""
    return np.arccos(np.clip(np.abs((normals * directions).sum(-1)), 0.0, 1.0))
