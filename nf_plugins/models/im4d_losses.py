"""What training of the methods on feature planes minimises.

Regularisers count in every so many steps alone; in the others they are 0, so that a step always has the same terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from nerfstudio.model_components.losses import lossfun_distortion, lossfun_outer
from torch import Tensor

from nf_plugins.field_components.plane_stack import PlaneStackEncoding
from nf_plugins.model_components.plane_regularisers import time_plane_deviation, time_smoothness, total_variation
from nf_plugins.model_components.ray_levels import RayLevel


class PlaneTarget(NamedTuple):
    """What rays ought to show."""

    image: Tensor
    """Colours ``(R, 3)`` in [0, 1], on the background that is rendered."""
    fg_mask: Tensor | None
    """Foreground ``(R, 1)`` in [0, 1]."""


def envelope_loss(level: RayLevel, proposal: RayLevel, *, detach: bool = True) -> Tensor:
    """How much of a level's weights the proposal's histogram does not cover (Mip-NeRF 360, Eq. 13), mean.

    Args:
        level: The finer one.
        proposal: The coarser one, which is to learn.
        detach: Whether the finer one is left alone; the published code lets it learn too.
    """
    weights = level.weights.detach() if detach else level.weights
    return lossfun_outer(level.coordinates, weights, proposal.coordinates, proposal.weights).mean()


def plane_regularisers(
    encoding: PlaneStackEncoding,
    proposals: Sequence[PlaneStackEncoding],
    coefficients: Mapping[str, float],
    *,
    active: bool,
    space_axis_only: bool = False,
) -> dict[str, Tensor]:
    """The terms on planes, not yet weighted: those of a weight above 0, of the field and the sum over its proposals.

    Args:
        encoding: Of the field.
        proposals: Of its proposals.
        coefficients: Weights of the losses.
        active: Whether this step counts; the terms are 0 otherwise.
        space_axis_only: See :func:`~nf_plugins.model_components.plane_regularisers.total_variation`.
    """

    def variation(planes: PlaneStackEncoding) -> Tensor:
        return total_variation(planes, space_axis_only=space_axis_only)

    kinds = {"plane_tv": variation, "time_smooth": time_smoothness, "time_planes": time_plane_deviation}
    terms: dict[str, Tensor] = {}
    for name, term in kinds.items():
        for prefix, encodings in (("", [encoding]), ("proposal_", proposals)):
            if weight_of(prefix + name, coefficients) > 0 and encodings:
                zero = encodings[0].spatial[0].new_zeros(())
                terms[prefix + name] = torch.stack([term(planes) for planes in encodings]).sum() if active else zero
    return terms


def weight_of(name: str, coefficients: Mapping[str, float]) -> float:
    """The weight of a term; one of the proposals has that of the field where it has none of its own."""
    return coefficients.get(name, coefficients.get(name.removeprefix("proposal_"), 0.0))


def plane_loss_terms(
    rgb: Tensor,
    level: RayLevel,
    proposals: Sequence[RayLevel],
    target: PlaneTarget,
    coefficients: Mapping[str, float],
    *,
    detach_envelope: bool = True,
) -> dict[str, Tensor]:
    """The terms on rays, not yet weighted, of a weight above 0.

    Args:
        rgb: Rendered colours ``(R, 3)``.
        level: The finest intervals.
        proposals: The coarser ones, which learn to cover it.
        target: What rays ought to show.
        coefficients: Weights of the losses.
        detach_envelope: See :func:`envelope_loss`.
    """
    wanted = {name for name, weight in coefficients.items() if weight > 0}
    terms: dict[str, Tensor] = {}
    if "rgb" in wanted:
        terms["rgb"] = (rgb - target.image).square().mean()
    if "mask" in wanted and target.fg_mask is not None:
        terms["mask"] = (level.accumulation - target.fg_mask).square().mean()
        errors = [(proposal.accumulation - target.fg_mask).square().mean() for proposal in proposals]
        if errors:
            terms["proposal_mask"] = torch.stack(errors).sum()
    if "envelope" in wanted and proposals:
        covers = [envelope_loss(level, proposal, detach=detach_envelope) for proposal in proposals]
        terms["envelope"] = torch.stack(covers).sum()
    if "distortion" in wanted:
        terms["distortion"] = lossfun_distortion(level.coordinates, level.weights).mean()
    return terms


def weighted(terms: Mapping[str, Tensor], coefficients: Mapping[str, float]) -> dict[str, Tensor]:
    """Terms times their weights, as ``NAME_loss``."""
    return {f"{name}_loss": weight_of(name, coefficients) * term for name, term in terms.items()}
