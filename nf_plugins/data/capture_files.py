"""Masks and depth maps that a transforms.json names: which kind they are, and that they fit their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.errors import InputError

MaskMeaning = Literal["foreground", "not_sampled"]
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
"""Masks whose background is not exactly 0."""
NO_IMAGES = (".npy", ".npz", ".exr", ".pfm")


class MaskFiles(NamedTuple):
    """Masks of a capture's images."""

    foreground: list[Path] | None
    """Where the subject is; None without such masks."""
    source: str
    """``fg_mask_source`` of these: "alpha" or a rule of ``foreground_masks``."""
    not_sampled: list[Path] | None
    """nerfstudio's masks: 0 where nothing is known."""

    def read_foreground(self, index: int) -> NDArray[np.bool_]:
        """The foreground (H, W) of an image."""
        assert self.foreground is not None
        return read_foreground(self.foreground[index], self.source)


def find_masks(
    transforms: tj.TransformsFile,
    kept: NDArray[np.int64],
    images: list[Path],
    headers: Sequence[validation.ImageHeader],
    meaning: MaskMeaning,
) -> MaskFiles:
    """``fg_mask_path``, ``mask_path`` by its meaning, or else the alpha channel of the images.

    Args:
        kept: Positions in the file of the images that are used.
        images: These images.
        headers: What they say of themselves.
        meaning: Of ``mask_path``.

    Raises:
        InputError: Some frames have masks and some do not, a mask has another size than its image, or two kinds of
            mask both claim to be the foreground.
    """
    foreground = _files(transforms, "fg_mask_path", kept, images, headers)
    not_sampled = _files(transforms, "mask_path", kept, images, headers)
    if not_sampled is not None and meaning == "foreground":
        if foreground is not None:
            raise InputError(
                f"{transforms.path} has both mask_path and fg_mask_path, expected only one that is foreground: say "
                "--mask-meaning not_sampled."
            )
        foreground, not_sampled = not_sampled, None
    if foreground is not None:
        lossy = any(path.suffix.lower() in LOSSY_SUFFIXES for path in foreground)
        return MaskFiles(foreground, "any_channel_above_half" if lossy else "first_channel_positive", not_sampled)
    with_alpha = [header.has_alpha for header in headers]
    if any(with_alpha) and not all(with_alpha):
        raise InputError(
            f"{images[with_alpha.index(False)]} has no alpha channel, but other images of {transforms.path} have one, "
            "expected RGBA in all or in none."
        )
    return MaskFiles(images if all(with_alpha) else None, "alpha", not_sampled)


def find_depths(
    transforms: tj.TransformsFile,
    kept: NDArray[np.int64],
    images: list[Path],
    headers: Sequence[validation.ImageHeader],
) -> list[Path] | None:
    """``depth_file_path`` of the images; None without.

    Raises:
        InputError: As for masks, or a file is no image.
    """
    named = tj.files_of_key(transforms, "depth_file_path")
    for path in named or []:
        if path.suffix.lower() in NO_IMAGES:
            raise InputError(f"The depth {path} is no image file, expected a PNG of 16 bit: convert it.")
    return _files(transforms, "depth_file_path", kept, images, headers)


def read_foreground(path: Path, source: str) -> NDArray[np.bool_]:
    """The foreground (H, W) of a file by its ``fg_mask_source``: "alpha" or a rule of ``foreground_masks``."""
    if source != "alpha":
        return read_mask(path, source)[..., 0].numpy() > 0
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 127


def _files(
    transforms: tj.TransformsFile,
    key: str,
    kept: NDArray[np.int64],
    images: list[Path],
    headers: Sequence[validation.ImageHeader],
) -> list[Path] | None:
    named = tj.files_of_key(transforms, key)
    if named is None:
        return None
    files = tj.kept_files(named, kept)
    own = validation.read_image_headers(files, f"Checking {key.removesuffix('_path').replace('_', ' ')}s")
    validation.require_same_sizes(files, own, images, headers)
    return files
