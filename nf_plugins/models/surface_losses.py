"""Which losses a volume-rendered surface has, and when each makes sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.fields.scene_motion import SceneMotionConfig, build_scene_motion
from nf_plugins.model_components import losses

DISTANCE_LOSSES = ("eikonal", "sparsity")
"""Losses that ask for a signed distance."""


def check_losses(coefficients: Mapping[str, float], motion: SceneMotionConfig, density: str) -> None:
    """Checks that every loss that is switched on has something to act on.

    Raises:
        InputError: One has not; the sentence names it and the way out.
    """
    if density == "relu" and coefficients.get("sparsity", 0) > 0:
        raise InputError(
            "--pipeline.model.loss-coefficients.sparsity needs a signed distance, which sdf-field.density relu is not: "
            "set it to 0, or use density laplace."
        )
    parts = build_scene_motion(motion, 1, 1)
    for loss, part, missing in (("elastic", parts.warp, "a warp"), ("code", parts.codes, "codes")):
        if coefficients.get(loss, 0) > 0 and part is None:
            raise InputError(
                f"--pipeline.model.loss-coefficients.{loss} {coefficients[loss]} needs {missing}, which motion.kind "
                f"{motion.kind} does not have: set it to 0."
            )


@dataclass(frozen=True)
class SurfaceTarget:
    """What the data says of R rays."""

    image: Tensor
    """Colour ``(R, 3)`` on the training background."""
    fg_mask: Tensor
    """Foreground mask ``(R, 1)``; ones without masks."""
    depth: Tensor | None
    """Ray distance ``(R, 1)``, scene units, 0 where unknown."""
    has_mask: bool
    """Whether the data has masks."""


def surface_loss_terms(
    rendered: dict[str, Any], target: SurfaceTarget, codes: Tensor | None
) -> dict[str, Callable[[], Tensor]]:
    """The losses by name, each computed when called; see :mod:`nf_plugins.model_components.losses`.

    Args:
        rendered: ``rgb`` (R, 3) on the training background, ``accumulation`` (R, 1), ``depth`` (R, 1, not divided by
            the opacity), and what the pass left for the others: ``gradient``, ``chosen_signed_distance`` and
            ``is_free``, ``signed_distance`` and ``random_signed_distance``, ``warp_jacobian``. A loss whose input the
            pass did not leave is zero.
        target: What the data says.
        codes: Codes of all frames ``(T, code_dim)``, for methods that have them.
    """
    opacity = rendered["accumulation"]

    def needing(key: str, term: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return term if key in rendered else lambda: opacity.sum() * 0

    terms = {
        "rgb": lambda: losses.foreground_l1_loss(rendered["rgb"], target.image, target.fg_mask),
        "mask": lambda: losses.mask_cross_entropy_loss(opacity, target.fg_mask),
        "eikonal": needing("gradient", lambda: losses.eikonal_loss(rendered["gradient"])),
        "free_space": needing(
            "is_free", lambda: losses.free_space_loss(rendered["chosen_signed_distance"], rendered["is_free"])
        ),
        "sparsity": needing(
            "random_signed_distance",
            lambda: losses.sparsity_loss(rendered["signed_distance"], rendered["random_signed_distance"]),
        ),
        "elastic": needing("warp_jacobian", lambda: losses.elastic_loss(rendered["warp_jacobian"])),
    }
    if target.depth is not None:
        depth, mask = target.depth, target.fg_mask if target.has_mask else None
        terms["depth"] = lambda: losses.depth_l1_loss(rendered["depth"], depth, mask)
    if codes is not None:
        terms["code"] = lambda: losses.code_loss(codes)
    return terms
