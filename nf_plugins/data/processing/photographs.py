"""Photographs with their masks: which files belong together, and what the masks' pixels mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nf_plugins.data import validation
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.processing.frame_sources import IMAGE_SUFFIXES
from nf_plugins.errors import InputError

HOW_TO_MAKE_MASKS = (
    "Make one image per photograph, white (255) where the object is and black elsewhere, or a cut-out with "
    "transparency, under the photograph's name, with any segmentation tool (rembg, Segment Anything, an image editor)"
)


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder, found by more or less of their path."""

    root: Path
    files: dict[str, Path]
    """By the path below the root, with slashes."""

    def find(self, name: str) -> Path | None:
        """The file of this path; else the only one of this path, file name or stem, whatever its suffix.

        ``IMG_1.jpg`` finds ``IMG_1.jpg``, ``IMG_1.jpg.png``, ``IMG_1.png`` and ``sub/IMG_1.jpg``.
        """
        if name in self.files:
            return self.files[name]
        wanted = PurePosixPath(name)
        same_folder = [file for file in self.files if PurePosixPath(file).parent == wanted.parent]
        for candidates in (same_folder, list(self.files)):
            for matches in (
                [file for file in candidates if PurePosixPath(file).name == wanted.name],
                [file for file in candidates if PurePosixPath(file).stem == wanted.name],
                [file for file in candidates if PurePosixPath(file).stem == wanted.stem],
            ):
                if len(matches) == 1:
                    return self.files[matches[0]]
        return None


def list_images(root: Path, expected: str) -> ImageFolder:
    """The images below a folder, hidden ones left out.

    Raises:
        InputError: There are none; the sentence says what was ``expected``.
    """
    validation.require_folder(root, expected)
    found = {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
    if not found:
        raise InputError(f"The folder {root} holds no images ({', '.join(IMAGE_SUFFIXES)}), expected {expected}.")
    return ImageFolder(root, found)


def find_masks(photographs: ImageFolder, used: Sequence[Path], masks: Path | None) -> list[Path]:
    """The file with the mask of every photograph: its own where that has an alpha channel and no folder is given.

    Args:
        photographs: Where the photographs lie.
        used: Those that are used.
        masks: The folder of the masks.

    Raises:
        InputError: A photograph has none.
    """
    if masks is None:
        without = [path for path in used if not validation.read_image_header(path).has_alpha]
        if without:
            raise InputError(
                f"{len(without)} of {len(used)} photographs, the first {without[0]}, have no mask (no alpha channel, "
                f"and --masks is not given), expected one each. {HOW_TO_MAKE_MASKS}; then give their folder: --masks "
                "DIR."
            )
        return list(used)
    folder = list_images(masks, "a mask per photograph, called like it")
    names = [path.relative_to(photographs.root).as_posix() for path in used]
    found = [folder.find(name) for name in names]
    without_mask = [name for name, path in zip(names, found, strict=True) if path is None]
    if without_mask:
        raise InputError(
            f"{masks} has masks of {len(used) - len(without_mask)} of {len(used)} photographs, none called like "
            f"{without_mask[0]}, expected one each. {HOW_TO_MAKE_MASKS}."
        )
    files = [path for path in found if path is not None]
    for path in files:
        if files.count(path) > 1:
            raise InputError(
                f"The mask {path} belongs to {files.count(path)} photographs by its name, expected one each: lay the "
                "masks out in folders like the photographs."
            )
    return files


def read_photograph_mask(path: Path, is_photograph: bool = False) -> NDArray[np.bool_]:
    """Where the object is (H, W): where a cut-out is opaque, else where any channel is above half.

    Args:
        is_photograph: The file is the photograph itself, so that its colours say nothing.

    Raises:
        InputError: It cannot be read, or nothing in it is foreground.
    """
    mask, largest = _read(path, is_photograph)
    if not mask.any():
        raise InputError(
            f"The mask {path} is all black (its largest value is {largest}), expected the object brighter than half: "
            "write masks of 0 and 255; if the object is not in that photograph, leave the photograph out."
        )
    return mask


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """Colour (H, W, 3), turned as it lies in the file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The image {path} cannot be read ({error}), expected a whole image file.") from error


def _read(path: Path, is_photograph: bool) -> tuple[NDArray[np.bool_], int]:
    """The mask and the largest value of its file."""
    try:
        with Image.open(path) as image:
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            alpha = np.asarray(image.convert("RGBA"))[..., 3] if has_alpha else None
            largest = int(np.asarray(image).max())
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The mask {path} cannot be read ({error}), expected a whole image file.") from error
    # A mask that is opaque everywhere has the object in its colours.
    if alpha is not None and (is_photograph or (alpha < 255).any()):
        return alpha > 127, int(alpha.max())
    return read_mask(path, "any_channel_above_half")[..., 0].numpy() > 0, largest
