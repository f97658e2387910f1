"""What every capture of several standing cameras comes down to, before anything is selected or prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.transforms_json import Lens


@dataclass(frozen=True)
class RigCapture:
    """C synchronised standing cameras, F frames.

    World units (metres, where the capture says), OpenGL camera axes, pixel centres at half-integers.
    """

    camera_names: list[str]
    """In the order of all that follows."""
    lenses: list[Lens]
    """Of the image files."""
    camera_to_worlds: NDArray[np.float64]
    """``(C, 3, 4)``."""
    images: list[list[Path]]
    """By frame, then camera; absolute."""
    masks: list[list[Path | None]] | None
    """Likewise; None where there are none at all."""
    mask_rule: str
    """What of a mask is foreground: a rule of :mod:`nf_plugins.data.foreground_masks`, "" without masks."""
    frame_points: list[Path] | None
    """By frame: .npy of vertices or .ply of points, world units."""
    frame_box_files: list[Path] | None
    """By frame: .npy ``(2, 3)``, world units."""
    plates: list[Path | None] | None
    """By camera: the empty set as the camera sees it."""
    scene_points: NDArray[np.float64] | None
    """Points of the scene ``(P, 3)``, world units."""
    source: Path
    """Folder or file that errors name."""
    picture_source: Any | None = None
    """Gives images that are no files of their own: ``image(path)`` uint8 (H, W, 3), ``mask(path)`` float32 (H, W)."""
    ratios: tuple[float, ...] | None = None
    """By camera: the scale ratio in place of the config's."""
