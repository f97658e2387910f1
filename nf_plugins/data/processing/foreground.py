"""Foreground masks of recorded images: given ones, a key colour, or the difference to the empty set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.processing.frame_sources import FrameSource, find_sources, open_source, read_frames
from nf_plugins.data.processing.options import MaskOptions
from nf_plugins.errors import InputError

MASK_THRESHOLD = 127
"""Videos of masks are compressed: their black is not 0."""


def check_mask_options(options: MaskOptions) -> None:
    """Raise InputError for options that contradict each other or make no sense."""
    given = [name for name in ("masks", "chroma_key", "background_plates") if getattr(options, name) is not None]
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{names} are all given, expected one way to make masks.")
    if options.chroma_key is not None and not all(0 <= value <= 255 for value in options.chroma_key):
        raise InputError(f"--chroma-key is {options.chroma_key}, expected red, green and blue from 0 to 255.")
    for name in ("chroma_tolerance", "plate_tolerance", "mask_cleanup"):
        if not 0 <= getattr(options, name) <= 255:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected 0 to 255.")


class MaskMaker:
    """Masks of all cameras' chosen frames.

    Args:
        options: How they are made.
        sources: The cameras' images.
        image_fps: As for ``open_source``.

    Raises:
        InputError: A camera has no masks or plate, or as many masks as make no sense.
    """

    def __init__(self, options: MaskOptions, sources: dict[str, FrameSource], image_fps: float) -> None:
        check_mask_options(options)
        self.options = options
        self.files: dict[str, FrameSource] = {}
        self.plates: dict[str, NDArray[np.uint8]] = {}
        if options.masks is not None:
            found = find_sources(options.masks, "a video or a folder of masks per camera")
            for name in sources:
                if name not in found:
                    raise InputError(f"{options.masks} has no masks of camera {name}, expected {name}/ or a video.")
                self.files[name] = open_source(found[name], image_fps)
        if options.background_plates is not None:
            self.plates = {name: _read_plate(options.background_plates, name) for name in sources}
        self.sources = sources

    def __bool__(self) -> bool:
        return self.options.chroma_key is not None or bool(self.files) or bool(self.plates)

    def masks_of(self, camera: str, indices: Sequence[int]) -> Callable[[NDArray[np.uint8]], NDArray[np.bool_] | None]:
        """A function that gives the foreground (H, W) of an image (H, W, 3), or None when no masks are made.

        Args:
            indices: The frames of the camera's source that it will be asked for, one call each, in this order.
        """
        if camera not in self.files:
            return lambda image: self._made_mask(camera, image)
        given = self._given_masks(camera, indices)

        def next_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
            mask = next(given)
            if mask.shape != image.shape[:2]:
                raise InputError(
                    f"The masks {self.files[camera].path} are {mask.shape[1]}x{mask.shape[0]} pixels, but the images "
                    f"of {camera} {image.shape[1]}x{image.shape[0]}, expected the same: write them at that size."
                )
            return mask

        return next_mask

    def _given_masks(self, camera: str, indices: Sequence[int]) -> Iterator[NDArray[np.bool_]]:
        """Masks by the frame's number, or, when there are only as many as chosen frames, by their order."""
        masks, count = self.files[camera], len(self.sources[camera])
        if len(masks) == len(indices) != count:
            indices = range(len(indices))
        elif len(masks) != count:
            raise InputError(
                f"{masks.path} holds {len(masks)} masks, but {camera} has {count} frames, of which {len(indices)} are "
                "used, expected one of these numbers: write one mask per frame."
            )
        return (mask[..., 0] > MASK_THRESHOLD for mask in read_frames(masks, indices))

    def _made_mask(self, camera: str, image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        options = self.options
        if options.chroma_key is not None:
            return clean_mask(chroma_mask(image, options.chroma_key, options.chroma_tolerance), options.mask_cleanup)
        if camera not in self.plates:
            return None
        plate = self.plates[camera]
        if plate.shape != image.shape:
            raise InputError(
                f"The background plate of {camera} is {plate.shape[1]}x{plate.shape[0]} pixels, but its images are "
                f"{image.shape[1]}x{image.shape[0]}, expected the same: take it with the same camera."
            )
        return clean_mask(plate_mask(image, plate, options.plate_tolerance), options.mask_cleanup)


def chroma_mask(image: NDArray[np.uint8], key: tuple[int, int, int], tolerance: float) -> NDArray[np.bool_]:
    """Where an image (H, W, 3) differs from the key colour in chroma (Cb and Cr of BT.601), not in brightness alone."""
    difference = image.astype(np.float32) - np.array(key, dtype=np.float32)
    blue = difference @ np.array([-0.168736, -0.331264, 0.5], dtype=np.float32)
    red = difference @ np.array([0.5, -0.418688, -0.081312], dtype=np.float32)
    return np.hypot(blue, red) > tolerance


def plate_mask(image: NDArray[np.uint8], plate: NDArray[np.uint8], tolerance: float) -> NDArray[np.bool_]:
    """Where an image (H, W, 3) differs from that of the empty set, in the channel that differs most."""
    return np.abs(image.astype(np.int16) - plate).max(axis=-1) > tolerance


def clean_mask(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The mask without specks (opening), gaps (closing) and holes that are narrower than the disc of this radius."""
    if radius == 0:
        return mask
    from scipy import ndimage

    steps = np.arange(-radius, radius + 1)
    disc = steps[:, None] ** 2 + steps[None, :] ** 2 <= radius**2 + radius
    # Padding by the mask's own edge keeps what the image cuts off from being eaten away.
    padded = np.pad(mask, 2 * radius, mode="edge")
    padded = np.asarray(ndimage.binary_closing(ndimage.binary_opening(padded, disc), disc), dtype=bool)
    return padded[2 * radius : -2 * radius, 2 * radius : -2 * radius]


def reduce_mask(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """The mask reduced by a whole factor: foreground where most of a new pixel is."""
    height, width = mask.shape[0] // factor, mask.shape[1] // factor
    blocks = mask[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return blocks.mean(axis=(1, 3)) > 0.5


def _read_plate(folder: Path, camera: str) -> NDArray[np.uint8]:
    from PIL import Image

    validation.require_folder(folder, "one image of the empty set per camera")
    files = [path for path in sorted(folder.glob(f"{camera}.*")) if path.stem == camera]
    if len(files) != 1:
        raise InputError(
            f"{folder} has {len(files)} images called {camera}, expected one of the empty set: {camera}.png."
        )
    try:
        with Image.open(files[0]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The background plate {files[0]} cannot be read ({error}), expected an image.") from error
