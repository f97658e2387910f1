"""Optical flow on disk: NSFF's .npz, Middlebury's .flo, NumPy's .npy and KITTI's .png.

A flow holds, for every pixel, the displacement (dx, dy) in pixels, x to the right and y downwards, to where what is
seen there has moved in another image. Displacements do not depend on where the centre of a pixel is counted to be.

``.npz`` (Li et al., Neural Scene Flow Fields, CVPR 2021): ``flow`` (H, W, 2) and, optionally, ``mask`` (H, W), non-zero
where the flow may be trusted. ``.flo`` (Baker et al., A Database and Evaluation Methodology for Optical Flow, 2011):
the number 202021.25, width and height, then the displacements row by row; larger than 1e9 means unknown. ``.npy``: the
displacements (H, W, 2) alone. ``.png`` (Geiger et al., Are we ready for Autonomous Driving?, CVPR 2012): 16 bits in
three channels, dx and dy as 64 times the pixels plus 2^15, and whether they are known.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import atomic_path
from nf_plugins.data import validation
from nf_plugins.errors import InputError

FLO_MAGIC = 202021.25
UNKNOWN_FLOW = 1e9
FLO_HEADER_BYTES = 12
KITTI_ZERO, KITTI_STEPS = 2**15, 64
PNG_16_BIT_RGB = b"\x10\x02"
"""Bit depth and colour type in the header of a PNG, at ``PNG_KIND``."""
PNG_KIND = slice(24, 26)
SUFFIXES = (".npz", ".flo", ".npy", ".png")
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
    readers = {".npz": _read_npz, ".flo": _read_flo, ".npy": _read_npy, ".png": _read_png}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} is no file of optical flow, expected one of {', '.join(SUFFIXES)}.")
    flow, valid = readers[path.suffix.lower()](path)
    _require_flow_shape(flow.shape, path)
    if flow.dtype.kind not in "fiu":
        raise InputError(f"The flow of {path} is of the type {flow.dtype}, expected real numbers: write it anew.")
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
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return _require_flow_shape(_array_shape(path), path)
    if suffix in (".flo", ".png"):
        return _flo_size(path) if suffix == ".flo" else _png_size(path)
    return read_flow(path).valid.shape  # which raises


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


def _read_npz(path: Path) -> tuple[NDArray, NDArray | None]:
    arrays = validation.read_npz(path, "flow (H, W, 2) and mask (H, W)")
    if "flow" not in arrays:
        raise InputError(f"{path} holds {sorted(arrays)}, expected flow (H, W, 2) and mask (H, W): write it anew.")
    return arrays["flow"], arrays.get("mask")


def _read_flo(path: Path) -> tuple[NDArray, None]:
    height, width = _flo_size(path)
    values = np.frombuffer(path.read_bytes(), "<f4", offset=FLO_HEADER_BYTES)
    return values.reshape(height, width, 2), None


def _read_npy(path: Path) -> tuple[NDArray, None]:
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False), None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}), expected flow (H, W, 2): write it anew.") from error


def _read_png(path: Path) -> tuple[NDArray, NDArray]:
    import cv2

    _png_size(path)
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise InputError(f"{path} cannot be decoded, expected KITTI's flow, a .png of 16 bits: write it anew.")
    # OpenCV has the channels the other way round: known, dy, dx.
    return (pixels[..., 2:0:-1].astype(np.float32) - KITTI_ZERO) / KITTI_STEPS, pixels[..., 0]


def _array_shape(path: Path) -> tuple[int, ...]:
    """Of the array of a .npy, or of ``flow`` in a .npz, by its header."""
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive, archive.open("flow.npy") as member:
                return _shape_in_header(member)
        with path.open("rb") as file:
            return _shape_in_header(file)
    except Exception as error:  # damaged archives fail in several ways of their own
        raise InputError(f"{path} cannot be read ({error}), expected flow (H, W, 2): write it anew.") from error


def _shape_in_header(file: IO[bytes]) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[0]


def _png_size(path: Path) -> tuple[int, int]:
    header = validation.read_image_header(path)
    with path.open("rb") as file:
        kind = file.read(PNG_KIND.stop)[PNG_KIND]
    if kind != PNG_16_BIT_RGB:
        raise InputError(
            f"{path} has not three channels of 16 bits, expected KITTI's flow; a picture of flow in colours does not "
            "say how long it is: write the flow itself."
        )
    return header.height, header.width


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
