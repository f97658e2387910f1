"""Foreground masks of recorded images: given ones, a key colour, or the difference to the empty set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.processing.frame_sources import FrameSource, find_sources, open_source, read_frames
from nf_plugins.data.processing.options import MaskOptions
from nf_plugins.errors import InputError

MASK_THRESHOLD = 127
"""Videos of masks are compressed: their black is not 0."""
LOSSLESS_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Of masks that may hold small numbers, such as 0 and 1."""


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
        chosen: Numbers of all frames of each camera that are used, never falling.
        image_fps: As for ``open_source``.

    Raises:
        InputError: A camera has no masks or plate, as many masks as make no sense, or empty ones alone.
    """

    def __init__(
        self,
        options: MaskOptions,
        sources: Mapping[str, FrameSource],
        chosen: Mapping[str, Sequence[int] | NDArray[np.int64]],
        image_fps: float,
    ) -> None:
        check_mask_options(options)
        self.options = options
        self.files: dict[str, FrameSource] = {}
        self.mask_numbers: dict[str, dict[int, int]] = {}
        """For each camera the number of every chosen frame's mask."""
        self.thresholds: dict[str, float] = {}
        self.plates: dict[str, NDArray[np.uint8]] = {}
        if options.masks is not None:
            found = find_sources(options.masks, "a video or a folder of masks per camera")
            for name in sources:
                if name not in found:
                    raise InputError(f"{options.masks} has no masks of camera {name}, expected {name}/ or a video.")
                masks = open_source(found[name], image_fps)
                numbers = mask_numbers(masks, name, len(sources[name]), [int(frame) for frame in chosen[name]])
                self.files[name], self.mask_numbers[name] = masks, numbers
                self.thresholds[name] = mask_threshold(masks, sorted(numbers.values()))
        if options.background_plates is not None:
            self.plates = {name: _read_plate(options.background_plates, name) for name in sources}

    def __bool__(self) -> bool:
        return self.options.chroma_key is not None or bool(self.files) or bool(self.plates)

    def masks_of(self, camera: str, indices: Sequence[int]) -> Callable[[NDArray[np.uint8]], NDArray[np.bool_] | None]:
        """A function that gives the foreground (H, W) of an image (H, W, 3), or None when no masks are made.

        Args:
            indices: Those of the chosen frames that it will be asked for, one call each, in this order; never falling.
        """
        if camera not in self.files:
            return lambda image: self._made_mask(camera, image)
        numbers, threshold = self.mask_numbers[camera], self.thresholds[camera]
        given = read_frames(self.files[camera], [numbers[index] for index in indices])

        def next_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
            mask = next(given)[..., 0] > threshold
            if mask.shape != image.shape[:2]:
                raise InputError(
                    f"The masks {self.files[camera].path} are {mask.shape[1]}x{mask.shape[0]} pixels, but the images "
                    f"of {camera} {image.shape[1]}x{image.shape[0]}, expected the same: write them at that size."
                )
            return mask

        return next_mask

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


def mask_numbers(masks: FrameSource, camera: str, num_frames: int, chosen: Sequence[int]) -> dict[int, int]:
    """The number of every chosen frame's mask: the frame's own, or, with as many masks as chosen frames, its place.

    Args:
        masks: Of a camera.
        camera: Its name.
        num_frames: Of the camera's images.
        chosen: Which of them are used.

    Raises:
        InputError: There is another number of masks.
    """
    if len(masks) == num_frames:
        return {frame: frame for frame in chosen}
    if len(masks) != len(chosen):
        raise InputError(
            f"{masks.path} holds {len(masks)} masks, but {camera} has {num_frames} frames, of which {len(chosen)} are "
            "used, expected one of these numbers: write one mask per frame."
        )
    return {frame: place for place, frame in enumerate(chosen)}


def mask_threshold(masks: FrameSource, numbers: Sequence[int]) -> float:
    """The value above which a camera's masks are foreground: half of what is white in them.

    White is 255, except in images without loss whose values are all small, such as 0 and 1: there it is the largest
    value of all masks. Reads no more of them than are needed.

    Args:
        numbers: Of the masks that are used, rising.

    Raises:
        InputError: All of them are empty.
    """
    largest = 0
    for mask in read_frames(masks, numbers):
        largest = max(largest, int(mask[..., 0].max()))
        if largest > MASK_THRESHOLD:
            return MASK_THRESHOLD
    is_lossless = bool(masks.files) and all(path.suffix.lower() in LOSSLESS_SUFFIXES for path in masks.files)
    if not is_lossless or largest == 0:
        raise InputError(
            f"The masks {masks.path} of the {len(numbers)} frames that are used are all empty (no value is above "
            f"{largest}), expected foreground brighter than half: write masks of 0 and 255, or leave this camera out "
            "with --only."
        )
    return largest / 2


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
