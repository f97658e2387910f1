"""Which encoding of view directions a colour network sees."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.encoding_options import (
    WITHOUT_USE_IN_FAITHFUL,
    EncodingOptions,
    require_faithful_options,
    value_or,
)
from nf_plugins.field_components.octave_encoding import OctaveEncoding
from nf_plugins.field_components.point_encoding import PointEncodingConfig, build_point_encoding
from nf_plugins.field_components.point_encoding_base import PointEncoding

ViewEncodingKind = Literal["none", "posenc", "sh", "fourier", "hash", "nffb", "stylemod-nffb"]
"""Raw directions, octaves, spherical harmonics, or one of the encodings of points."""


@dataclass
class ViewEncodingConfig(EncodingOptions):
    """The encoding of view directions in front of the colour network."""

    kind: ViewEncodingKind = "posenc"
    """Raw directions (none), octaves (posenc), spherical harmonics (sh), or one of the encodings of points."""
    num_frequencies: int = 4
    """Octaves of posenc."""
    sh_degree: int = 4
    """Bands of spherical harmonics, 1 to 5; their number squared is the width."""
    num_levels: int = 4
    """Levels of the grid."""
    log2_table_size: int | None = None
    """Most entries of a level, as a power of two; None for 15 (3 with faithful)."""
    base_resolution: int | None = None
    """Vertices along each axis of the coarsest level; None for 4 (16 with faithful)."""
    finest_resolution: int | None = None
    """Vertices along each axis of the finest level; None for 32 (512 with faithful)."""
    nffb_width: int = 64
    """Width of the sine layers of filter banks."""
    nffb_out_dim: int = 32
    """Width that the linear layer of filter banks makes of all levels."""
    nffb_frequency: float = 15.0
    """Factor in front of the sine layers of filter banks."""
    nffb_sigma: float = 8.0
    """Standard deviation of the coarsest level's filters at the start."""
    nffb_sigma_growth: float = 1.5
    """Factor of that standard deviation from each level to the next."""


def build_view_encoding(config: ViewEncodingConfig) -> PointEncoding:
    """Builds the encoding of unit directions ``(*batch, 3)``.

    Raises:
        InputError: An unknown kind, sizes that make no encoding, or options that exclude each other.
    """
    if config.kind not in get_args(ViewEncodingKind):
        known = ", ".join(get_args(ViewEncodingKind))
        raise InputError(f"The kind of the view encoding is '{config.kind}', expected one of {known}.")
    require_faithful_options(config)
    if config.kind == "none":
        return OctaveEncoding(3, num_frequencies=0)
    if config.kind == "sh":
        return SphericalHarmonics(config.sh_degree)
    # What faithful has no use for is a default here, but not always that of points.
    without_use = WITHOUT_USE_IN_FAITHFUL[config.kind] if config.faithful else ()
    options = {field.name: getattr(config, field.name) for field in fields(EncodingOptions)} | {
        "bound": 1.0,
        "num_levels": config.num_levels,
        "log2_table_size": value_or(config.log2_table_size, 3 if config.faithful else 15),
        "base_resolution": value_or(config.base_resolution, 16 if config.faithful else 4),
        "finest_resolution": value_or(config.finest_resolution, 512 if config.faithful else 32),
    }
    return build_point_encoding(
        PointEncodingConfig(**{name: value for name, value in options.items() if name not in without_use})
    )


class SphericalHarmonics(PointEncoding):
    """Real spherical harmonics of unit directions, nerfstudio's, without the directions themselves.

    Unlike nerfstudio's ``SHEncoding`` it passes gradients on to the directions, which cameras need that are optimised.

    Args:
        degree: Bands, 1 to 5.

    Raises:
        InputError: Another number of bands.
    """

    def __init__(self, degree: int = 4) -> None:
        if not 1 <= degree <= 5:
            raise InputError(f"sh-degree is {degree}, expected 1 to 5.")
        super().__init__(3, degree**2)
        self.degree = degree

    def forward(self, points: Tensor) -> Tensor:
        """Encodes unit directions ``(*batch, 3)`` to ``(*batch, out_dim)``."""
        from nerfstudio.utils.math import components_from_spherical_harmonics

        return components_from_spherical_harmonics(self.degree, points)
