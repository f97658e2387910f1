"""Image metrics, over whole images and over the foreground only.

All images are float ``(H, W, 3)`` in [0, 1], all masks ``(H, W, 1)`` in [0, 1]. Whole-image SSIM and LPIPS come
from torchmetrics, as nerfstudio's do; it is imported at first use, because that takes seconds.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03
SMALLEST_OPACITY = 1e-3


def psnr(predicted: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1.

    Args:
        predicted: Image (H, W, 3).
        target: Image (H, W, 3).
        mask: With a mask, the squared error is averaged over the mask's pixels only, weighted by the mask.

    Returns:
        ``-10 log10(mean squared error)``; inf for equal images, nan for an empty mask.
    """
    squared_error = (predicted - target).cpu().double().square().mean(dim=-1, keepdim=True)
    if mask is None:
        mean_squared_error = squared_error.mean()
    else:
        weights = mask.cpu().double()
        mean_squared_error = (squared_error * weights).sum() / weights.sum()
    return float(-10.0 * torch.log10(mean_squared_error))


def ssim(predicted: Tensor, target: Tensor) -> float | None:
    """Structural similarity of whole images (Wang et al. 2004), from torchmetrics' map of it.

    Gaussian window of 11 x 11 pixels, sigma 1.5, k1 = 0.01, k2 = 0.03, averaged over the windows that lie wholly
    inside the image, as in the original and in the published numbers of this field. (``ns-eval`` averages over
    reflected borders too and differs in the third digit.)

    Args:
        predicted: Image (H, W, 3).
        target: Image (H, W, 3).

    Returns:
        The mean, at most 1; None when the image is smaller than one window.
    """
    if min(predicted.shape[:2]) < SSIM_WINDOW:
        return None
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, similarity = structural_similarity_index_measure(
        _to_batch(predicted),
        _to_batch(target),
        sigma=SSIM_SIGMA,
        data_range=1.0,
        k1=SSIM_K1,
        k2=SSIM_K2,
        return_full_image=True,
    )
    border = SSIM_WINDOW // 2
    return float(similarity[..., border:-border, border:-border].mean())


def masked_ssim(
    predicted: Tensor, target: Tensor, mask: Tensor, average: Literal["mask", "windows"] = "mask"
) -> float | None:
    """Structural similarity that sees no pixel outside the mask.

    The windowed means and (co)variances of SSIM become partial convolutions, as in dycheck (Gao et al. 2022, after
    Liu et al. 2018, section 3.1): in each of the two one-dimensional Gaussian passes the masked-out pixels count as
    zero and the sum is scaled by (window length) / (number of mask pixels under the window); a window over no mask
    pixel is empty and takes no part in the next pass. Variances are kept non-negative and the covariance within the
    Cauchy-Schwarz bound, which the scaling could break.

    Args:
        predicted: Image (H, W, 3).
        target: Image (H, W, 3).
        mask: (H, W, 1), thresholded at 0.5.
        average: "mask" averages over windows centred on a mask pixel. "windows" averages over all windows, as dycheck
            does; empty windows then count as 1, so that a small subject always scores high.

    Returns:
        The mean; with a mask of ones both averages equal :func:`ssim`. None when the image is smaller than a window
        or the average is over nothing.
    """
    if min(predicted.shape[:2]) < SSIM_WINDOW:
        return None
    weights = (mask > 0.5).cpu().double()[..., 0]
    first, second = predicted.cpu().double().permute(2, 0, 1), target.cpu().double().permute(2, 0, 1)
    moments = torch.stack([first, second, first * first, second * second, first * second])
    mean1, mean2, square1, square2, product = _masked_blur(moments, weights)
    variance1 = (square1 - mean1 * mean1).clamp(min=0.0)
    variance2 = (square2 - mean2 * mean2).clamp(min=0.0)
    bound = (variance1 * variance2).sqrt()
    covariance = torch.minimum(torch.maximum(product - mean1 * mean2, -bound), bound)
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1.square() + mean2.square() + c1) * (variance1 + variance2 + c2)
    )
    similarity = similarity.mean(dim=0)
    if average == "windows":
        return float(similarity.mean())
    border = SSIM_WINDOW // 2
    centres = weights[border:-border, border:-border] > 0
    return float(similarity[centres].mean()) if centres.any() else None


def mask_iou(predicted: Tensor, mask: Tensor) -> float | None:
    """Intersection over union of an accumulation image and a mask, both thresholded at 0.5.

    Returns:
        A value in [0, 1]; None when both are empty.
    """
    inside, truth = predicted > 0.5, mask > 0.5
    union = (inside | truth).sum()
    return float((inside & truth).sum() / union) if union > 0 else None


def mask_cross_entropy(predicted: Tensor, mask: Tensor) -> float:
    """Mean binary cross entropy (nats) of an accumulation image and a mask, as ResFields reports it.

    The accumulation is kept 0.001 away from 0 and 1, the mask is thresholded at 0.5.
    """
    opacity = predicted.cpu().double().clamp(SMALLEST_OPACITY, 1.0 - SMALLEST_OPACITY)
    return float(torch.nn.functional.binary_cross_entropy(opacity, (mask > 0.5).cpu().double()))


def _masked_blur(images: Tensor, mask: Tensor) -> Tensor:
    """Separable Gaussian partial convolution over valid windows.

    Args:
        images: (*batch, H, W).
        mask: (H, W) of zeros and ones.

    Returns:
        (*batch, H - 10, W - 10).
    """
    batch = images.shape[:-2]
    images, mask = images.reshape(-1, 1, *images.shape[-2:]), mask[None, None]
    offsets = torch.arange(SSIM_WINDOW, dtype=images.dtype, device=images.device) - SSIM_WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / SSIM_SIGMA).square())
    kernel = kernel / kernel.sum()
    for shape in ((1, 1, 1, SSIM_WINDOW), (1, 1, SSIM_WINDOW, 1)):
        blurred = torch.nn.functional.conv2d(images * mask, kernel.view(shape))
        count = torch.nn.functional.conv2d(mask, torch.ones_like(kernel).view(shape))
        images = blurred * SSIM_WINDOW / count.clamp(min=1.0)
        mask = (count > 0.5).to(images.dtype)
    return (images * mask).reshape(*batch, *images.shape[-2:])


def _to_batch(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)[None].float().clamp(0.0, 1.0)
