"""Where the masks, points, boxes and background plates of a rig's images lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nf_plugins.data import validation
from nf_plugins.data.foreground_masks import holds_labels
from nf_plugins.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MASK_SUFFIXES = (".png", ".jpg", ".jpeg")
LABEL_FOLDERS = ("schp", "cihp")
"""Parts of the names of folders whose masks are maps of body parts."""
FILES_LOOKED_AT = 5
"""Masks that are read to tell shares from labels."""

Masks = list[list[Path | None]]
MaskRule = Callable[[Sequence[Path]], str]


def find_masks(
    root: Path, images: Sequence[Sequence[Path]], mask_folder: str, candidates: Sequence[str], rule: MaskRule
) -> tuple[Masks | None, str]:
    """The mask of every image, and the rule to read them by.

    A mask lies below the folder at its image's path, with or without a leading ``images/``, and may have another
    suffix.

    Args:
        root: Folder of the scene.
        images: By frame and camera, absolute or relative to ``root``.
        mask_folder: "auto", "none" or a folder's name.
        candidates: Folders that "auto" looks for, in the order in which they are preferred.
        rule: Gives the rule of some masks.

    Returns:
        None and an empty rule where there are no masks or none are wanted; None for single images without one.

    Raises:
        InputError: The named folder is missing, or the folder holds none of the masks.
    """
    if mask_folder == "none":
        return None, ""
    names = candidates if mask_folder == "auto" else (mask_folder,)
    folders = [root / name for name in names if (root / name).is_dir()]
    if not folders:
        if mask_folder != "auto":
            raise InputError(f"--mask-folder {mask_folder}: there is no folder {root / mask_folder}, expected one.")
        return None, ""
    masks = [[_mask_of(folders[0], root, image) for image in frame] for frame in images]
    some = [mask for frame in masks for mask in frame if mask is not None]
    if not some:
        raise InputError(
            f"{folders[0]} has no mask for {images[0][0]}, nor for any other image, expected one for every image at "
            "the image's own path: name another folder with --mask-folder, or use none with --mask-folder none."
        )
    return masks, rule(some)


def label_or_half(masks: Sequence[Path]) -> str:
    """The rule for ZJU-MoCap: PNG are labels, JPEG are black and white."""
    return "any_channel_positive" if masks[0].suffix == ".png" else "any_channel_above_half"


def label_or_soft(masks: Sequence[Path]) -> str:
    """The rule for EasyVolcap: labels in folders of maps of body parts, and where the numbers are too small for shares;
    else each pixel's share of foreground."""
    if any(label in part for part in masks[0].parts for label in LABEL_FOLDERS):
        return label_or_half(masks)
    step = max(1, len(masks) // FILES_LOOKED_AT)
    is_png = masks[0].suffix == ".png"
    return "any_channel_positive" if is_png and any(holds_labels(mask) for mask in masks[::step]) else "soft"


def _mask_of(folder: Path, root: Path, image: Path) -> Path | None:
    relative = [image.relative_to(root) if image.is_absolute() else image]
    if relative[0].parts[0] == "images":
        relative.insert(0, Path(*relative[0].parts[1:]))
    paths = (folder / path.with_suffix(suffix) for path in relative for suffix in MASK_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def find_frame_files(
    root: Path, folders: Sequence[str], pattern: str, images: Sequence[Path], *, first_number: int, way_out: str
) -> list[Path] | None:
    """One file per frame from the first of some folders that holds any; None where none does.

    Where there are as many files as frames they belong together in their order; otherwise by the numbers in their
    names, as for a part of a sequence.

    Args:
        pattern: Such as "*.npy".
        images: An image of every frame.
        first_number: What the file of image 0 is numbered.
        way_out: Ends the message.

    Raises:
        InputError: A frame has no file.
    """
    for name in folders:
        files = sorted((root / name).glob(pattern), key=lambda path: validation.natural_key(path.name))
        if not files:
            continue
        if len(files) == len(images):
            return files
        numbered = {int(path.stem): path for path in files if path.stem.isdecimal()}
        wanted = [int(image.stem) + first_number if image.stem.isdecimal() else -1 for image in images]
        if not all(number in numbered for number in wanted):
            validation.require_equal_counts(
                f"{root / name}", len(files), "the capture's list of frames", len(images), way_out
            )
        return [numbered[number] for number in wanted]
    return None


def find_plates(root: Path, folder: str, camera_names: Sequence[str]) -> list[Path | None] | None:
    """The empty set as every camera sees it: FOLDER/CAMERA/00.jpg (or its first image), or FOLDER/CAMERA.jpg.

    Args:
        folder: "auto" (bkgd where it is there), "none" or a folder's name.

    Raises:
        InputError: The named folder is missing.
    """
    if folder == "none":
        return None
    place = root / ("bkgd" if folder == "auto" else folder)
    if not place.is_dir():
        if folder != "auto":
            raise InputError(f"--background-plates {folder}: there is no folder {place}, expected one.")
        return None
    return [_plate_of(place, name) for name in camera_names]


def _plate_of(place: Path, name: str) -> Path | None:
    if (place / name).is_dir():
        inside = sorted(path for path in (place / name).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        return inside[0] if inside else None
    return next((path for suffix in IMAGE_SUFFIXES if (path := place / f"{name}{suffix}").is_file()), None)
