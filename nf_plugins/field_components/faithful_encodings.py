"""Builds what the HashModNFFBanks reference computes, for comparison with its runs."""

from __future__ import annotations

from typing import NamedTuple

from nf_plugins.field_components.faithful_hash_grid import FaithfulHashEncoding
from nf_plugins.field_components.faithful_nffb import FaithfulFilterBank, GridPath
from nf_plugins.field_components.point_encoding_base import PointEncoding


class FaithfulSizes(NamedTuple):
    """Sizes of the reference's encodings."""

    num_levels: int
    """Levels."""
    features_per_level: int
    """Features of each level."""
    log2_table_size: int
    """Most entries of a level, as a power of two."""
    base_resolution: int
    """Resolution of the coarsest level."""
    finest_resolution: int
    """Resolution of the finest level."""
    bound: float
    """Half edge of the filter banks' cube; the hash grid takes points as they are."""


def build_faithful_encoding(kind: str, in_dim: int, sizes: FaithfulSizes, grid: GridPath = "torch") -> PointEncoding:
    """The reference's ``hash``, ``nffb`` or ``stylemod-nffb``.

    Args:
        kind: Which of them.
        in_dim: Dimensions of the points.
        sizes: Sizes.
        grid: Which of its grids the filter banks stand on.
    """
    options = sizes._asdict()
    if kind == "hash":
        del options["bound"]
        return FaithfulHashEncoding(in_dim, **options)
    return FaithfulFilterBank(in_dim, **options, has_style=kind == "stylemod-nffb", grid=grid)
