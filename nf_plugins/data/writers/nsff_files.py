"""The files of NSFF's layout of a monocular video, one by one, each whole or not at all.

images/00000.png                 frames at full size, undistorted, principal point in the middle
images_512x288/00000.png         frames at the size of training
poses_bounds.npy                 see ``data/poses_bounds.py``; H, W, f are those of ``images/``
scene.json                       ``pixel_convention``: which rays the pixels have
disp/00000.npy                   float32 (H, W), inverse depth of any scale and shift, larger = nearer
flow_i1/00000_fwd.npz            see ``data/optical_flow_files.py``: to the next frame; not of the last
flow_i1/00001_bwd.npz            the same to the frame before; not of the first
motion_masks/00000.png           255 = moving
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nf_plugins.atomic_files import atomic_path

POSES_FILE = "poses_bounds.npy"
FACTS_FILE = "scene.json"


@dataclass(frozen=True)
class NsffFolder:
    """Where the files of a scene are, for frames of ``height`` x ``width`` pixels in training."""

    root: Path
    height: int
    width: int

    @property
    def poses(self) -> Path:
        """All cameras."""
        return self.root / POSES_FILE

    @property
    def facts(self) -> Path:
        """What else there is to say of the cameras."""
        return self.root / FACTS_FILE

    def original(self, frame: int) -> Path:
        """The frame at full size."""
        return self.root / "images" / f"{frame:05d}.png"

    def image(self, frame: int) -> Path:
        """The frame at the size of training."""
        return self.root / f"images_{self.width}x{self.height}" / f"{frame:05d}.png"

    def disparity(self, frame: int) -> Path:
        """Inverse depth."""
        return self.root / "disp" / f"{frame:05d}.npy"

    def flow_forward(self, frame: int) -> Path:
        """Flow to the next frame."""
        return self.root / "flow_i1" / f"{frame:05d}_fwd.npz"

    def flow_backward(self, frame: int) -> Path:
        """Flow to the frame before."""
        return self.root / "flow_i1" / f"{frame:05d}_bwd.npz"

    def motion_mask(self, frame: int) -> Path:
        """What moves."""
        return self.root / "motion_masks" / f"{frame:05d}.png"


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """(H, W, 3) uint8 as PNG."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """(H, W) as a PNG of one channel, 0 and 255."""
    with atomic_path(path) as temporary:
        Image.fromarray(255 * mask.astype(np.uint8)).save(temporary)


def write_array(path: Path, values: NDArray[np.generic]) -> None:
    """Any array as ``.npy``."""
    with atomic_path(path) as temporary:
        np.save(temporary, values)
