"""Images between two key times: planes of samples are pushed along the scene flow and composited (NSFF, Sec. 3.4).

In normalised device coordinates the k-th samples of all rays of an image lie on one plane; in contracted space they lie
on a shell around the camera, which takes the plane's part. Every plane of either key time is splatted forwards on its
own, many planes at once, and stays at its place in the order from front to back, as in a multiplane image. Pixel
coordinates have their origin at the corner of the first pixel, whose centre is (0.5, 0.5).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.model_components.blended_rendering import TRANSMITTANCE_OFFSET
from nf_plugins.model_components.ndc import NDCFrame, project
from nf_plugins.model_components.sample_space import Reach, SampleSpace

SMALLEST_WEIGHT = 1e-7
"""Added to the sum of splatting weights: pixels that nothing reaches become 0."""

SAMPLES_AT_ONCE = 2**16
"""Samples that a CPU splats at once: more of them leave its cache, and take three times as long."""
SAMPLES_AT_ONCE_ON_GPU = 2**22
"""Takes about half a gigabyte."""


class Splat(NamedTuple):
    """Planes after splatting."""

    values: Tensor
    """``(*planes, H, W, C)``, averages of what arrived; 0 where nothing did."""
    weights: Tensor
    """How much arrived, ``(*planes, H, W)``; 1 everywhere if nothing moves."""


class DynamicPlanes(NamedTuple):
    """The dynamic field at a key time, at the samples of the camera that is to be shown."""

    rgb: Tensor
    """``(P, H, W, 3)``."""
    opacity: Tensor
    """Blend weight times opacity, ``(P, H, W)``."""
    pixels: Tensor
    """Column and row that each sample has moved to, ``(P, H, W, 2)``."""


class StaticPlanes(NamedTuple):
    """The static field at the samples of the camera that is to be shown."""

    rgb: Tensor
    """``(P, H, W, 3)``."""
    opacity: Tensor
    """One minus the blend weight, times opacity, ``(P, H, W)``."""


class PlaneRender(NamedTuple):
    """An image composited of planes."""

    rgb: Tensor
    """``(H, W, 3)``."""
    ray_parameter: Tensor
    """Sum of weights times ray parameters, ``(H, W)``."""
    accumulation: Tensor
    """Share of the light that the planes gave or stopped, ``(H, W)``."""
    weight_sum: Tensor
    """Sum of weights, ``(H, W)``; above the accumulation where both fields are opaque in one plane."""


def planes_from_rays(values: Tensor, height: int, width: int) -> Tensor:
    """Samples of an image's rays in row order, ``(H * W, P, *channels)``, as planes ``(P, H, W, *channels)``."""
    return values.transpose(0, 1).unflatten(1, (height, width))


def moved_pixels(
    points: Tensor,
    flow: Tensor,
    fraction: float,
    space: SampleSpace,
    camera_to_world: Tensor,
    *,
    intrinsics: NDCFrame | Tensor,
    reach: Reach = "pixels",
) -> Tensor:
    """Where a camera sees samples that have gone a fraction of their scene flow, straight in the world.

    Args:
        points: Sample coordinates ``(*batch, 3)``.
        flow: To the other key time, sample coordinates ``(*batch, 3)``.
        fraction: 0 leaves the samples where they are, 1 moves them to the other key time.
        space: The coordinates.
        camera_to_world: OpenGL pose ``(3, 4)``.
        intrinsics: ``(4,)`` or a frame, as in :func:`project`.
        reach: How far away samples may be; "unlimited", as published, lets flow that crosses the far plane of
            normalised device coordinates turn back through the camera.

    Returns:
        Column and row ``(*batch, 2)``; infinite where the space gives no pixel (``least_depth``).
    """
    start, end = space.world(points, reach), space.world(points + flow, reach)
    return project(start + fraction * (end - start), camera_to_world, intrinsics, space.least_depth(reach))


def splat(values: Tensor, pixels: Tensor) -> Splat:
    """Pushes every pixel of every plane to where it has moved, averaging where several meet.

    A pixel gives to the four pixels around its new place, bilinearly. What falls outside the image, or has no finite
    place, is dropped. Planes do not mix. On a GPU the order of summation, and with it the last digits, may vary.

    Args:
        values: ``(*planes, H, W, C)``.
        pixels: New column and row of each pixel's centre, ``(*planes, H, W, 2)``, in float32 or better.
    """
    planes, (height, width, channels) = values.shape[:-3], values.shape[-3:]
    # Places outside, infinite or undefined are held on a frame of pixels around the image that is cut off in the end.
    # Channels come first: on a CPU rows of five numbers take twice the time.
    places = pixels.reshape(-1, height * width, 2)
    column = torch.where(places[..., 0].isfinite(), places[..., 0] - 0.5, -1.0).clamp(-1, width)
    row = torch.where(places[..., 1].isfinite(), places[..., 1] - 0.5, -1.0).clamp(-1, height)
    left, top = column.detach().floor(), row.detach().floor()
    framed_height, framed_width = height + 3, width + 3
    first_of_plane = framed_height * framed_width * torch.arange(len(places), device=places.device)[:, None]
    index = ((top.long() + 1) * framed_width + left.long() + 1 + first_of_plane).flatten()
    right, bottom = (column - left).flatten(), (row - top).flatten()
    payload = values.reshape(-1, channels).T.to(torch.promote_types(values.dtype, pixels.dtype)).contiguous()
    total = payload.new_zeros(channels, len(places) * framed_height * framed_width)
    arrived = torch.zeros_like(total[0])
    for offset, weight in (
        (0, (1 - right) * (1 - bottom)),
        (1, right * (1 - bottom)),
        (framed_width, (1 - right) * bottom),
        (framed_width + 1, right * bottom),
    ):
        total[:, offset:].index_add_(1, index, weight * payload)
        arrived[offset:].index_add_(0, index, weight.to(payload.dtype))
    averages = (total / (arrived + SMALLEST_WEIGHT)).view(channels, *planes, framed_height, framed_width)
    arrived = arrived.view(*planes, framed_height, framed_width)
    return Splat(averages[..., 1:-2, 1:-2].movedim(0, -1), arrived[..., 1:-2, 1:-2])


def planes_at_once(pixels_per_plane: int, device: torch.device) -> int:
    """How many planes of this size are best splatted at once, at least 1."""
    samples = SAMPLES_AT_ONCE if device.type == "cpu" else SAMPLES_AT_ONCE_ON_GPU
    return max(1, samples // pixels_per_plane)


def composite_planes(
    first: DynamicPlanes,
    second: DynamicPlanes | None,
    static: StaticPlanes,
    fraction: float,
    ray_parameters: Tensor,
    *,
    planes_per_chunk: int | None = None,
) -> PlaneRender:
    """The image at a fraction of the way from one key time to the next.

    The key times' planes are splatted and mixed by the fraction, each with the static planes in front of and behind it;
    static planes stay where they are, which is where splatting would put them.

    Args:
        first: The key time before, moved by the fraction of its forward flow.
        second: The key time after, moved by one minus the fraction of its backward flow; None at fraction 0, where the
            result is the ordinary blended render of the first.
        static: The static field.
        fraction: In [0, 1).
        ray_parameters: Of the planes, ``(P,)``, from near to far.
        planes_per_chunk: Planes that are splatted at once; bounds memory. None takes what suits the device.
    """
    if second is None and fraction != 0:
        raise ValueError(f"the fraction {fraction:g} needs both key times")
    rgb = torch.zeros_like(first.rgb[0])
    depth = torch.zeros_like(first.opacity[0])
    weight_sum = torch.zeros_like(depth)
    arriving = torch.ones_like(depth)
    num_planes = len(ray_parameters)
    chunk = planes_per_chunk or planes_at_once(depth.numel(), depth.device)
    for begin in range(0, num_planes, chunk):
        planes = slice(begin, begin + chunk)
        static_opacity = static.opacity[planes]
        color = static_opacity[..., None] * static.rgb[planes]
        share = static_opacity
        transparency = torch.zeros_like(static_opacity)
        for key, mix in ((first, 1 - fraction), (second, fraction)):
            if key is None or mix == 0:
                continue
            splatted_rgb, splatted_opacity = _splat_dynamic(key, planes, moves=fraction != 0)
            mixed = mix * splatted_opacity
            color = color + mixed[..., None] * splatted_rgb
            share = share + mixed
            transparency = transparency + mix * (1 - splatted_opacity) * (1 - static_opacity)
        passed = arriving * torch.cumprod(transparency + TRANSMITTANCE_OFFSET, dim=0)
        before = torch.cat([arriving[None], passed[:-1]])
        rgb = rgb + (before[..., None] * color).sum(0)
        depth = depth + (before * share * ray_parameters[planes, None, None]).sum(0)
        weight_sum = weight_sum + (before * share).sum(0)
        arriving = passed[-1]
    return PlaneRender(rgb, depth, 1 - arriving, weight_sum)


def _splat_dynamic(key: DynamicPlanes, planes: slice, moves: bool) -> tuple[Tensor, Tensor]:
    """Colours and opacities of some planes of a key time where they have moved to."""
    if not moves:
        return key.rgb[planes], key.opacity[planes]
    values = torch.cat([key.rgb[planes], key.opacity[planes, ..., None]], dim=-1)
    splatted = splat(values, key.pixels[planes]).values
    return splatted[..., :3], splatted[..., 3]
