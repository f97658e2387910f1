"""LPIPS that needs no network until it is asked for, and does without when there is none."""

from __future__ import annotations

import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

CONNECTION_SECONDS = 5.0
"""How long the host of the weights may take to answer, and the longest pause within the download."""

WEIGHTS_ENUMS = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
SMALLEST_SIDE = {"alex": 64, "vgg": 16, "squeeze": 32}
"""The smallest image side in pixels that survives the poolings of each backbone."""


class LazyLPIPS:
    """Learned perceptual image patch similarity (Zhang et al. 2018) through torchmetrics, built at first use.

    The backbone's weights come from torchvision (244 MB for "alex", nerfstudio's choice), out of its cache or, once,
    from the network. Where they cannot be had, one line says so and every later call returns None at once.
    """

    def __init__(self, net_type: Literal["alex", "vgg", "squeeze"] = "alex") -> None:
        self.net_type: Literal["alex", "vgg", "squeeze"] = net_type
        self._network: Any = None
        self._reason_absent: str | None = None

    def __call__(self, predicted: Tensor, target: Tensor, mask: Tensor | None = None) -> float | None:
        """LPIPS of two images, lower is more alike.

        Args:
            predicted: Image (H, W, 3) in [0, 1].
            target: Image (H, W, 3) in [0, 1].
            mask: (H, W, 1). With a mask both images are set to black outside it, as in dycheck (Gao et al. 2022),
                and the per-pixel distance map is averaged over the mask. Should torchmetrics stop giving a map, the
                plain distance of the two blackened images is returned.

        Returns:
            The distance; None without weights, for images too small for the backbone, or for an empty mask.
        """
        if min(predicted.shape[:2]) < SMALLEST_SIDE[self.net_type] or (mask is not None and not mask.any()):
            return None
        if not self._ready():
            return None
        self._network.to(predicted.device)
        if mask is not None:
            predicted, target = predicted * mask, target * mask
        batches = [image.permute(2, 0, 1)[None].float().clamp(0.0, 1.0) for image in (predicted, target)]
        spatial = mask is not None and hasattr(self._network, "spatial")
        if hasattr(self._network, "spatial"):
            self._network.spatial = spatial
        with torch.no_grad():
            distance = self._network(*batches, normalize=True)
        if spatial and mask is not None:
            weights = mask[..., 0].to(distance)
            return float((distance[0, 0] * weights).sum() / weights.sum())
        return float(distance.mean())

    def layer_maps(self, predicted: Tensor, target: Tensor) -> list[Tensor] | None:
        """The distance in each layer of the backbone, before it is averaged over the layer's pixels and summed.

        Args:
            predicted: Image (H, W, 3) in [0, 1].
            target: Image (H, W, 3) in [0, 1].

        Returns:
            Maps (H_l, W_l), each of its layer's own size; None without weights or for images too small for the
            backbone.
        """
        if min(predicted.shape[:2]) < SMALLEST_SIDE[self.net_type] or not self._ready():
            return None
        self._network.to(predicted.device)
        batches = [image.permute(2, 0, 1)[None].float().clamp(0.0, 1.0) for image in (predicted, target)]
        maps: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _, __, output: maps.append(output[0, 0])) for layer in self._network.lins
        ]
        try:
            with torch.no_grad():
                self._network(*batches, normalize=True)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    @property
    def available(self) -> bool | None:
        """True or False once it was tried, None before the first use."""
        if self._network is None and self._reason_absent is None:
            return None
        return self._network is not None

    def _ready(self) -> bool:
        if self._network is None and self._reason_absent is None:
            try:
                self._network = self._build()
            except Exception as error:
                self._reason_absent = str(error) or type(error).__name__
                CONSOLE.print(
                    f"LPIPS is left out: its weights are neither cached nor to be had ({self._reason_absent}).",
                    style="yellow",
                    soft_wrap=True,
                )
        return self._network is not None

    def _build(self) -> Any:
        url = backbone_url(self.net_type)
        if not cached_weights_path(url).exists():
            require_answer(url)
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        previous = socket.getdefaulttimeout()
        socket.setdefaulttimeout(CONNECTION_SECONDS)
        try:
            return LearnedPerceptualImagePatchSimilarity(net_type=self.net_type, normalize=True).net.eval()
        finally:
            socket.setdefaulttimeout(previous)


def backbone_url(net_type: str) -> str:
    """Where torchvision fetches the backbone's weights from."""
    import torchvision

    return getattr(torchvision.models, WEIGHTS_ENUMS[net_type]).DEFAULT.url


def cached_weights_path(url: str) -> Path:
    """Where torch.hub keeps the file of a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def require_answer(url: str) -> None:
    """Ask the host for the head of a file, in a thread, because looking up a host name knows no time limit.

    Raises:
        ConnectionError: when there is no answer within ``CONNECTION_SECONDS``.
    """
    problems: list[BaseException] = [TimeoutError(f"no answer within {CONNECTION_SECONDS:g} s")]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECTION_SECONDS):
                problems.clear()
        except Exception as error:
            problems[:] = [error]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECTION_SECONDS)
    if problems:
        raise ConnectionError(f"{url}: {problems[0]}")
