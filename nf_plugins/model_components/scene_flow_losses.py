"""Losses of NSFF (Li et al., CVPR 2021): what is rendered, how it moves, and what other networks said of the images.

``variant`` tells the two published states of the code apart where they differ: "paper", with which the paper's numbers
were made, and "main", the improved one. "paper" besides applies the cycle, disocclusion and sparsity terms to the
second step of a chain, and spatial smoothness to both steps. Terms that exist for two neighbouring times are given one
at a time; the published loss is their sum. Per-sample scalars are ``(*batch, K)``. Weights and schedules are not
applied here.

Nothing is detached here except where a docstring says so: masks such as the dynamicness map come without gradient from
``blended_rendering``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nf_plugins.model_components.loss_stages import LossVariant
from nf_plugins.model_components.masked_means import masked_mean_absolute_error, masked_mean_squared_error

SparsityVariant = Literal["expected", "summed_axes", "all_samples"]

SPATIAL_SHARE: dict[LossVariant, float] = {"main": 0.95, "paper": 0.9}
"""Share of the samples, from the near plane, that spatial smoothness reaches: beyond it depths grow without bound."""
TEMPORAL_SHARE = 0.9
"""Likewise of temporal smoothness."""
CENTRE_COUNT = 2
"""The published code adds the temporal smoothness around the present twice; its weights are tuned to that."""
SMALLEST_SPREAD = 1e-6
"""Least spread that depths are divided by."""
ENTROPY_OFFSET = 1e-8


def combined_photometric_loss(predicted: Tensor, target: Tensor, num_uniform: int | None = None) -> Tensor:
    """Mean squared error of the blended colours of the rays that were drawn uniformly.

    Args:
        predicted: ``(R, 3)``.
        target: ``(R, 3)``.
        num_uniform: So many rays, the first ones, count; those after them were drawn from motion masks. None takes all.
    """
    return ((predicted - target)[:num_uniform] ** 2).mean()


def dynamic_photometric_loss(predicted: Tensor, target: Tensor, dynamicness: Tensor | None) -> Tensor:
    """Mean squared error of the dynamic field's own colours.

    Args:
        predicted: ``(R, 3)``.
        target: ``(R, 3)``.
        dynamicness: Dynamicness map ``(R)``; None, as in the initial stage and always in the variant "paper", holds the
            dynamic field to the whole image.
    """
    if dynamicness is None:
        return ((predicted - target) ** 2).mean()
    return masked_mean_squared_error(predicted, target, dynamicness)


def warped_photometric_loss(
    predicted: Tensor, target: Tensor, visibility: Tensor, dynamicness: Tensor | None
) -> Tensor:
    """Mean squared error of the colours that a neighbouring time gives along the flow.

    Args:
        predicted: ``(R, 3)``.
        target: The ray's own colour ``(R, 3)``.
        visibility: Disocclusion map towards that time, ``(R)``.
        dynamicness: As in :func:`dynamic_photometric_loss`.
    """
    return masked_mean_squared_error(predicted, target, visibility if dynamicness is None else visibility * dynamicness)


def chained_photometric_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the colours that lie two times away along the flow.

    Args:
        predicted: ``(R, 3)``.
        target: The ray's own colour ``(R, 3)``.
        mask: ``(R)``: the dynamicness map in "main", which leaves disocclusion out of account; in "paper" the
            disocclusion map of both steps, made of the probabilities of :func:`chained_disocclusion`.
    """
    return masked_mean_squared_error(predicted, target, mask)


def chained_disocclusion(first: Tensor, second: Tensor) -> Tensor:
    """Probability of being hidden after either of two steps, ``1 - (1 - p)(1 - p')``; any shape."""
    return 1 - (1 - first) * (1 - second)


def cycle_loss(flow: Tensor, returning_flow: Tensor, disocclusion: Tensor) -> Tensor:
    """How far a sample that moves to a neighbouring time and back is from where it was, in NDC units.

    Args:
        flow: To the neighbouring time, ``(*batch, K, 3)``.
        returning_flow: Back from there, predicted at the moved sample, same shape.
        disocclusion: Towards that time, ``(*batch, K)``; hidden samples count less, and the gradient reaches it.
    """
    return masked_mean_absolute_error(flow, -returning_flow, 1 - disocclusion)


def disocclusion_loss(disocclusion: Tensor) -> Tensor:
    """Mean probability of being hidden: the price of not being held to a neighbouring time."""
    return disocclusion.mean()


def flow_sparsity_loss(flow: Tensor, weights: Tensor, variant: SparsityVariant = "expected") -> Tensor:
    """Mean size of the scene flow towards one time, NDC units per frame.

    Args:
        flow: ``(*batch, K, 3)``.
        weights: Of the dynamic field alone, ``(*batch, K)``.
        variant: "expected" is the L1 size of a ray's expected flow. "summed_axes" is what the loss variant "main"
            computes: the weighted sum of a sample's three components, which may cancel. "all_samples" is the loss
            variant "paper": components of all samples alike, whatever their weight.
    """
    if variant == "all_samples":
        return flow.abs().mean()
    weighted = weights[..., None] * flow
    return weighted.sum(-1 if variant == "summed_axes" else -2).abs().mean()


def spatial_smoothness_loss(points: Tensor, moved_points: Tensor, variant: LossVariant = "main") -> Tensor:
    """Mean difference of the scene flow between neighbouring samples of a ray, scene units.

    Args:
        points: Samples in world coordinates, ``(*batch, K, 3)``.
        moved_points: The same at a neighbouring time.
        variant: "paper" weighs each pair by ``exp(-2 distance)`` without gradient, and takes fewer samples.
    """
    count = int(SPATIAL_SHARE[variant] * points.shape[-2])
    points, moved_points = points[..., :count, :], moved_points[..., :count, :]
    differences = (points - moved_points).diff(dim=-2).abs()
    if variant == "paper":
        distances = points.detach().diff(dim=-2).norm(dim=-1, keepdim=True)
        differences = torch.exp(-2 * distances) * differences
    return differences.mean()


def temporal_smoothness_loss(previous: Tensor, centre: Tensor, following: Tensor) -> Tensor:
    """Half of the mean squared change of velocity over three times, squared scene units per frame.

    Args:
        previous: Samples in world coordinates one frame before, ``(*batch, K, 3)``.
        centre: Between them.
        following: One frame after.
    """
    count = int(TEMPORAL_SHARE * centre.shape[-2])
    acceleration = (following - centre) - (centre - previous)
    return 0.5 * (acceleration[..., :count, :] ** 2).mean()


def centre_smoothness_loss(previous: Tensor, centre: Tensor, following: Tensor) -> Tensor:
    """:func:`temporal_smoothness_loss` around the ray's own time, which counts twice."""
    return CENTRE_COUNT * temporal_smoothness_loss(previous, centre, following)


def depth_prior_loss(ray_parameter: Tensor, disparity: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error of depths, each freed of its shift (median) and scale (mean distance from it).

    The ray parameter of normalised device coordinates falls as the disparity rises, hence the negative sign of the
    target. The median of an even number is the lower of the middle two.

    Args:
        ray_parameter: Rendered by the dynamic field, ``(R)``, all of one image.
        disparity: Inverse depth of any scale and shift, ``(R)``, larger means nearer.
        valid: Which rays have a disparity, bool ``(R)``; None means all.

    Returns:
        Scalar; 0 where no ray is valid.
    """
    if valid is not None:
        ray_parameter, disparity = ray_parameter[valid], disparity[valid]
    if disparity.numel() == 0:
        return ray_parameter.sum()
    return ((_without_shift_and_scale(ray_parameter) - _without_shift_and_scale(-disparity)) ** 2).mean()


def flow_prior_loss(moved_pixel: Tensor, pixel: Tensor, optical_flow: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of the optical flow that the scene flow induces, pixels.

    Args:
        moved_pixel: Where the camera of a neighbouring time sees the ray's surface as it is then, ``(R, 2)``.
        pixel: Where the ray is, ``(R, 2)``: the centre of its pixel in the loss variant "main"; in "paper" where its
            own camera sees the rendered surface.
        optical_flow: From the ray's pixel to the neighbouring image, ``(R, 2)``.
        valid: Where both directions of the optical flow agree, ``(R)``.
    """
    return masked_mean_absolute_error(moved_pixel, pixel + optical_flow, valid)


def blend_entropy_loss(blend_weight: Tensor) -> Tensor:
    """Mean of ``-v log v``: a sample should belong to one of the fields; 0 at v = 0 and 1, greatest at 1 / e."""
    return (-blend_weight * torch.log(blend_weight + ENTROPY_OFFSET)).mean()


def _without_shift_and_scale(values: Tensor) -> Tensor:
    centred = values - values.median()
    return centred / centred.abs().mean().clamp(min=SMALLEST_SPREAD)
