"""Images of captures whose masks are rough: the rim of the mask takes no part.

The protocol of the NHR captures (Wu et al., CVPR 2020) in the evaluation of MLP maps (Peng et al., CVPR 2023), which
Im4D follows: PSNR over what is foreground and no rim, against released pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.data.dynamic_dataset import read_image
from nf_plugins.errors import InputError
from nf_plugins.evaluation.image_metrics import psnr
from nf_plugins.model_components.square_morphology import narrowed, widened

EDGE_WIDTH = 5
"""Pixels of the square by which a mask is widened and narrowed."""


class EdgeTruth(NamedTuple):
    """What an image should show, and where that is known."""

    image: Tensor
    """(H, W, 3) in [0, 1]."""
    mask: Tensor
    """Foreground (H, W, 1), bool."""
    edge: Tensor
    """Its rim (H, W, 1), bool."""

    @property
    def counted(self) -> Tensor:
        """Pixels (H, W, 1) that are measured, bool."""
        return self.mask & ~self.edge


def edge_band(mask: Tensor, width: int = EDGE_WIDTH) -> Tensor:
    """The rim of a mask: where it widened by a square of ``width`` pixels is and narrowed by it is not.

    Args:
        mask: (H, W, 1), foreground above one half; the image's border is no rim.
        width: Odd.

    Returns:
        bool (H, W, 1).
    """
    inside = mask > 0.5
    return widened(inside, width) & ~narrowed(inside, width)


def read_edge_truth(folder: Path, frame: int, view: int, size: tuple[int, int]) -> EdgeTruth:
    """A picture of a folder of released truth: ``FFFF_VV_gt.png``, ``_mask.png`` and, where it is there, ``_edge.png``.

    Args:
        folder: Of the pictures.
        frame: Number FFFF.
        view: Number VV of the camera.
        size: Height and width that they have to have.

    Raises:
        InputError: A picture is missing, cannot be read, or has another size.
    """
    stem = f"{frame:04d}_{view:02d}"
    image = _read(folder / f"{stem}_gt.png", size)
    mask = _read(folder / f"{stem}_mask.png", size).amax(dim=-1, keepdim=True) > 0.5
    edge = folder / f"{stem}_edge.png"
    band = _read(edge, size).amax(dim=-1, keepdim=True) >= 0.5 if edge.is_file() else edge_band(mask.float())
    return EdgeTruth(image, mask, band)


def edge_psnr(predicted: Tensor, truth: EdgeTruth) -> float | None:
    """PSNR in dB of an image (H, W, 3) over the foreground without its rim; None where nothing is left of it."""
    counted = truth.counted.to(predicted.device)
    if not bool(counted.any()):
        return None
    return psnr(predicted, truth.image.to(predicted), counted)


def _read(path: Path, size: tuple[int, int]) -> Tensor:
    """Colours (H, W, 3) of a file; an alpha channel is left out."""
    if not path.is_file():
        raise InputError(
            f"--truth-folder: there is no {path}, expected FRAME_VIEW_gt.png and FRAME_VIEW_mask.png of every image, "
            "four and two digits: check the folder, or leave the option out to compare with the data's own images."
        )
    pixels = read_image(path)[..., :3]
    if tuple(pixels.shape[:2]) != size:
        raise InputError(
            f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, but the run renders {size[1]}x{size[0]}, expected "
            "the same: train with the scale ratio of the released pictures."
        )
    return torch.as_tensor(pixels)
