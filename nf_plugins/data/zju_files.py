"""Where the masks and the body model's vertices of a ZJU-MoCap or EasyMocap capture lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nf_plugins.data import validation
from nf_plugins.data.zju_capture import ZjuCapture
from nf_plugins.errors import InputError

MASK_FOLDERS = ("mask_cihp", "schp", "mask", "masks")
"""In the order in which they are preferred."""
MASK_SUFFIXES = (".png", ".jpg", ".jpeg")
VERTEX_FOLDERS = ("vertices", "new_vertices")


def find_masks(
    root: Path, mask_folder: str, capture: ZjuCapture, cameras: Sequence[int], frames: Sequence[int]
) -> tuple[list[Path], str]:
    """The mask of every image, camera by camera, and the rule to read them by.

    A mask lies below the folder at its image's path, with or without a leading ``images/``, and may have another
    suffix. PNG masks are foreground where any channel is above 0 (binary, or maps of body parts), JPEG masks where one
    is above half.

    Args:
        mask_folder: "auto", "none" or a folder's name.

    Returns:
        No files and an empty rule where there are no masks or none are wanted.

    Raises:
        InputError: The named folder is missing, or some image has no mask.
    """
    if mask_folder == "none":
        return [], ""
    candidates = MASK_FOLDERS if mask_folder == "auto" else (mask_folder,)
    folders = [root / name for name in candidates if (root / name).is_dir()]
    if not folders:
        if mask_folder != "auto":
            raise InputError(f"--mask-folder {mask_folder}: there is no folder {root / mask_folder}, expected one.")
        return [], ""
    images = [capture.images[frame][camera] for camera in cameras for frame in frames]
    found = [_mask_of(folders[0], image) for image in images]
    missing = [image for image, mask in zip(images, found, strict=True) if mask is None]
    if missing:
        raise InputError(
            f"{folders[0]} has no mask for {missing[0]} ({len(missing)} of {len(images)} are missing), expected one "
            "for every image: add them, name another folder with --mask-folder, or use none with --mask-folder none."
        )
    masks = [mask for mask in found if mask is not None]
    return masks, "any_channel_positive" if masks[0].suffix == ".png" else "any_channel_above_half"


def _mask_of(folder: Path, image: Path) -> Path | None:
    relative = [image]
    if image.parts[0] == "images":
        relative.insert(0, Path(*image.parts[1:]))
    paths = (folder / path.with_suffix(suffix) for path in relative for suffix in MASK_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def find_vertices(root: Path, num_frames: int, frames: Sequence[int]) -> list[Path]:
    """The files of vertices of chosen frames: one .npy per frame of the capture, or none at all."""
    for name in VERTEX_FOLDERS:
        files = sorted((root / name).glob("*.npy"), key=lambda path: validation.natural_key(path.name))
        if files:
            validation.require_equal_counts(
                f"{root / name}", len(files), "the capture's list of frames", num_frames,
                "write one per frame, or choose --scene-box-from masks or keypoints.",
            )  # fmt: skip
            return [files[frame] for frame in frames]
    return []
