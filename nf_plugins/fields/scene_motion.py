"""How a temporal signed-distance field learns that the scene moves: the six baselines of ResFields as parts.

========== ===================== ============================= ======
motion     warp                  hyper coordinates             codes
========== ===================== ============================= ======
tnerf      none                  encoded time                  no
dynerf     none                  the frame's code              yes
dnerf      translation           none                          no
nerfies    rigid, SE(3)          none                          yes
hypernerf  rigid, SE(3)          slice of an ambient space     yes
ndr        bijective             slice of an ambient space     yes
========== ===================== ============================= ======
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from nerfstudio.configs.base_config import PrintableConfig
from torch import nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.bijective_warp import BijectiveWarp
from nf_plugins.field_components.frame_codes import FrameCodes
from nf_plugins.field_components.hyper_coordinates import AmbientSlicing, CodeCoordinates, EncodedTime
from nf_plugins.field_components.warps import RigidWarp, TranslationWarp

MotionKind = Literal["tnerf", "dynerf", "dnerf", "nerfies", "hypernerf", "ndr"]


# Frozen, so that it can be the plain default of a config field, which configs saved without it fall back to.
@dataclass(frozen=True)
class SceneMotionConfig(PrintableConfig):
    """How the field learns motion; sizes are the published ones."""

    kind: MotionKind = "tnerf"
    """Encoded time or a code beside the position (tnerf, dynerf), or a warp to a canonical frame: by a translation
    (dnerf), a rigid motion (nerfies), also with ambient coordinates (hypernerf), or a bijection with them (ndr)."""
    code_dim: int = 64
    """Length of the code that every frame learns (all but tnerf and dnerf)."""
    warp_hidden_dim: int = 128
    """Width of the warp's networks."""
    warp_layers: int | None = None
    """Layers of the warp's trunk, or blocks of the bijection; None is 8 for dnerf, 6 for SE(3), 3 for ndr."""
    warp_starts_as_identity: bool = False
    """Whether the translation and the rigid warp start at zero; as published they start at random (ndr at zero)."""
    ambient_dim: int = 2
    """Ambient coordinates of hypernerf and ndr."""
    ambient_hidden_dim: int = 64
    """Width of the network that finds them."""
    num_frequencies: int = 6
    """Octaves of the encodings inside warps and ambient networks."""


class SceneMotion(NamedTuple):
    """The parts that a method injects into its field."""

    warp: nn.Module | None
    """Observed to canonical points."""
    hyper: nn.Module | None
    """Features beside the encoded canonical points."""
    codes: FrameCodes | None
    """A code per frame, shared by both."""


def build_scene_motion(config: SceneMotionConfig, num_frames: int, num_time_frequencies: int) -> SceneMotion:
    """The parts of a method.

    Args:
        config: Kind and sizes.
        num_frames: Number of training frames T.
        num_time_frequencies: Octaves of T-NeRF's encoded time.

    Raises:
        InputError: Sizes that do not fit together.
    """
    kind, code_dim, width = config.kind, config.code_dim, config.warp_hidden_dim
    if config.warp_layers is not None and config.warp_layers < 1:
        raise InputError(
            f"--pipeline.model.motion.warp-layers {config.warp_layers}: expected at least 1, or None for as published."
        )
    hyper: nn.Module | None = None
    warp: nn.Module | None = None
    if kind == "tnerf":
        return SceneMotion(None, EncodedTime(num_frames, num_time_frequencies), None)
    if kind == "dnerf":
        warp = TranslationWarp(num_frames, width, config.warp_layers or 8, config.warp_starts_as_identity)
        return SceneMotion(warp, None, None)
    if kind == "dynerf":
        hyper = CodeCoordinates(code_dim)
    if kind in ("nerfies", "hypernerf"):
        warp = RigidWarp(
            code_dim, width, config.warp_layers or 6, config.num_frequencies, config.warp_starts_as_identity
        )
    if kind == "ndr":
        warp = BijectiveWarp(code_dim, width, config.warp_layers or 3, config.num_frequencies)
    if kind in ("hypernerf", "ndr"):
        encoded_dim = 3 * (1 + 2 * config.num_frequencies)
        if config.ambient_hidden_dim <= encoded_dim:
            raise InputError(
                f"--pipeline.model.motion.ambient-hidden-dim {config.ambient_hidden_dim} is too narrow: the layer "
                f"before the skip needs more than the {encoded_dim} encoded inputs; widen it or use fewer frequencies."
            )
        hyper = AmbientSlicing(
            code_dim,
            ambient_dim=config.ambient_dim,
            hidden_dim=config.ambient_hidden_dim,
            num_frequencies=config.num_frequencies,
        )
    return SceneMotion(warp, hyper, FrameCodes(num_frames, code_dim))
