"""Procedural textures of the built-in figure: stripes, checks and dots with soft edges, in each joint's frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SKIN = np.array([0.93, 0.70, 0.52])
RED, WHITE, NAVY = np.array([0.86, 0.18, 0.20]), np.array([0.95, 0.90, 0.80]), np.array([0.14, 0.24, 0.55])
GOLD, TEAL, GREEN = np.array([0.98, 0.76, 0.12]), np.array([0.05, 0.62, 0.62]), np.array([0.22, 0.66, 0.24])
ORANGE, VIOLET, PINK = np.array([0.97, 0.48, 0.10]), np.array([0.48, 0.20, 0.68]), np.array([0.95, 0.35, 0.62])
BROWN, BLACK, SKY = np.array([0.36, 0.20, 0.10]), np.array([0.08, 0.08, 0.10]), np.array([0.35, 0.68, 0.96])


def _soft_sign(wave: np.ndarray, sharpness: float = 3.0) -> np.ndarray:
    """A square wave with rounded edges, from a sine: values in (0, 1)."""
    return 0.5 + 0.5 * np.tanh(sharpness * wave)


PATTERN_CONTRAST = 0.6
"""How far patterns go from their first colour towards the second: soft enough for a field to learn in minutes."""


def _pattern(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return _mix(first, second, PATTERN_CONTRAST * weight)


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight[:, None]


def _stripes(p: np.ndarray, first: np.ndarray, second: np.ndarray, period: float) -> np.ndarray:
    """Rings across the bone (the local z axis)."""
    return _pattern(first, second, _soft_sign(np.sin(2.0 * np.pi * p[:, 2] / period)))


def _checks(p: np.ndarray, first: np.ndarray, second: np.ndarray, period: float, around: int) -> np.ndarray:
    """A chess board wrapped around the bone."""
    angle = np.arctan2(p[:, 1], p[:, 0])
    board = np.sin(around * angle) * np.sin(2.0 * np.pi * p[:, 2] / period)
    return _pattern(first, second, _soft_sign(board, 6.0))


def _dots(p: np.ndarray, ground: np.ndarray, dot: np.ndarray, period: float, around: int) -> np.ndarray:
    """Staggered round dots wrapped around the bone."""
    angle = np.arctan2(p[:, 1], p[:, 0])
    pattern = np.cos(around * angle) * np.cos(2.0 * np.pi * p[:, 2] / period)
    return _pattern(ground, dot, _soft_sign(pattern - 0.45, 5.0))


def _spot(p: np.ndarray, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    distance = np.linalg.norm(p - np.asarray(centre), axis=-1)
    return _soft_sign((radius - distance) / radius, 3.5)


def _spiral(p: np.ndarray, first: np.ndarray, second: np.ndarray, period: float) -> np.ndarray:
    """One band that winds around the bone."""
    angle = np.arctan2(p[:, 1], p[:, 0])
    return _pattern(first, second, _soft_sign(np.sin(2.0 * np.pi * p[:, 2] / period + angle)))


def _head(p: np.ndarray) -> np.ndarray:
    colors = np.broadcast_to(SKIN, p.shape)
    # Hair covers the back and the top; its front edge runs over the forehead.
    hair = _soft_sign((p[:, 2] - 0.262 + 1.1 * (p[:, 1] + 0.04)) / 0.04, 1.5)
    colors = _mix(colors, BROWN, hair)
    band = _soft_sign((0.030 - np.abs(p[:, 2] - 0.272 + 0.35 * p[:, 1])) / 0.025, 2.0)
    colors = _mix(colors, RED, band)
    for side in (-1.0, 1.0):
        colors = _mix(colors, WHITE, _spot(p, (side * 0.062, -0.150, 0.210), 0.044))
        colors = _mix(colors, BLACK, _spot(p, (side * 0.058, -0.166, 0.208), 0.026))
        colors = _mix(colors, PINK, 0.6 * _spot(p, (side * 0.092, -0.130, 0.145), 0.036))
    mouth = _spot(p * np.array([0.5, 1.0, 1.3]), (0.0, -0.130, 0.137), 0.030)
    return _mix(colors, RED, mouth)


def _chest(p: np.ndarray) -> np.ndarray:
    colors = _stripes(p, WHITE, RED, 0.30)
    front_badge = _spot(p, (0.0, -0.165, 0.20), 0.080)
    back_badge = _spot(p, (0.0, 0.165, 0.19), 0.105)
    colors = _mix(colors, GOLD, front_badge)
    return _mix(colors, NAVY, back_badge)


def _pelvis(p: np.ndarray) -> np.ndarray:
    colors = _mix(NAVY, SKY, _soft_sign(np.sin(3.0 * np.arctan2(p[:, 1], p[:, 0]))))
    belt = _soft_sign((p[:, 2] - 0.095) / 0.02, 2.0)
    return _mix(colors, GOLD, belt)


def _shoe(p: np.ndarray, upper: np.ndarray, toe: np.ndarray) -> np.ndarray:
    colors = _mix(upper, toe, _soft_sign((-0.13 - p[:, 1]) / 0.03, 2.0))
    return _mix(colors, WHITE, _soft_sign((-0.085 - p[:, 2]) / 0.02, 2.0))


_PATTERNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pelvis": _pelvis,
    "chest": _chest,
    "neck": lambda p: np.broadcast_to(SKIN, p.shape),
    "head": _head,
    "nose": lambda p: np.broadcast_to(ORANGE, p.shape),
    "bun": lambda p: _stripes(p, BROWN, GOLD, 0.16),
    "upper_arm_left": lambda p: _stripes(p, GOLD, VIOLET, 0.32),
    "upper_arm_right": lambda p: _stripes(p, WHITE, TEAL, 0.32),
    "forearm_left": lambda p: _dots(p, SKIN, RED, 0.34, 1),
    "forearm_right": lambda p: _spiral(p, SKIN, NAVY, 0.36),
    "hand_left": lambda p: _stripes(p, SKY, NAVY, 0.30),
    "hand_right": lambda p: _stripes(p, ORANGE, RED, 0.30),
    "thigh_left": lambda p: _checks(p, NAVY, SKY, 0.44, 2),
    "thigh_right": lambda p: _dots(p, GREEN, GOLD, 0.40, 2),
    "shin_left": lambda p: _spiral(p, WHITE, PINK, 0.40),
    "shin_right": lambda p: _checks(p, PINK, VIOLET, 0.42, 1),
    "foot_left": lambda p: _shoe(p, GREEN, GOLD),
    "foot_right": lambda p: _shoe(p, RED, BLACK),
}


def part_color(name: str, local_points: np.ndarray) -> np.ndarray:
    """Colour (N, 3) in [0, 1] of the named part at points (N, 3) in its joint's frame, metres."""
    return _PATTERNS[name](local_points)
