"""DNA-Rendering's .smc files (HDF5).

::

    NAME.smc         Camera_5mp/CAMERA/color/FRAME     an encoded image (bytes), cameras 0 to 47
                     Camera_12mp/CAMERA/color/FRAME    likewise, cameras 48 to 59
    NAME_annots.smc  Camera_Parameter/CAMERA/K         (3, 3), pixels counted from the centre of the first one
                     Camera_Parameter/CAMERA/D         (5,): OpenCV's k1, k2, p1, p2, k3
                     Camera_Parameter/CAMERA/RT        (4, 4): camera to world, OpenCV axes, metres
                     Camera_Parameter/CAMERA/Color_Calibration   (3, 3): a, b, c of red, green, blue
                     Mask/CAMERA/mask/FRAME            an encoded image (bytes)

Cameras are numbered 00, 01, ... among the parameters and 0, 1, ... among images and masks; a number names a camera here
whichever way it is written. Frames are 0, 1, .... (Cheng et al., DNA-Rendering, ICCV 2023.)
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import require_finite_matrix
from nf_plugins.data.colour_correction import IDENTITY
from nf_plugins.errors import InputError

PICTURE_GROUPS = ("Camera_5mp", "Camera_12mp")
PARAMETERS, MASKS = "Camera_Parameter", "Mask"


class SmcCamera(NamedTuple):
    """A camera as the file has it."""

    intrinsics: NDArray[np.float64]
    """(3, 3), pixels; the centre of the first pixel is (0, 0)."""
    distortion: NDArray[np.float64]
    """(5,): k1, k2, p1, p2, k3."""
    camera_to_world: NDArray[np.float64]
    """(4, 4), OpenCV axes."""
    color_calibration: NDArray[np.float64]
    """(3, 3): a, b, c of red, green and blue; see :mod:`nf_plugins.data.colour_correction`."""


class SmcArchive:
    """An .smc file that is open for reading, in every thread by itself.

    Raises:
        InputError: The file is missing or no whole HDF5 file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._file()

    def __deepcopy__(self, memo: dict[int, Any]) -> SmcArchive:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return SmcArchive, (self.path,)

    @cached_property
    def picture_cameras(self) -> dict[str, str]:
        """The cameras with images, in natural order: the HDF5 group of each camera's frames, by its name."""
        found = {
            _name(key): f"{group}/{key}/color"
            for group in PICTURE_GROUPS
            for key in self._keys(group)
            if "color" in self._keys(f"{group}/{key}")
        }
        return {name: found[name] for name in sorted(found, key=validation.natural_key)}

    @cached_property
    def mask_cameras(self) -> dict[str, str]:
        """Likewise the groups of the masks."""
        return {
            _name(key): f"{MASKS}/{key}/mask" for key in self._keys(MASKS) if "mask" in self._keys(f"{MASKS}/{key}")
        }

    def cameras(self) -> dict[str, SmcCamera]:
        """All cameras with parameters, by name, in natural order; empty where the file has none.

        Raises:
            InputError: A camera lacks a matrix, or it has another shape or is not finite.
        """
        keys = sorted(self._keys(PARAMETERS), key=validation.natural_key)
        return {_name(key): self._camera(f"{PARAMETERS}/{key}") for key in keys}

    def num_frames(self, camera: str) -> int:
        """How many images of a camera there are."""
        return len(self._frames(self.picture_cameras[camera]))

    def frames_with_mask(self, camera: str) -> set[int]:
        """Numbers of the frames of a camera that have a mask."""
        if camera not in self.mask_cameras:
            return set()
        return {int(key) for key in self._keys(self.mask_cameras[camera]) if key.isdecimal()}

    def image_size(self, camera: str, frame: int = 0) -> tuple[int, int]:
        """Height and width of an image, without decoding it."""
        with self._open_image(self._picture_key(camera, frame)) as image:
            return image.height, image.width

    def image(self, camera: str, frame: int) -> NDArray[np.uint8]:
        """An image (H, W, 3), red first, uncorrected.

        Raises:
            InputError: It is missing or damaged.
        """
        return self._decoded(self._picture_key(camera, frame))

    def mask(self, camera: str, frame: int) -> NDArray[np.uint8]:
        """A mask (H, W): its channels' largest value.

        Raises:
            InputError: It is missing or damaged.
        """
        if camera not in self.mask_cameras:
            raise InputError(f"{self.path} has no masks of camera {camera}, expected Mask/{camera}/mask.")
        return self._decoded(f"{self.mask_cameras[camera]}/{frame}").max(axis=-1)

    def _picture_key(self, camera: str, frame: int) -> str:
        group = self.picture_cameras[camera]
        return f"{group}/{self._frames(group)[frame]}"

    def _frames(self, group: str) -> list[str]:
        cache: dict[str, list[str]] = self.__dict__.setdefault("_frame_keys", {})
        if group not in cache:
            cache[group] = sorted(self._keys(group), key=validation.natural_key)
        return cache[group]

    def _decoded(self, key: str) -> NDArray[np.uint8]:
        with self._open_image(key) as image:
            try:
                return np.asarray(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise InputError(
                    f"{key} of {self.path} is damaged ({error}), expected an image: copy it anew."
                ) from error

    def _open_image(self, key: str) -> Image.Image:
        encoded = np.asarray(self._value(key)).tobytes()
        try:
            return Image.open(io.BytesIO(encoded))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(
                f"{key} of {self.path} is no image ({error}), expected one: copy the file anew."
            ) from error

    def _camera(self, key: str) -> SmcCamera:
        def matrix(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
            value = np.asarray(self._value(f"{key}/{name}"))
            return require_finite_matrix(
                value.reshape(-1) if len(shape) == 1 else value, shape, f"{key}/{name} of {self.path}"
            )

        has_colours = "Color_Calibration" in self._keys(key)
        return SmcCamera(
            matrix("K", (3, 3)),
            matrix("D", (5,)),
            matrix("RT", (4, 4)),
            matrix("Color_Calibration", (3, 3)) if has_colours else IDENTITY,
        )

    def _keys(self, group: str) -> list[str]:
        """Names in a group; none where it is not there or is no group."""
        file = self._file()
        try:
            node = file[group] if group in file else {}
            return list(node) if isinstance(node, Mapping) else []
        except (OSError, RuntimeError, KeyError) as error:
            raise self._damaged(group, error) from error

    def _value(self, key: str) -> Any:
        try:
            return self._file()[key][()]
        except KeyError as error:
            raise InputError(f"{self.path} has no {key}, expected DNA-Rendering's .smc file: copy it anew.") from error
        except (OSError, RuntimeError) as error:
            raise self._damaged(key, error) from error

    def _damaged(self, key: str, error: Exception) -> InputError:
        return InputError(f"{key} of {self.path} cannot be read ({error}), expected a whole file: copy it anew.")

    def _file(self) -> Any:
        if not hasattr(self._local, "file"):
            import h5py

            if not self.path.is_file():
                raise InputError(f"The file {self.path} does not exist, expected DNA-Rendering's .smc: check the path.")
            try:
                self._local.file = h5py.File(self.path, "r")
            except OSError as error:
                raise InputError(
                    f"{self.path} cannot be read ({error}), expected a whole .smc file (HDF5): copy it anew."
                ) from error
        return self._local.file


def _name(key: str) -> str:
    """A camera's name in two figures, however its number is written."""
    return f"{int(key):02d}" if key.isdecimal() else key
