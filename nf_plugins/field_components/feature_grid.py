"""The multi-resolution grid inside an encoding of points: ours, or nerfstudio's."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.hash_grid import HashGridEncoding, Interpolation

GridBackend = Literal["grid", "nerfstudio"]
"""Whose grid: this package's, or nerfstudio's ``HashEncoding``."""
Implementation = Literal["auto", "torch", "tcnn"]
"""What computes it."""


class GridSizes(NamedTuple):
    """Sizes of a multi-resolution grid."""

    num_levels: int
    """Levels."""
    features_per_level: int
    """Features of each level."""
    log2_table_size: int
    """Most entries of a level, as a power of two."""
    base_resolution: int
    """Vertices along each axis of the coarsest level."""
    growth: float
    """How many times finer each level is than the one before."""


def growth_between(base_resolution: int, finest_resolution: float, num_levels: int) -> float:
    """The factor between levels that leads from the coarsest to the finest resolution.

    Raises:
        InputError: The finest level would be coarser than the coarsest.
    """
    if base_resolution < 1 or finest_resolution < base_resolution:
        raise InputError(
            f"finest-resolution is {finest_resolution:g}, expected at least base-resolution, {base_resolution}."
        )
    return (finest_resolution / base_resolution) ** (1 / (num_levels - 1)) if num_levels > 1 else 1.0


def build_feature_grid(
    in_dim: int,
    sizes: GridSizes,
    *,
    backend: GridBackend = "grid",
    interpolation: Interpolation = "linear",
    implementation: Implementation = "auto",
) -> HashGridEncoding | NerfstudioHashGrid:
    """A grid over the unit cube.

    Raises:
        InputError: Sizes or options that the grid does not have.
    """
    if backend not in get_args(GridBackend):
        raise InputError(f"hash-backend is '{backend}', expected grid or nerfstudio.")
    if backend == "nerfstudio":
        return NerfstudioHashGrid(in_dim, sizes, interpolation, implementation)
    return HashGridEncoding(in_dim, **sizes._asdict(), interpolation=interpolation, implementation=implementation)


def cell_edges(grid: HashGridEncoding | NerfstudioHashGrid) -> list[float]:
    """Edge of the cells of each level, in a cube of edge 1."""
    if isinstance(grid, NerfstudioHashGrid):
        return grid.cell_edges
    return [1 / level.scale for level in grid.levels]


class NerfstudioHashGrid(nn.Module):
    """nerfstudio's ``HashEncoding``, called like this package's ``HashGridEncoding``.

    Its torch implementation hashes all levels, the coarse ones too, and interpolates linearly. Its torch and its
    tiny-cuda-nn parameters differ, so a checkpoint of one does not load in the other; tiny-cuda-nn computes in 16-bit
    floats, whose features are handed on in 32 bits. Coordinates are clamped to [0, 1].

    Args:
        in_dim: Dimensions of the points, 3.
        sizes: Sizes of the grid.
        interpolation: ``smoothstep`` needs tiny-cuda-nn.
        implementation: ``tcnn`` needs tiny-cuda-nn and CUDA; ``auto`` takes it where both are there.

    Raises:
        InputError: Other than three dimensions, or what the implementation does not have.
    """

    def __init__(
        self, in_dim: int, sizes: GridSizes, interpolation: Interpolation, implementation: Implementation
    ) -> None:
        super().__init__()
        if in_dim != 3:
            raise InputError(f"nerfstudio's hash encoding has 3 dimensions, not {in_dim}; use hash-backend grid.")
        if implementation not in get_args(Implementation):
            raise InputError(f"implementation is '{implementation}', expected auto, torch or tcnn.")
        if min(sizes.num_levels, sizes.features_per_level, sizes.base_resolution) < 1 or sizes.growth < 1:
            raise InputError(
                f"A hash grid needs at least 1 level, 1 feature per level, base resolution 1 and growth 1; got {sizes}."
            )
        has_tcnn = torch.cuda.is_available() and find_spec("tinycudann") is not None
        use_tcnn = implementation == "tcnn" or (implementation == "auto" and has_tcnn)
        if use_tcnn and not has_tcnn:
            raise InputError(
                "implementation is tcnn, but tiny-cuda-nn is not installed or there is no CUDA device; use auto or "
                "torch."
            )
        if interpolation == "smoothstep" and not use_tcnn:
            raise InputError(
                "nerfstudio's hash encoding interpolates with smoothstep on tiny-cuda-nn only; use hash-backend grid "
                "or interpolation linear."
            )
        from nerfstudio.field_components.encodings import HashEncoding

        self.features_per_level = sizes.features_per_level
        self.out_dim = sizes.num_levels * sizes.features_per_level
        resolutions = [sizes.base_resolution * sizes.growth**level for level in range(sizes.num_levels)]
        # Its torch implementation rounds the number of cells down, tiny-cuda-nn has one cell fewer than vertices.
        self.cell_edges = [1 / max(1, r - 1 if use_tcnn else int(r + 1e-4)) for r in resolutions]
        self.encoding = HashEncoding(
            num_levels=sizes.num_levels,
            min_res=sizes.base_resolution,
            max_res=round(resolutions[-1]),
            log2_hashmap_size=sizes.log2_table_size,
            features_per_level=sizes.features_per_level,
            hash_init_scale=1e-4,
            implementation="tcnn" if use_tcnn else "torch",
            interpolation="Smoothstep" if interpolation == "smoothstep" else "Linear",
        )

    def forward(self, coordinates: Tensor, num_active: int | None = None) -> Tensor:
        """Features ``(*batch, out_dim)`` at ``(*batch, 3)`` in [0, 1]; 0 beyond the first ``num_active`` levels."""
        features = self.encoding(coordinates.reshape(-1, 3).clamp(0, 1)).to(coordinates.dtype)
        if num_active is not None:
            kept = num_active * self.features_per_level
            features = nn.functional.pad(features[:, :kept], (0, self.out_dim - kept))
        return features.view(*coordinates.shape[:-1], self.out_dim)
