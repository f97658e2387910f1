"""Volume rendering of a dynamic and a static field that share the samples of a ray (NSFF, Li et al., CVPR 2021).

All per-sample scalars are ``(*batch, K)``, without a last axis of one; samples go from near to far.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.model_components.ndc import NDCFrame, project
from nf_plugins.model_components.sample_space import Reach, SampleSpace

TRANSMITTANCE_OFFSET = 1e-10
"""Added to each factor of the transmittance, so that no product is zero from a single opaque sample."""

LEAST_ACCUMULATION = 1e-3
"""Rays with less opacity have no expected point of their own."""


class FieldRender(NamedTuple):
    """One field along rays."""

    rgb: Tensor
    """``(*batch, 3)``."""
    ray_parameter: Tensor
    """Sum of weights times ray parameters, ``(*batch)``."""
    weights: Tensor
    """``(*batch, K)``."""


class BlendedWeights(NamedTuple):
    """Shares of both fields' samples in the colour of a ray."""

    dynamic: Tensor
    """``(*batch, K)``."""
    static: Tensor
    """``(*batch, K)``."""


class BlendedRender(NamedTuple):
    """Both fields together along rays."""

    rgb: Tensor
    """``(*batch, 3)``."""
    ray_parameter: Tensor
    """Sum of all weights times ray parameters, ``(*batch)``."""
    weights: BlendedWeights
    """Of the samples."""


def sample_opacity(raw_density: Tensor, lengths: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Opacity ``1 - exp(-max(raw_density + noise, 0) length)`` in [0, 1], ``(*batch, K)``.

    Args:
        raw_density: ``(*batch, K)``, before its ReLU.
        lengths: ``(*batch, K)``.
        noise: Added before the ReLU while training. Both fields of one blended render share one draw.
    """
    return -torch.expm1(-torch.relu(raw_density + noise) * lengths)


def dynamic_weights(opacity: Tensor) -> Tensor:
    """Weights ``a_k prod_{m<k} (1 - a_m)`` of one field alone, the dynamic or the static one, ``(*batch, K)``."""
    return opacity * _light_that_arrives(1 - opacity)


def blended_weights(dynamic_opacity: Tensor, static_opacity: Tensor, blend_weight: Tensor | None) -> BlendedWeights:
    """Weights of both fields' samples when each lets through the light of the other.

    The blend weight multiplies opacities, not densities.

    Args:
        dynamic_opacity: ``(*batch, K)``.
        static_opacity: ``(*batch, K)``.
        blend_weight: Share of the dynamic field, ``(*batch, K)`` in [0, 1]; None leaves both opacities whole, so that
            the fields add up like two materials at one place.
    """
    if blend_weight is not None:
        dynamic_opacity = blend_weight * dynamic_opacity
        static_opacity = (1 - blend_weight) * static_opacity
    arriving = _light_that_arrives((1 - dynamic_opacity) * (1 - static_opacity))
    return BlendedWeights(arriving * dynamic_opacity, arriving * static_opacity)


def render_field(rgb: Tensor, opacity: Tensor, ray_parameters: Tensor) -> FieldRender:
    """One field alone: the dynamic one, the static one, or the dynamic one at points that its flow has moved.

    A render of moved points takes their colours and densities, and the ray parameters and lengths of the points that
    they were moved from.

    Args:
        rgb: ``(*batch, K, 3)`` in [0, 1].
        opacity: ``(*batch, K)``.
        ray_parameters: ``(*batch, K)``.
    """
    weights = dynamic_weights(opacity)
    return FieldRender(weighted_sum(weights, rgb), (weights * ray_parameters).sum(-1), weights)


def render_blended(
    dynamic_rgb: Tensor,
    dynamic_opacity: Tensor,
    static_rgb: Tensor,
    static_opacity: Tensor,
    *,
    blend_weight: Tensor | None,
    ray_parameters: Tensor,
) -> BlendedRender:
    """Both fields together.

    Args:
        dynamic_rgb: ``(*batch, K, 3)`` in [0, 1].
        dynamic_opacity: ``(*batch, K)``.
        static_rgb: ``(*batch, K, 3)`` in [0, 1].
        static_opacity: ``(*batch, K)``.
        blend_weight: See :func:`blended_weights`.
        ray_parameters: ``(*batch, K)``.
    """
    weights = blended_weights(dynamic_opacity, static_opacity, blend_weight)
    rgb = weighted_sum(weights.dynamic, dynamic_rgb) + weighted_sum(weights.static, static_rgb)
    return BlendedRender(rgb, ((weights.dynamic + weights.static) * ray_parameters).sum(-1), weights)


def dynamicness_map(weights: BlendedWeights) -> Tensor:
    """How much of a ray's colour the dynamic field gives in the blended render, ``(*batch)``, without gradient."""
    return weights.dynamic.detach().sum(-1)


def disocclusion_map(moved_weights: Tensor, disocclusion: Tensor) -> Tensor:
    """How far a ray's surface is visible at a neighbouring time too, ``(*batch)`` in [0, 1].

    Args:
        moved_weights: Of the render at the neighbouring time, ``(*batch, K)``; no gradient flows into them.
        disocclusion: Probability that the sample is hidden at that time, predicted at the ray's own time,
            ``(*batch, K)``; receives the gradient.
    """
    return (moved_weights.detach() * (1 - disocclusion)).sum(-1)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over the samples of weights ``(*batch, K)`` times values ``(*batch, K, C)``: ``(*batch, C)``.

    Of scene flow it is the expected scene flow of the ray, in sample coordinates per frame.
    """
    return (weights[..., None] * values).sum(-2)


def expected_point(weights: Tensor, points: Tensor, normalised: bool = True) -> Tensor:
    """Where a ray's surface is expected, or is expected to have moved to, ``(*batch, C)``.

    Args:
        weights: ``(*batch, K)``.
        points: ``(*batch, K, C)``.
        normalised: Divide by the sum of the weights. The published code does not, so that rays that are not opaque
            draw towards the origin, which is the middle of the image.
    """
    points = weighted_sum(weights, points)
    return points / weights.sum(-1, keepdim=True).clamp(min=LEAST_ACCUMULATION) if normalised else points


def expected_pixel(
    weights: Tensor,
    points: Tensor,
    space: SampleSpace,
    camera_to_worlds: Tensor,
    intrinsics: NDCFrame | Tensor,
    *,
    normalised: bool = True,
    reach: Reach = "unlimited",
) -> Tensor:
    """Pixel where a camera sees the expected point of a ray (the induced optical flow, NSFF Sec. 3.2).

    Args:
        weights: Of the dynamic field alone, ``(*batch, K)``.
        points: Samples moved to the camera's time, sample coordinates ``(*batch, K, 3)``. They are averaged there,
            before they are taken to the world.
        space: The coordinates.
        camera_to_worlds: OpenGL poses ``(*batch, 3, 4)``; the batch broadcasts.
        intrinsics: ``(*batch, 4)`` or a frame, as in :func:`project`.
        normalised: See :func:`expected_point`.
        reach: How far away the point may be.

    Returns:
        Column and row ``(*batch, 2)``; infinite where the space gives no pixel (``least_depth``).
    """
    world = space.world(expected_point(weights, points, normalised), reach)
    return project(world, camera_to_worlds, intrinsics, space.least_depth(reach))


def _light_that_arrives(transparency: Tensor) -> Tensor:
    """Product of the transparencies of all earlier samples, ``(*batch, K)``."""
    passed = torch.cumprod(transparency[..., :-1] + TRANSMITTANCE_OFFSET, dim=-1)
    return torch.cat([torch.ones_like(transparency[..., :1]), passed], dim=-1)
