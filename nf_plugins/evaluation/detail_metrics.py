"""How much of an image's fine texture a render has, without a learned metric.

Both images lose their low frequencies: a Gaussian blur that sees nothing outside the mask is subtracted. What is left
is texture finer than about ``2 pi sigma`` pixels, and no silhouette. Colours that are right on average and blurred
score well in PSNR and badly here.

Images are float (H, W, 3) in [0, 1], masks (H, W, 1), taken as foreground above one half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nf_plugins.model_components.square_morphology import narrowed

SIGMA = 2.0
"""Of the blur, in pixels."""


def detail_psnr(predicted: Tensor, truth: Tensor, mask: Tensor | None = None, sigma: float = SIGMA) -> float | None:
    """PSNR in dB, for a peak of 1, of what a blur takes away from both images.

    Args:
        predicted: Image (H, W, 3).
        truth: Image (H, W, 3).
        mask: (H, W, 1); the error is averaged over it without a rim of ``2 sigma`` pixels. None takes the whole image.
        sigma: Of the blur, in pixels.

    Returns:
        A render without any texture gets ``-20 log10`` of the root mean square of the true texture; inf for equal
        textures. None where nothing is left of the mask.
    """
    fine = _fine_parts(predicted, truth, mask, sigma)
    if fine is None:
        return None
    error = float((fine[0] - fine[1]).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def detail_energy(predicted: Tensor, truth: Tensor, mask: Tensor | None = None, sigma: float = SIGMA) -> float | None:
    """Standard deviation of a render's fine texture over that of the truth; 1 is as much, above 1 is noise.

    See :func:`detail_psnr` for the arguments. None also where the truth has no texture.
    """
    fine = _fine_parts(predicted, truth, mask, sigma)
    if fine is None:
        return None
    deviation = [float((part - part.mean(dim=0)).square().mean().sqrt()) for part in fine]
    return deviation[0] / deviation[1] if deviation[1] > 1e-6 else None


def masked_blur(image: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """Gaussian means over the pixels of a mask alone (H, W, C), float64; 0 where none is near.

    Args:
        image: (H, W, C).
        mask: (H, W, 1) of zeros and ones.
        sigma: In pixels; the window reaches three of them to every side.
    """
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    weights = mask.cpu().double()
    planes = torch.cat([image.cpu().double() * weights, weights], dim=-1).permute(2, 0, 1)[:, None]
    planes = functional.conv2d(planes, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    planes = functional.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, radius))[:, 0].permute(1, 2, 0)
    sums, total = planes[..., :-1], planes[..., -1:]
    return torch.where(total > 0, sums / total.clamp(min=1e-300), 0.0)


def _fine_parts(predicted: Tensor, truth: Tensor, mask: Tensor | None, sigma: float) -> list[Tensor] | None:
    """Both images without their low frequencies, over the eroded mask, (K, 3) each."""
    ones = torch.ones_like(truth[..., :1]) if mask is None else (mask > 0.5).to(truth)
    inside = narrowed(ones > 0.5, 2 * math.ceil(2 * sigma) + 1)[..., 0].cpu()
    if not bool(inside.any()):
        return None
    return [(image.cpu().double() - masked_blur(image, ones, sigma))[inside] for image in (predicted, truth)]
