"""Image features at three resolutions (the feature pyramid of Lin et al., *Efficient Neural Radiance Fields for
Interactive Free-viewpoint Video*, SIGGRAPH Asia 2022)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nf_plugins.errors import InputError

Normalisation = Literal["instance", "masked"]
CHANNELS = (8, 16, 32)
"""Of the outputs: full, half and quarter resolution."""
SIZE_MULTIPLE = 4
"""Heights and widths have to be multiples of this."""
NORM_EPS = 1e-5


class ConvBlock(nn.Module):
    """Convolution without bias, normalisation of every image by itself without parameters, ReLU.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel_size: Side of the kernel.
        stride: Of the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(N, in, h, w)`` -> ``(N, out, h / stride, w / stride)``; with a mask ``(N, 1, ...)`` of the output's size
        means and variances are those of the masked pixels, and the others become 0."""
        x = self.conv(x)
        return F.relu(F.instance_norm(x, eps=NORM_EPS) if mask is None else _masked_norm(x, mask))


def _masked_norm(x: Tensor, mask: Tensor) -> Tensor:
    total = mask.sum(dim=(-2, -1), keepdim=True).clamp(min=1.0)
    mean = (x * mask).sum(dim=(-2, -1), keepdim=True) / total
    variance = ((x - mean).square() * mask).sum(dim=(-2, -1), keepdim=True) / total
    return (x - mean) * (variance + NORM_EPS).rsqrt() * mask


class FeaturePyramid(nn.Module):
    """Features of images at full, half and quarter resolution: two strided stages down, additive laterals up.

    Args:
        normalisation: ``instance`` (published) takes means and variances over the whole canvas, so that features depend
            on how much background was padded. ``masked`` takes them over the foreground and sets the rest to 0: an
            image's features then do not depend on the canvas it was placed on (by multiples of 4 pixels, and a few
            pixels off its edges).
    """

    def __init__(self, normalisation: Normalisation = "instance") -> None:
        super().__init__()
        full, half, quarter = CHANNELS
        self.normalisation = normalisation
        self.stage0 = nn.ModuleList([ConvBlock(3, full), ConvBlock(full, full)])
        self.stage1 = nn.ModuleList([ConvBlock(full, half, 5, 2), ConvBlock(half, half)])
        self.stage2 = nn.ModuleList([ConvBlock(half, quarter, 5, 2), ConvBlock(quarter, quarter)])
        self.top = nn.Conv2d(quarter, quarter, 1)
        self.lateral1 = nn.Conv2d(half, quarter, 1)
        self.lateral0 = nn.Conv2d(full, quarter, 1)
        self.smooth1 = nn.Conv2d(quarter, half, 3, padding=1)
        self.smooth0 = nn.Conv2d(quarter, full, 3, padding=1)

    def forward(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Features of images.

        Args:
            images: ``(N, 3, h, w)`` in [-1, 1], height and width multiples of 4.
            masks: ``(N, 1, h, w)``; needed by the masked normalisation, otherwise not looked at.

        Returns:
            ``(N, 8, h, w)``, ``(N, 16, h / 2, w / 2)`` and ``(N, 32, h / 4, w / 4)``. Pixel i of the last lies on
            pixel 4 i of the images.

        Raises:
            InputError: Sizes that do not fit, or no masks.
        """
        height, width = images.shape[-2:]
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise InputError(
                f"The feature pyramid got images of {width}x{height} pixels, expected multiples of {SIZE_MULTIPLE}: "
                "pad them (SourceViews.batch does)."
            )
        masked = self.normalisation == "masked"
        levels: list[Tensor | None] = [None, None, None]
        if masked:
            if masks is None:
                raise InputError("The feature pyramid with normalisation 'masked' needs masks and got none.")
            levels = [masks, _halved(masks), _halved(_halved(masks))]
            images = images * masks
        level0 = _run(self.stage0, images, levels[0])
        level1 = _run(self.stage1, level0, levels[1])
        level2 = _run(self.stage2, level1, levels[2])
        features2 = self.top(level2)
        features1 = _doubled(features2, align_corners=not masked) + self.lateral1(level1)
        features0 = _doubled(features1, align_corners=not masked) + self.lateral0(level0)
        return self.smooth0(features0), self.smooth1(features1), features2


def _run(blocks: nn.ModuleList, x: Tensor, mask: Tensor | None) -> Tensor:
    for block in blocks:
        x = block(x, mask)
    return x


def _halved(mask: Tensor) -> Tensor:
    return F.max_pool2d(mask, 3, stride=2, padding=1)


def _doubled(x: Tensor, align_corners: bool) -> Tensor:
    # Aligned corners (published) stretch by (2 n - 1) / (n - 1), which depends on the size of the canvas.
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)
