"""A texture finer than the triangles that carry it, evaluated where rays hit."""

from __future__ import annotations

import numpy as np

from nf_plugins.data.synthetic.mesh_sequence import position_texture

SHORTEST_PERIOD = 0.07
"""Units of the texture's own sphere of radius 1."""
CONTRAST = 0.8
"""How much darker the pattern's dark parts are."""


def fine_texture(points: np.ndarray) -> np.ndarray:
    """Colours (*batch, 3) in [0, 1] of positions (*batch, 3) inside the unit sphere.

    The smooth pattern of :func:`~nf_plugins.data.synthetic.mesh_sequence.position_texture`, darkened by thin stripes,
    a fine chess board and dots, each in its own third of the height. Edges are soft over a sixth of a period, so that
    images do not alias at six pixels a period.
    """
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    turns = 2.0 * np.pi / SHORTEST_PERIOD
    stripes = np.sin(turns * (0.6 * x + 0.64 * y + 0.48 * z))
    board = np.sin(0.6 * turns * x) * np.sin(0.6 * turns * y) * np.sin(0.6 * turns * z)
    dots = (np.cos(0.75 * turns * x) + np.cos(0.75 * turns * y) + np.cos(0.75 * turns * z)) / 3.0 - 0.25
    part = np.floor(3.0 * (0.5 + 0.5 * np.clip(y, -0.999, 0.999)))
    pattern = np.select([part == 0, part == 1], [3.0 * board, stripes], 3.0 * dots)
    darkness = CONTRAST * (0.5 + 0.5 * np.tanh(3.0 * pattern))
    return position_texture(points) * (1.0 - darkness)[..., None]
