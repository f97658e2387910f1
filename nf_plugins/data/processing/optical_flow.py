"""Optical flow between two images by well-kept libraries: torchvision's RAFT, or OpenCV's DIS."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray
from torch.nn import functional

from nf_plugins.data.flow_consistency import resize_flow
from nf_plugins.errors import InputError

RAFT_UPDATES = 20
RAFT_MULTIPLE = 8
RAFT_SMALLEST_SIDE = 128
"""RAFT's coarsest correlation level is empty for smaller images."""
SECONDS_FOR_ANSWER = 10.0


@dataclass(frozen=True)
class FlowEstimator:
    """Finds flow."""

    name: Literal["raft", "dis"]
    weights: str
    """What its weights are called; empty without any."""
    estimate: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
    """Flow (H, W, 2) in pixels from the first image (H, W, 3) to the second."""

    def flow_at(
        self, first: NDArray[np.uint8], second: NDArray[np.uint8], long_side: int, size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Flow (H, W, 2) in pixels of images of ``size`` (H, W), searched with ``long_side`` pixels."""
        flow = self.estimate(bring_to_long_side(first, long_side), bring_to_long_side(second, long_side))
        return resize_flow(flow, *size)


def bring_to_long_side(image: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    """The image (H, W, 3) with its longer side of ``long_side`` pixels."""
    import cv2

    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale == 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)


def choose_flow_estimator(
    backend: Literal["auto", "raft", "dis"], weights: Path | None, earlier: str | None = None
) -> FlowEstimator:
    """RAFT or DIS.

    Args:
        backend: auto takes RAFT where its weights can be had.
        weights: A state dict; None for torchvision's own.
        earlier: What an earlier run that is gone on with took; auto takes the same.

    Raises:
        InputError: RAFT is asked for and its weights cannot be had.
    """
    if backend == "auto" and earlier in ("raft", "dis") and weights is None:
        backend = "raft" if earlier == "raft" else "dis"
    if backend == "dis" and weights is None:
        return dis_estimator()
    if backend == "dis":
        raise InputError(f"--flow-weights {weights} is given with --flow-backend dis, which has none: leave one out.")
    try:
        name, state = _raft_weights(weights)
        return raft_estimator(state, name)
    except InputError as error:
        if backend == "raft" or weights is not None:
            raise
        CONSOLE.print(f"[yellow]Flow by OpenCV's DIS, which is less accurate than RAFT. {error}", soft_wrap=True)
        return dis_estimator()


def raft_loaded_late(weights: Path | None) -> FlowEstimator:
    """RAFT whose weights are looked for when flow is first asked of it; see :func:`choose_flow_estimator`.

    Raises:
        InputError: torchvision is not installed. When flow is asked for: the weights cannot be had.
    """
    load = lru_cache(maxsize=1)(lambda: choose_flow_estimator("raft", weights))
    name = _torchvision_url().rpartition("/")[2] if weights is None else weights.name
    return FlowEstimator("raft", name, lambda first, second: load().estimate(first, second))


def dis_estimator() -> FlowEstimator:
    """Dense inverse search (Kroeger et al. 2016), OpenCV's preset MEDIUM."""
    import cv2

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]

    def estimate(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
        return np.asarray(search.calc(grey[0], grey[1], None), dtype=np.float32)

    return FlowEstimator("dis", "", estimate)


def raft_estimator(state: dict[str, torch.Tensor], name: str) -> FlowEstimator:
    """RAFT (Teed and Deng 2020) with a state dict of torchvision's raft_large or raft_small.

    Raises:
        InputError: The state dict is of neither.
    """
    from torchvision.models import optical_flow

    model = None
    for make in (optical_flow.raft_large, optical_flow.raft_small):
        with torch.device("meta"):  # no numbers are drawn that the state dict replaces
            candidate = make()
        if set(candidate.state_dict()) == set(state):
            model = candidate
            break
    if model is None:
        raise InputError(
            f"The weights {name} are not of torchvision's raft_large or raft_small, expected a state dict of one."
        )
    model.load_state_dict(state, assign=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network: Any = model.to(device).eval()

    @torch.no_grad()
    def estimate(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = first.shape[:2]
        pad = [max(-side % RAFT_MULTIPLE, RAFT_SMALLEST_SIDE - side) for side in (width, height)]
        images = [
            functional.pad(
                torch.from_numpy(image.copy()).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1,
                (0, pad[0], 0, pad[1]),
                mode="replicate",
            )
            for image in (first, second)
        ]
        flow = network(*images, num_flow_updates=RAFT_UPDATES)[-1]
        return flow[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()

    return FlowEstimator("raft", name, estimate)


def _raft_weights(path: Path | None) -> tuple[str, dict[str, torch.Tensor]]:
    """Name and state dict: of a file, or of torchvision's weights that were trained as NSFF's RAFT was."""
    if path is not None:
        return path.name, _load_state(path)
    url = _torchvision_url()
    name = url.rpartition("/")[2]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not cached.is_file():
        reason = _unreachable(url)
        if reason is not None:
            raise InputError(
                f"RAFT's weights cannot be fetched ({reason}): put {url} into {cached.parent}, or give a state dict "
                "with --flow-weights."
            )
        torch.hub.load_state_dict_from_url(url, map_location="cpu")
    return name, _load_state(cached)


def _torchvision_url() -> str:
    if importlib.util.find_spec("torchvision") is None:
        raise InputError("torchvision is not installed, expected it for RAFT.")
    from torchvision.models.optical_flow import Raft_Large_Weights

    return Raft_Large_Weights.C_T_V2.url


def _load_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in zipfile, pickle and torch, each in ways of its own
        raise InputError(f"The weights {path} cannot be read ({error}), expected a state dict of RAFT.") from error
    if not isinstance(state, dict):
        raise InputError(f"The weights {path} hold a {type(state).__name__}, expected a state dict of RAFT.")
    return state


def _unreachable(url: str) -> str | None:
    """Why a file cannot be fetched; None where it can. Found out soon, whereas torch would wait for minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return "HF_HUB_OFFLINE is set"
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=SECONDS_FOR_ANSWER):
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {getattr(error, 'reason', error)}"
