"""Which encoding of points a geometry network sees, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from nf_plugins.errors import InputError
from nf_plugins.field_components.encoding_options import EncodingOptions, require_faithful_options, value_or
from nf_plugins.field_components.faithful_encodings import FaithfulSizes, GridPath, build_faithful_encoding
from nf_plugins.field_components.faithful_octaves import FaithfulOctaveEncoding
from nf_plugins.field_components.feature_grid import GridSizes, growth_between
from nf_plugins.field_components.fourier_features import FourierFeatures
from nf_plugins.field_components.hash_encoding import HashPointEncoding
from nf_plugins.field_components.nffb import FilterBankSizes, LevelOutput, NeuralFourierFilterBank
from nf_plugins.field_components.octave_encoding import OctaveEncoding
from nf_plugins.field_components.point_encoding_base import PointEncoding
from nf_plugins.field_components.style_modulation import LayerNormStyle, LevelModulation, Style

PointEncodingKind = Literal["posenc", "fourier", "hash", "nffb", "stylemod-nffb"]
"""Octaves, random frequencies, a hash grid, a filter bank, a filter bank with styles."""


@dataclass
class PointEncodingConfig(EncodingOptions):
    """The encoding in front of the geometry network. The raw coordinates are always its first channels."""

    kind: PointEncodingKind = "posenc"
    """Octaves (posenc), random frequencies (fourier), hash grid (hash), Fourier filter bank (nffb, stylemod-nffb)."""
    max_octave: float | None = None
    """Last octave of posenc, with bands evenly spaced in octaves; None for whole octaves from 0."""
    bound: float | None = None
    """Half edge of the cube that grids fill, scene units; None for 1 (0.45 for the filter banks of the reference)."""
    num_levels: int | None = None
    """Levels of the grid; None for 16 with hash, 5 with filter banks (6 for those of the reference)."""
    log2_table_size: int | None = None
    """Most entries of a level, as a power of two; None for 19 (those of the reference: 5, or 15 on its tcnn path)."""
    base_resolution: int | None = None
    """Vertices along each axis of the coarsest level; None for 16 with hash, 8 with filter banks (reference: 16)."""
    finest_resolution: int | None = None
    """Vertices along each axis of the finest level; None for 2048 with hash, 23 with filter banks (reference: 512)."""
    start_levels: int | None = None
    """Coarse to fine: levels that are active at the start, with steps-per-level; None for all."""
    steps_per_level: int = 0
    """Coarse to fine: training steps until the next level becomes active, with start-levels."""
    nffb_output: LevelOutput = "linear"
    """Levels of filter banks through one linear layer, or concatenated, which is levels times width wide."""
    faithful_grid: GridPath = "torch"
    """Which of the reference's two filter banks faithful reproduces: on its PyTorch grid or on tiny-cuda-nn's."""


def build_point_encoding(config: PointEncodingConfig, in_dim: int = 3) -> PointEncoding:
    """Builds the encoding of points ``(*batch, in_dim)``.

    Raises:
        InputError: An unknown option, sizes that make no encoding, or options that exclude each other.
    """
    for name, value, known in (
        ("kind", config.kind, get_args(PointEncodingKind)),
        ("style", config.style, get_args(Style)),
    ):
        if value not in known:
            raise InputError(f"The {name} of the encoding is '{value}', expected one of {', '.join(known)}.")
    require_faithful_options(config)
    if config.faithful and config.kind in ("hash", "nffb", "stylemod-nffb"):
        return _faithful_encoding(config, in_dim)
    if config.kind == "posenc":
        octaves = FaithfulOctaveEncoding if config.faithful else OctaveEncoding
        return octaves(in_dim, config.num_frequencies, config.max_octave)
    if config.kind == "fourier":
        return FourierFeatures(in_dim, config.num_fourier_features, config.fourier_sigma)
    sizes = grid_sizes(config)
    of_grid: dict[str, Any] = {
        "bound": 1.0 if config.bound is None else config.bound,
        "backend": config.hash_backend,
        "interpolation": config.interpolation,
        "implementation": config.implementation,
        "start_levels": config.start_levels,
        "steps_per_level": config.steps_per_level,
    }
    if config.kind == "hash":
        return HashPointEncoding(in_dim, sizes, **of_grid)
    style = None
    if config.kind == "stylemod-nffb":
        width = config.nffb_width
        is_layer_norm = config.style == "layernorm"
        style = LayerNormStyle(width) if is_layer_norm else LevelModulation(sizes.num_levels, width)
    return NeuralFourierFilterBank(
        in_dim,
        sizes,
        FilterBankSizes(
            width=config.nffb_width,
            out_dim=config.nffb_out_dim,
            frequency=config.nffb_frequency,
            sigma=config.nffb_sigma,
            sigma_growth=config.nffb_sigma_growth,
            output=config.nffb_output,
        ),
        style=style,
        **of_grid,
    )


def grid_sizes(config: PointEncodingConfig) -> GridSizes:
    """Sizes of the grid with the published ones where the config says None.

    Hash: 16 levels from 16 to 2048 with 2^19 entries, those of Müller et al. for scenes; at bound 1 the finest cell is
    a thousandth of the scene's radius, about the size of a DTU pixel on the surface. Filter banks: 5 levels from 8,
    each 1.3 times finer, those of Wu et al. for signed distances.

    Raises:
        InputError: A finest resolution below the coarsest.
    """
    is_hash = config.kind == "hash"
    num_levels = value_or(config.num_levels, 16 if is_hash else 5)
    base = value_or(config.base_resolution, 16 if is_hash else 8)
    if config.finest_resolution is None and not is_hash:
        growth = 1.3
    else:
        growth = growth_between(base, value_or(config.finest_resolution, 2048), num_levels)
    return GridSizes(num_levels, config.features_per_level, value_or(config.log2_table_size, 19), base, growth)


def _faithful_encoding(config: PointEncodingConfig, in_dim: int) -> PointEncoding:
    is_tcnn = config.faithful_grid == "tcnn"
    sizes = FaithfulSizes(
        num_levels=value_or(config.num_levels, 6),
        features_per_level=config.features_per_level,
        log2_table_size=value_or(config.log2_table_size, 15 if is_tcnn else 5),
        base_resolution=value_or(config.base_resolution, 16),
        finest_resolution=value_or(config.finest_resolution, 512),
        bound=0.45 if config.bound is None else config.bound,
    )
    return build_faithful_encoding(config.kind, in_dim, sizes, config.faithful_grid)
