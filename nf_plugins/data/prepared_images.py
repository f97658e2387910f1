"""Image files as they are trained on: undistorted, reduced, cropped, with the lens that goes with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nf_plugins.data.dynamic_dataset import area_average
from nf_plugins.data.processing.undistortion import has_distortion, pinhole_lens, pinhole_map, require_undistortable
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError
from nf_plugins.model_components.lens_distortion import largest_squared_radius

Border = Literal["replicate", "zero"]
ROUNDING = 1e-6
"""Of sizes: 30 * (1 / 3) is to be 10 pixels."""


class ImagePreparation(NamedTuple):
    """What is done to N image files, in this order: undistort, reduce, crop."""

    lenses: list[Lens]
    """Of the files."""
    undistort: bool
    """Whether images are resampled as a pinhole of the same focal length takes them."""
    ratios: list[float]
    """New pixels per old pixel along an axis, at most 1."""
    crops: list[tuple[int, int, int, int]]
    """Top, left, height, width after reduction."""

    def lens(self, index: int) -> Lens:
        """The lens of a prepared image."""
        return prepared_lens(self.lenses[index], self.undistort, self.ratios[index], self.crops[index])

    def apply(self, index: int, pixels: Tensor, border: Border = "replicate") -> Tensor:
        """A file's pixels (H, W, C), float32, prepared (h, w, C); see :func:`prepare_image`."""
        lens, ratio, crop = self.lenses[index], self.ratios[index], self.crops[index]
        return prepare_image(pixels, lens, undistort=self.undistort, ratio=ratio, crop=crop, border=border)


def reduced_size(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Height and width after reduction; rows and columns that do not fill a pixel are cut off."""
    return int(height * ratio + ROUNDING), int(width * ratio + ROUNDING)


def centre_crop(
    size: tuple[int, int], crop_size: tuple[int, int] | None, name: str = "an image"
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop about the middle of an image; of all of it without ``crop_size``.

    Args:
        size: Height and width of the reduced image.
        crop_size: Height and width that are wanted.
        name: What messages call the image.

    Raises:
        InputError: The image is smaller.
    """
    height, width = size
    if crop_size is None:
        return 0, 0, height, width
    if min(crop_size) < 1 or crop_size[0] > height or crop_size[1] > width:
        raise InputError(
            f"--crop-size {crop_size[0]} {crop_size[1]} does not fit into {name} of {width}x{height} pixels (after "
            f"--scale-ratio), expected at most {height} {width}: give a smaller one, or --crop-size None."
        )
    return (height - crop_size[0]) // 2, (width - crop_size[1]) // 2, crop_size[0], crop_size[1]


def prepared_lens(lens: Lens, undistort: bool, ratio: float, crop: tuple[int, int, int, int]) -> Lens:
    """The lens of prepared images.

    Sizes scale about the outer corner of the first pixel, so a point's coordinates are multiplied by exactly ``ratio``.
    """
    lens = pinhole_lens(lens) if undistort else lens
    top, left, height, width = crop
    return replace(
        lens,
        width=width,
        height=height,
        fx=ratio * lens.fx,
        fy=ratio * lens.fy,
        cx=ratio * lens.cx - left,
        cy=ratio * lens.cy - top,
    )


def prepare_image(
    pixels: Tensor,
    lens: Lens,
    *,
    undistort: bool,
    ratio: float,
    crop: tuple[int, int, int, int],
    border: Border = "replicate",
) -> Tensor:
    """A file's pixels as they are trained on.

    Args:
        pixels: float32 (H, W, C). Colours that masks go with come multiplied by them, so that what lies outside does
            not bleed into the edge.
        lens: Of the file.
        crop: Top, left, height, width after reduction.
        border: What an undistorted image has beyond the old one: its border's pixels again, or zero.

    Returns:
        float32 (h, w, C).
    """
    if undistort and has_distortion(lens):
        pixels = undistorted(pixels, lens, border)
    reduced = area_average(pixels, ratio, reduced_size(pixels.shape[0], pixels.shape[1], ratio))
    top, left, height, width = crop
    return reduced[top : top + height, left : left + width].contiguous()


def undistorted(pixels: Tensor, lens: Lens, border: Border = "replicate") -> Tensor:
    """Pixels (H, W, C), float32, of a lens as a pinhole of the same focal length takes them, bilinear."""
    import cv2

    columns, rows = pinhole_map(lens)
    mode = cv2.BORDER_REPLICATE if border == "replicate" else cv2.BORDER_CONSTANT
    remapped = cv2.remap(pixels.contiguous().numpy(), columns, rows, cv2.INTER_LINEAR, borderMode=mode)
    return torch.from_numpy(np.asarray(remapped, dtype=np.float32)).reshape(pixels.shape)


def require_undistortable_image(lens: Lens, name: str) -> None:
    """Raise InputError where a pinhole of the lens's focal length would see more than the lens can image.

    Beyond some angle the distortion's polynomial folds back, and an undistorted image would show a second copy of the
    middle at its border.

    Args:
        name: What messages call the camera.
    """
    require_undistortable(lens, name)
    if lens.fisheye or not has_distortion(lens):
        return
    largest = largest_squared_radius(torch.tensor(lens.distortion))
    x = max(lens.cx, lens.width - lens.cx) / lens.fx
    y = max(lens.cy, lens.height - lens.cy) / lens.fy
    if x * x + y * y > largest:
        k1, k2, k3, *_ = lens.distortion
        raise InputError(
            f"The distortion of {name} is too strong to undistort: with k1, k2, k3 = {k1:g}, {k2:g}, {k3:g} it images "
            f"nothing beyond {largest**0.5:.3f} focal lengths from the axis, but the corners of {lens.width}x"
            f"{lens.height} pixels lie {(x * x + y * y) ** 0.5:.3f} away: check D and K, or bend the rays instead with "
            "--undistort False."
        )
