"""8-bit pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.atomic_files import atomic_path

Image8 = NDArray[np.uint8]


def to_8_bit(image: Tensor) -> Image8:
    """A float image (H, W, C) in [0, 1], clipped and rounded."""
    return (image.detach().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()


def write_image(path: Path, image: Image8) -> None:
    """Write an 8-bit image (H, W, 3) or (H, W, 1) as PNG, atomically."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, format="PNG")


def read_image(path: Path) -> Image8:
    """The colours (H, W, 3) of an image file."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
