"""A small 3-D U-Net that turns a cost volume into a score for every plane (ENeRF, SIGGRAPH Asia 2022, Sec. 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SIZE_MULTIPLE = 8
"""Volumes are padded to multiples of this."""
FEATURE_DIM = 8
"""Channels of the features before the scores."""


class VolumeBlock(nn.Module):
    """3 x 3 x 3 convolution (or its transpose, which doubles the size) without bias, normalisation without parameters,
    ReLU.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: 2 halves the size.
        doubles: Transposed with stride 2 instead.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, doubles: bool = False) -> None:
        super().__init__()
        if doubles:
            self.conv: nn.Module = nn.ConvTranspose3d(
                in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=False
            )
        else:
            self.conv = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(1, in, D, h, w)`` -> ``(1, out, ...)``."""
        x = self.conv(x)
        # A single value has no variance to be divided by.
        return F.relu(x if x[0, 0].numel() == 1 else F.instance_norm(x))


class VolumeRegulariser(nn.Module):
    """Three halvings, three doublings, additive skips.

    Args:
        in_channels: Channels of the cost volume.
    """

    def __init__(self, in_channels: int = 32) -> None:
        super().__init__()
        self.at_full = VolumeBlock(in_channels, FEATURE_DIM)
        self.at_half = nn.Sequential(VolumeBlock(8, 16, stride=2), VolumeBlock(16, 16))
        self.at_quarter = nn.Sequential(VolumeBlock(16, 32, stride=2), VolumeBlock(32, 32))
        self.at_eighth = nn.Sequential(VolumeBlock(32, 64, stride=2), VolumeBlock(64, 64))
        self.to_quarter = VolumeBlock(64, 32, doubles=True)
        self.to_half = VolumeBlock(32, 16, doubles=True)
        self.to_full = VolumeBlock(16, FEATURE_DIM, doubles=True)
        self.score = nn.Conv3d(FEATURE_DIM, 1, 3, padding=1, bias=False)

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and features.

        Args:
            volume: ``(C, D, h, w)`` of any size; padded to multiples of 8 by its border, and cut back.

        Returns:
            Logits ``(D, h, w)`` and features ``(8, D, h, w)``.
        """
        depth, height, width = volume.shape[1:]
        padding = [amount for size in (width, height, depth) for amount in (0, -size % SIZE_MULTIPLE)]
        full = self.at_full(F.pad(volume[None], padding, mode="replicate"))
        half = self.at_half(full)
        quarter = self.at_quarter(half)
        up = quarter + self.to_quarter(self.at_eighth(quarter))
        up = half + self.to_half(up)
        up = full + self.to_full(up)
        cut = (slice(None), slice(None), slice(depth), slice(height), slice(width))
        return self.score(up)[cut][0, 0], up[cut][0]
