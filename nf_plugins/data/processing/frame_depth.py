"""Inverse depth of frames: by a network of the transformers package, or from files."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nf_plugins.data.flow_triangulation import fill_smoothly
from nf_plugins.data.monocular_files import CONSTANT_DISPARITY
from nf_plugins.errors import InputError

DEPTH_SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff")
METRIC_MODELS = ("zoedepth", "glpn", "depth_pro")
"""Kinds of transformers' networks that give depth in metres, whatever their weights."""
WHOLLY_KNOWN = 0.999
"""The share of known pixels in a new one; sums of weights are not quite 1."""
DepthNetwork = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From an image (H, W, 3) to inverse depth (h, w) of any scale and shift, at the network's own size."""
EXPECTED = f"a depth map per frame ({', '.join(DEPTH_SUFFIXES)})"


def load_depth_network(name: str) -> DepthNetwork:
    """A depth network of the transformers package, by its name on the hub or its folder.

    Raises:
        InputError: transformers is not installed, or the model cannot be had or gives depth instead of its inverse.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError("The package transformers is not installed, expected it for depth by a network.")
    transformers: Any = importlib.import_module("transformers")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
        network = transformers.AutoModelForDepthEstimation.from_pretrained(name)
    except Exception as error:  # the hub, the cache and the files fail in ways of their own
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"The depth model {name} cannot be had ({first_line}): fetch it with a connection to the net, or give its "
            "folder with --depth-model."
        ) from error
    _require_inverse_depth(name, getattr(network, "config", None))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()

    @torch.no_grad()
    def disparity_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        inputs = processor(images=image, return_tensors="pt").to(device)
        return network(**inputs).predicted_depth[0].float().cpu().numpy()

    return disparity_of


def depth_network_loaded_late(name: str) -> DepthNetwork:
    """The same, loaded when depth is first asked of it."""
    load = lru_cache(maxsize=1)(lambda: load_depth_network(name))

    def disparity_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return load()(image)

    return disparity_of


def _require_inverse_depth(name: str, config: Any) -> None:
    """Raises InputError for a network of metric depth, which grows where inverse depth falls."""
    metric = getattr(config, "depth_estimation_type", None) == "metric"
    if metric or getattr(config, "model_type", None) in METRIC_MODELS:
        raise InputError(
            f"The depth model {name} gives metric depth, expected one of inverse depth, such as the default of "
            "--depth-model. Or write its maps to files and give --depth-folder with --depth-kind metric."
        )


def read_depth_file(path: Path) -> NDArray[np.float32]:
    """The numbers of a depth file (h, w), as they are.

    Raises:
        InputError: It cannot be read, or is no map.
    """
    from PIL import Image

    try:
        if path.suffix.lower() in (".npy", ".npz"):
            content = np.load(path, allow_pickle=False)
            values = content if isinstance(content, np.ndarray) else content[content.files[0]]
        else:
            with Image.open(path) as image:
                values = np.asarray(image)
        values = np.squeeze(values).astype(np.float32)
    except Exception as error:  # arrays and images fail in NumPy, zipfile and Pillow, each in ways of its own
        raise InputError(f"The depth map {path} cannot be read ({error}), expected {EXPECTED}.") from error
    if values.ndim != 2:
        raise InputError(f"The depth map {path} is {values.shape}, expected (H, W): write one number per pixel.")
    return values


def read_disparity_file(path: Path, kind: Literal["disparity", "metric"]) -> NDArray[np.float32]:
    """Inverse depth of a depth file (h, w); NaN where it is unknown, see :func:`disparity_from`.

    Raises:
        InputError: It cannot be read, is no map, or is known nowhere or the same wherever it is known.
    """
    disparity = disparity_from(read_depth_file(path), kind)
    known = disparity[np.isfinite(disparity)]
    if not known.size:
        above = " and above 0" if kind == "metric" else ""
        raise InputError(
            f"The depth map {path} is finite{above} nowhere, expected depth of some pixels: check --depth-kind {kind}, "
            "or leave depth out with --depth-backend none."
        )
    if np.ptp(known) <= CONSTANT_DISPARITY * np.abs(known).max():
        raise InputError(
            f"The depth map {path} is the same everywhere, expected one that says something: find depth by other "
            "means, or leave it out with --depth-backend none."
        )
    return disparity


def disparity_from(values: NDArray[np.float32], kind: Literal["disparity", "metric"]) -> NDArray[np.float32]:
    """Inverse depth (H, W) of a map; NaN where it is unknown: not finite, or depth that is not above 0."""
    known = np.isfinite(values) if kind == "disparity" else np.isfinite(values) & (values > 0)
    disparity = 1.0 / np.where(known, values, 1.0) if kind == "metric" else values
    return np.where(known, disparity, np.nan).astype(np.float32)


def resample_known(
    disparity: NDArray[np.float32], change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """A map (h, w) with gaps (NaN) through a linear change of its pixels, such as a resize.

    The gaps are filled smoothly for it, so that their borders stay sharp, and are gaps again afterwards: a new pixel is
    known where all that goes into it is.

    Args:
        disparity: Known somewhere.
        change: From a map (h, w) without gaps to another one (H, W).
    """
    known = np.isfinite(disparity)
    if known.all():
        return change(disparity)
    changed = change(fill_smoothly(disparity, known.astype(np.float64)))
    return np.where(change(known.astype(np.float32)) > WHOLLY_KNOWN, changed, np.nan).astype(np.float32)


def resize_map(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w) at another size (H, W), bilinear, averaging where it becomes smaller."""
    if values.shape == size:
        return values
    image = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    resized = functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized[0, 0].numpy()
