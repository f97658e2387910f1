"""Which encoding of view directions a colour network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_grid import GridBackend, Implementation
from nf_plugins.field_components.hash_grid import Interpolation
from nf_plugins.field_components.octave_encoding import OctaveEncoding
from nf_plugins.field_components.point_encoding import PointEncodingConfig, Style, build_point_encoding
from nf_plugins.field_components.point_encoding_base import PointEncoding

ViewEncodingKind = Literal["none", "posenc", "sh", "fourier", "hash", "nffb", "stylemod-nffb"]
"""Raw directions, octaves, spherical harmonics, or one of the encodings of points."""


@dataclass
class ViewEncodingConfig:
    """The encoding of view directions in front of the colour network."""

    kind: ViewEncodingKind = "posenc"
    """Raw directions (none), octaves (posenc), spherical harmonics (sh), or one of the encodings of points."""
    num_frequencies: int = 4
    """Octaves of posenc."""
    sh_degree: int = 4
    """Bands of spherical harmonics, 1 to 5; their number squared is the width."""
    num_fourier_features: int = 128
    """Random frequencies of fourier."""
    fourier_sigma: float = 1.0
    """Standard deviation of the frequencies of fourier, cycles per unit."""
    num_levels: int = 4
    """Levels of grids."""
    features_per_level: int = 2
    """Features of each level of grids."""
    log2_table_size: int | None = None
    """Most entries of a level, as a power of two; None for 15 (3 with faithful)."""
    base_resolution: int | None = None
    """Vertices along each axis of the coarsest level; None for 4 (16 with faithful)."""
    finest_resolution: int | None = None
    """Vertices along each axis of the finest level; None for 32 (512 with faithful)."""
    interpolation: Interpolation = "linear"
    """How grids interpolate."""
    hash_backend: GridBackend = "grid"
    """This package's hash grid or nerfstudio's HashEncoding."""
    implementation: Implementation = "auto"
    """What computes grids."""
    nffb_width: int = 64
    """Width of the sine layers of filter banks."""
    nffb_out_dim: int = 32
    """Width that filter banks add to the direction."""
    nffb_frequency: float = 15.0
    """Factor in front of the sine layers of filter banks."""
    style: Style = "demodulated"
    """Style of stylemod-nffb."""
    faithful: bool = False
    """Reproduce the reference's encodings with their defects."""


def build_view_encoding(config: ViewEncodingConfig) -> PointEncoding:
    """Builds the encoding of unit directions ``(*batch, 3)``.

    Raises:
        InputError: An unknown kind, or sizes that make no encoding.
    """
    if config.kind not in get_args(ViewEncodingKind):
        known = ", ".join(get_args(ViewEncodingKind))
        raise InputError(f"The kind of the view encoding is '{config.kind}', expected one of {known}.")
    if config.kind == "none":
        return OctaveEncoding(3, num_frequencies=0)
    if config.kind == "sh":
        return SphericalHarmonics(config.sh_degree)
    is_faithful = config.faithful
    grid = PointEncodingConfig(
        kind=config.kind,
        num_frequencies=config.num_frequencies,
        num_fourier_features=config.num_fourier_features,
        fourier_sigma=config.fourier_sigma,
        bound=1.0,
        num_levels=config.num_levels,
        features_per_level=config.features_per_level,
        log2_table_size=_default(config.log2_table_size, 3 if is_faithful else 15),
        base_resolution=_default(config.base_resolution, 16 if is_faithful else 4),
        finest_resolution=_default(config.finest_resolution, 512 if is_faithful else 32),
        interpolation=config.interpolation,
        hash_backend=config.hash_backend,
        implementation=config.implementation,
        nffb_width=config.nffb_width,
        nffb_out_dim=config.nffb_out_dim,
        nffb_frequency=config.nffb_frequency,
        style=config.style,
        faithful=is_faithful,
    )
    return build_point_encoding(grid)


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


def _default(value: int | None, default: int) -> int:
    return default if value is None else value
