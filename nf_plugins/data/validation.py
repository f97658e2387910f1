"""Checks of a capture on disk. Each raises InputError with one sentence that names the file and the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nf_plugins.data.parallel import threaded_map
from nf_plugins.errors import InputError


class ImageHeader(NamedTuple):
    """What an image file says of itself."""

    height: int
    width: int
    has_alpha: bool


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts ``cam_2`` before ``cam_10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def require_folder(folder: Path, expected: str, hint: str = "") -> Path:
    """The folder, which exists and is not empty.

    Args:
        folder: What must be a folder.
        expected: What should be in it, e.g. "the frames of a camera".
        hint: A sentence to end the message with, e.g. from ``layouts.layout_hint``.
    """
    hint = f" {hint}" if hint else ""
    if not folder.exists():
        raise InputError(f"The folder {folder} does not exist, expected {expected} there: check the path.{hint}")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder with {expected}: give the folder.{hint}")
    if not any(folder.iterdir()):
        raise InputError(f"The folder {folder} is empty, expected {expected} in it.{hint}")
    return folder


def require_files(folder: Path, pattern: str, expected: str) -> list[Path]:
    """The files of a folder that match a pattern (hidden ones left out), in lexicographic order; at least one."""
    require_folder(folder, expected)
    files = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if not files:
        raise InputError(f"The folder {folder} holds no {pattern} file, expected {expected} in it.")
    return files


def require_equal_counts(what: str, count: int, other: str, other_count: int, way_out: str) -> None:
    """Both counts are the same. ``what`` and ``other`` name the file or folder that was counted."""
    if count != other_count:
        raise InputError(f"{what} holds {count}, but {other} holds {other_count}, expected the same number: {way_out}")


def require_distinct_frames(num_frames: int, where: str) -> None:
    """A dynamic scene has at least two frames."""
    if num_frames < 2:
        raise InputError(
            f"{where} has {num_frames} frame{'' if num_frames == 1 else 's'}, expected at least two different times: "
            "a dynamic method needs a sequence; select more frames, or train a static method of nerfstudio on it."
        )


def require_times(times: Tensor, names: Sequence[str]) -> None:
    """Every time is finite and in [0, 1].

    Args:
        times: (N,).
        names: What carries each time, e.g. "frame 3 (./train/r_003) of FILE".
    """
    wrong = torch.nonzero(~((times >= 0) & (times <= 1)))
    if len(wrong) > 0:
        index = int(wrong[0])
        raise InputError(
            f"The time of {names[index]} is {float(times[index]):g}, expected one in [0, 1]: divide the times by the "
            "last one."
        )


def read_json(path: Path, expected: str) -> Any:
    """The contents of a JSON file that must be there and must parse."""
    if not path.is_file():
        raise InputError(f"The file {path} does not exist, expected {expected}: check the path.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no valid JSON ({error}), expected {expected}: write the file anew.") from error


def read_npz(path: Path, expected: str) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` archive by name; pickled objects are refused.

    Raises:
        InputError: The file is missing, is no such archive, or is truncated or damaged.
    """
    if not path.is_file():
        raise InputError(f"The file {path} does not exist, expected {expected}: check the path.")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # damaged archives fail in NumPy, zipfile and zlib, each in ways of its own
        raise InputError(
            f"{path} cannot be read ({error}), expected a NumPy archive with {expected}: write it anew."
        ) from error


def read_image_header(path: Path) -> ImageHeader:
    """Size of an image, after a check of the whole file.

    A PNG's chunks are walked to the end and their checksums compared, which finds truncated and damaged files at the
    speed of reading them; other formats carry no checksums and are decoded.

    Raises:
        InputError: The file is missing, is no image, or is truncated or damaged.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            if image.format == "PNG":
                image.verify()
            else:
                image.load()
    except FileNotFoundError as error:
        raise InputError(f"The image {path} does not exist, expected it beside the others: restore it.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"The image {path} cannot be read ({_without_path(error)}), expected a whole image file: copy or write it "
            "anew."
        ) from error
    return ImageHeader(height, width, has_alpha)


def read_image_headers(paths: Sequence[Path], description: str) -> list[ImageHeader]:
    """``read_image_header`` of many files, in threads, with a progress bar when it takes longer than two seconds."""
    return threaded_map(read_image_header, paths, description)


def require_same_sizes(
    paths: Sequence[Path], headers: Sequence[ImageHeader], others: Sequence[Path], other_headers: Sequence[ImageHeader]
) -> None:
    """Every file (a mask, a depth map) has the size of the image that it belongs to."""
    for path, header, other, other_header in zip(paths, headers, others, other_headers, strict=True):
        if header[:2] != other_header[:2]:
            raise InputError(
                f"{path} is {header.width}x{header.height} pixels, but its image {other} is "
                f"{other_header.width}x{other_header.height}, expected the same size: write it at the image's size."
            )


def _without_path(error: BaseException) -> str:
    return str(error).split("'")[0].strip().rstrip(":")
