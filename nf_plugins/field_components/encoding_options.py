"""Options that encodings of points and of view directions share, and those that the reference's have no use for."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_grid import GridBackend, Implementation
from nf_plugins.field_components.hash_grid import Interpolation
from nf_plugins.field_components.style_modulation import Style

GRID_OPTIONS = ("interpolation", "hash_backend", "implementation", "start_levels", "steps_per_level")
BANK_OPTIONS = (
    "nffb_width",
    "nffb_output",
    "nffb_out_dim",
    "nffb_frequency",
    "nffb_sigma",
    "nffb_sigma_growth",
    "style",
)
WITHOUT_USE_IN_FAITHFUL = {
    "posenc": (),
    "hash": (*GRID_OPTIONS, "bound", "faithful_grid"),
    "nffb": (*GRID_OPTIONS, *BANK_OPTIONS),
    "stylemod-nffb": (*GRID_OPTIONS, *BANK_OPTIONS),
}
"""Kinds that the reference computes in its own way, and what has no part in it."""


@dataclass
class EncodingOptions:
    """What encodings of points and of view directions have in common."""

    kind: str
    """Which encoding."""
    num_frequencies: int = 6
    """Octaves of posenc."""
    num_fourier_features: int = 128
    """Random frequencies of fourier; it is twice as wide, sines and cosines."""
    fourier_sigma: float = 1.0
    """Standard deviation of the frequencies of fourier, cycles per scene unit."""
    features_per_level: int = 2
    """Features of each level of the grid."""
    interpolation: Interpolation = "linear"
    """How grids interpolate; smoothstep makes normals continuous."""
    hash_backend: GridBackend = "grid"
    """This package's hash grid, whose torch and tcnn parameters are the same, or nerfstudio's HashEncoding."""
    implementation: Implementation = "auto"
    """What computes grids; auto takes tiny-cuda-nn where it is installed and CUDA is there."""
    nffb_width: int = 128
    """Width of the sine layers of filter banks."""
    nffb_out_dim: int = 64
    """Width that the linear layer of filter banks makes of all levels."""
    nffb_frequency: float = 45.0
    """Factor in front of the sine layers of filter banks."""
    nffb_sigma: float = 5.0
    """Standard deviation of the coarsest level's filters at the start."""
    nffb_sigma_growth: float = 1.2
    """Factor of that standard deviation from each level to the next."""
    style: Style = "demodulated"
    """Style of stylemod-nffb: modulation and attention over levels, or the layer norm that the reference computes."""
    faithful: bool = False
    """Reproduce the reference's posenc, hash and filter banks with their defects, for comparison with its runs."""


def require_faithful_options(config: EncodingOptions) -> None:
    """With ``faithful``, that there is such a form and that no option was set that has no part in it.

    Raises:
        InputError: There is none, or an option is not what its class has as the default.
    """
    if not config.faithful:
        return
    if config.kind not in WITHOUT_USE_IN_FAITHFUL:
        raise InputError(
            f"The encoding {config.kind} has no faithful form, expected one of {', '.join(WITHOUT_USE_IN_FAITHFUL)}: "
            "leave faithful out."
        )
    defaults = {field.name: field.default for field in fields(config)}
    changed = [
        name
        for name in WITHOUT_USE_IN_FAITHFUL[config.kind]
        if name in defaults and getattr(config, name) != defaults[name]
    ]
    if changed:
        said = ", ".join(f"{_flag(name)} {getattr(config, name)}" for name in changed)
        back = " ".join(f"{_flag(name)} {defaults[name]}" for name in changed)
        raise InputError(
            f"{said}: this does not go with faithful, whose {config.kind} is the reference's and has no such option; "
            f"expected the default, which says nothing: {back}."
        )


def value_or(value: int | None, default: int) -> int:
    """The value, or what stands for None."""
    return default if value is None else value


def _flag(name: str) -> str:
    return name.replace("_", "-")
