"""Times of images in whatever unit become times in [0, 1] and frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.errors import InputError

TimeRule = Literal["auto", "unit", "sequence"]
LEAST_RELATIVE_STEP = 1e-6
"""Times closer than this fraction of the whole are rounding of one time."""


class Timeline(NamedTuple):
    """The times of a capture."""

    times: NDArray[np.float64]
    """(N,) in [0, 1]; images of one frame have the very same number."""
    frame_ids: NDArray[np.int64]
    """(N,): which distinct time, counted in order of time."""
    rule: Literal["unit", "sequence"]
    """The rule that was applied."""
    note: str
    """What was done, a sentence without its full stop."""


def make_timeline(times: NDArray[np.float64], rule: TimeRule, tolerance: float, where: str) -> Timeline:
    """Brings times to [0, 1] and joins those that are one frame.

    Args:
        times: (N,) finite, any unit, any order.
        rule: "unit": they are in [0, 1] already and stay as they are. "sequence": the first becomes 0, the last 1.
            "auto": the former where all lie in [0, 1], else the latter.
        tolerance: Times that follow each other more closely than this, in the file's unit, are one frame: the moment
            at which synchronised cameras of a rig were triggered differs by some microseconds.
        where: What error messages call the file.

    Raises:
        InputError: One time only, or, with "unit", times outside [0, 1].
    """
    if not tolerance >= 0:
        raise InputError(f"--time-tolerance is {tolerance:g}, expected 0 or more, in the unit of the times.")
    frame_ids, frame_times = _joined(times, tolerance)
    validation.require_distinct_frames(len(frame_times), where)
    first, last = float(frame_times[0]), float(frame_times[-1])
    inside = first >= 0 and last <= 1
    if rule == "unit" and not inside:
        raise InputError(
            f"The times of {where} go from {first:g} to {last:g}, expected [0, 1] with --times unit: use --times "
            "sequence for seconds or frame numbers."
        )
    applied: Literal["unit", "sequence"] = "unit" if rule == "unit" or (rule == "auto" and inside) else "sequence"
    if applied == "unit":
        note = f"the times are in [0, 1] ({first:g} to {last:g}) and are used as they are"
    else:
        note = f"the times go from {first:g} to {last:g}; they are mapped to 0 and 1"
        frame_times = (frame_times - first) / (last - first)
    return Timeline(frame_times[frame_ids], frame_ids, applied, note)


class PhysicalCameras(NamedTuple):
    """Which camera took which image."""

    names: list[str]
    """In natural order; the position is the camera's id."""
    ids: NDArray[np.int64]
    """(N,)."""


def physical_cameras(
    declared: Sequence[str] | None, files: Sequence[str], frame_ids: NDArray[np.int64]
) -> PhysicalCameras:
    """Tells cameras apart: by what the frames declare, else by their folders.

    Folders are cameras only where they behave like it: some time has several images, and no folder has two images of
    one time. Otherwise everything is one moving camera.

    Args:
        declared: ``camera`` or ``camera_id`` of every image; None when there is none.
        files: ``file_path`` of every image.
        frame_ids: (N,).
    """
    if declared is None:
        folders = [file.replace("\\", "/").rpartition("/")[0] for file in files]
        pairs = set(zip(folders, frame_ids.tolist(), strict=True))
        synchronised = len(pairs) == len(files) and len(np.unique(frame_ids)) < len(files)
        # A folder per camera may have folders below it (cam01/rgb): what all have in common says nothing.
        declared = _without_common_parts(folders) if synchronised else ["camera"] * len(files)
    names = sorted(set(declared), key=validation.natural_key)
    ids = {name: position for position, name in enumerate(names)}
    return PhysicalCameras(names, np.array([ids[name] for name in declared], dtype=np.int64))


def _without_common_parts(folders: list[str]) -> list[str]:
    parts = [folder.split("/") for folder in folders]
    while all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    while all(len(each) > 1 for each in parts) and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return ["/".join(each) or "camera" for each in parts]


def _joined(times: NDArray[np.float64], tolerance: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frame of every time (N,), and the first time of every frame (T,), rising."""
    distinct, inverse = np.unique(times, return_inverse=True)
    rounding = LEAST_RELATIVE_STEP * (distinct[-1] - distinct[0])
    starts = np.concatenate([[True], np.diff(distinct) > max(tolerance, rounding)])
    return (np.cumsum(starts) - 1)[inverse.reshape(-1)], distinct[starts]
