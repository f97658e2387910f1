"""Masks widened and narrowed by a square; beyond an image's border there is neither foreground nor background."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def widened(mask: Tensor, side: int) -> Tensor:
    """Pixels within a square around a pixel of the mask.

    Args:
        mask: bool (H, W, 1).
        side: Of the square in pixels; an even one is taken as the next odd one. Up to 1 leaves the mask as it is.

    Returns:
        bool (H, W, 1).
    """
    if side <= 1:
        return mask
    planes = mask.float().permute(2, 0, 1)[None]
    return functional.max_pool2d(planes, 2 * (side // 2) + 1, stride=1, padding=side // 2)[0].permute(1, 2, 0) > 0.5


def narrowed(mask: Tensor, side: int) -> Tensor:
    """Pixels whose square lies in the mask, as far as it lies in the image; see :func:`widened`."""
    return ~widened(~mask, side)
