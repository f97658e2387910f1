"""Optical flow on disk: NSFF's .npz and Middlebury's .flo.

A flow holds, for every pixel, the displacement (dx, dy) in pixels, x to the right and y downwards, to where what is
seen there has moved in another image. Displacements do not depend on where the centre of a pixel is counted to be.

``.npz`` (Li et al., Neural Scene Flow Fields, CVPR 2021): ``flow`` (H, W, 2) and, optionally, ``mask`` (H, W), non-zero
where the flow may be trusted. ``.flo`` (Baker et al., A Database and Evaluation Methodology for Optical Flow, 2011):
the number 202021.25, width and height, then the displacements row by row; larger than 1e9 means unknown.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import atomic_path
from nf_plugins.data import validation
from nf_plugins.errors import InputError

FLO_MAGIC = 202021.25
UNKNOWN_FLOW = 1e9
FLO_HEADER_BYTES = 12
SUFFIXES = (".npz", ".flo")
"""In the order in which they are looked for."""


class OpticalFlow(NamedTuple):
    """Displacements of one image's pixels."""

    flow: NDArray[np.float32]
    """(H, W, 2), dx and dy in pixels; 0 where it is not valid and not finite."""
    valid: NDArray[np.bool_]
    """(H, W)."""


def read_flow(path: Path) -> OpticalFlow:
    """The flow of a file, by its suffix.

    Raises:
        InputError: The file is missing, damaged, of another format or of another shape.
    """
    if path.suffix == ".flo":
        flow, valid = _read_flo(path), None
    elif path.suffix == ".npz":
        arrays = validation.read_npz(path, "flow (H, W, 2) and mask (H, W)")
        if "flow" not in arrays:
            raise InputError(f"{path} holds {sorted(arrays)}, expected flow (H, W, 2) and mask (H, W): write it anew.")
        flow, valid = np.asarray(arrays["flow"]), arrays.get("mask")
    else:
        raise InputError(f"{path} is no file of optical flow, expected one of {', '.join(SUFFIXES)}.")
    _require_flow_shape(flow.shape, path)
    if valid is None:
        valid = np.ones(flow.shape[:2], dtype=bool)
    elif valid.shape != flow.shape[:2]:
        raise InputError(f"The mask of {path} has the shape {valid.shape}, expected {flow.shape[:2]} as its flow has.")
    known = np.all(np.abs(flow) < UNKNOWN_FLOW, axis=-1, keepdims=True)  # false for NaN
    return OpticalFlow(np.where(known, flow, 0).astype(np.float32), (valid > 0) & known[..., 0])


def flow_size(path: Path) -> tuple[int, int]:
    """Height and width of a file's flow, without reading its pixels.

    Raises:
        InputError: As :func:`read_flow`.
    """
    if not path.is_file():
        raise InputError(f"The file {path} does not exist, expected optical flow: check the path.")
    if path.suffix != ".npz":
        return _flo_size(path) if path.suffix == ".flo" else read_flow(path).valid.shape  # the latter raises
    try:
        with zipfile.ZipFile(path) as archive, archive.open("flow.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape = read(member)[0]
    except Exception as error:  # damaged archives fail in several ways of their own
        raise InputError(
            f"{path} cannot be read ({error}), expected a NumPy archive with flow (H, W, 2): write it anew."
        ) from error
    return _require_flow_shape(shape, path)


def write_flow(path: Path, flow: NDArray, valid: NDArray) -> None:
    """Writes NSFF's .npz, whole or not at all: flow (H, W, 2) and valid (H, W)."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, flow=flow.astype(np.float32), mask=valid.astype(bool))


def write_flo(path: Path, flow: NDArray) -> None:
    """Writes Middlebury's .flo of a flow (H, W, 2), whole or not at all."""
    height, width = flow.shape[:2]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(np.array([FLO_MAGIC], "<f4").tobytes() + np.array([width, height], "<i4").tobytes())
        file.write(flow.astype("<f4").tobytes())


def _read_flo(path: Path) -> NDArray[np.float32]:
    height, width = _flo_size(path)
    values = np.frombuffer(path.read_bytes(), "<f4", offset=FLO_HEADER_BYTES)
    return values.reshape(height, width, 2)


def _flo_size(path: Path) -> tuple[int, int]:
    try:
        with path.open("rb") as file:
            header = file.read(FLO_HEADER_BYTES)
        num_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), expected a .flo file: check the path.") from error
    if len(header) < FLO_HEADER_BYTES or np.frombuffer(header, "<f4", 1)[0] != FLO_MAGIC:
        raise InputError(f"{path} does not begin with {FLO_MAGIC}, expected a .flo file: write it anew.")
    width, height = (int(number) for number in np.frombuffer(header, "<i4", 2, 4))
    expected = FLO_HEADER_BYTES + 8 * width * height
    if width < 1 or height < 1 or num_bytes != expected:
        raise InputError(
            f"{path} is {num_bytes} bytes long, expected {expected} for the {width}x{height} pixels that it says it "
            "has: write it anew."
        )
    return height, width


def _require_flow_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    if len(shape) != 3 or shape[-1] != 2:
        raise InputError(f"The flow of {path} has the shape {shape}, expected (H, W, 2): write it anew.")
    return shape[0], shape[1]
