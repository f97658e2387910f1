"""Multi-resolution hash encoding in two to four dimensions, and the small network behind it.

Müller et al., *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding*, SIGGRAPH 2022. Sizes, order
of the table and hash are those of tiny-cuda-nn's ``HashGrid``, so that its encoding can work on the same parameters.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch

PRIMES = (1, 2654435761, 805459861, 3674653429)
"""One factor per axis; the products are combined by exclusive or."""
Interpolation = Literal["linear", "smoothstep"]
"""Multilinear, with kinks at the borders of cells; or with weights ``3 t^2 - 2 t^3``, whose slopes vanish there."""
INITIAL_FEATURE = 1e-4
"""Features start uniformly within this of 0."""
ENTRY_MULTIPLE = 8
"""Dense levels are rounded up to a multiple of this many entries."""


class GridLevel(NamedTuple):
    """One level of the encoding."""

    scale: float
    """Cells between coordinates 0 and 1."""
    resolution: int
    """Vertices along each axis."""
    num_entries: int
    """Entries of the level's table."""
    is_dense: bool
    """Whether every vertex has its own entry; otherwise vertices share entries by their hash."""


def grid_levels(
    in_dim: int, *, num_levels: int, log2_table_size: int, base_resolution: int, growth: float
) -> list[GridLevel]:
    """Sizes of all levels, coarse to fine.

    Level l has ``base_resolution * growth**l - 1`` cells; its vertices stand half a cell away from the border of the
    unit cube, so that the vertices of different levels do not coincide. A level is dense where all its vertices fit
    into the table.
    """
    levels = []
    for level in range(num_levels):
        scale = base_resolution * growth**level - 1
        # 1.5 ** 3 is exact, other powers are not: a whole number must not be rounded up by its last bit.
        resolution = math.ceil(scale - 1e-6) + 1
        vertices = resolution**in_dim
        is_dense = vertices <= 2**log2_table_size
        entries = -(-vertices // ENTRY_MULTIPLE) * ENTRY_MULTIPLE if is_dense else 2**log2_table_size
        levels.append(GridLevel(scale, resolution, entries, is_dense))
    return levels


class HashGridEncoding(nn.Module):
    """Features of all levels at a point, each interpolated between the vertices of its cell.

    Coordinates are clamped to [0, 1]: outside, the features are those of the nearest point of the border and their
    gradient with respect to the coordinate is zero. Double backward works with the torch implementation.

    ``table`` holds all features, level by level, in the order of tiny-cuda-nn; both implementations read it, so a
    checkpoint of one loads in the other. They differ within half a cell of the upper border of dense levels, where
    tiny-cuda-nn wraps around and this one repeats the last vertex.

    Args:
        in_dim: Dimensions, 2 to 4.
        num_levels: Levels.
        features_per_level: Features of each level.
        log2_table_size: Most entries of a level, as a power of two.
        base_resolution: Vertices along each axis of the coarsest level.
        growth: How many times finer each level is than the one before.
        interpolation: ``smoothstep`` makes the gradient with respect to the coordinates continuous.
        implementation: ``tcnn`` needs tiny-cuda-nn; ``auto`` takes it where it is installed and CUDA is there. On the
            CPU the torch implementation runs in either case.

    Raises:
        InputError: A size that makes no grid, or ``tcnn`` without tiny-cuda-nn.
    """

    table: nn.Parameter

    def __init__(
        self,
        in_dim: int,
        *,
        num_levels: int = 16,
        features_per_level: int = 2,
        log2_table_size: int = 20,
        base_resolution: int = 16,
        growth: float = 1.5,
        interpolation: Interpolation = "linear",
        implementation: Literal["auto", "torch", "tcnn"] = "auto",
    ) -> None:
        super().__init__()
        if not 2 <= in_dim <= 4:
            raise InputError(f"A hash grid has 2 to 4 dimensions, got {in_dim}.")
        if num_levels < 1 or features_per_level < 1 or base_resolution < 2 or growth < 1:
            raise InputError(
                f"A hash grid needs at least 1 level, 1 feature per level, base resolution 2 and growth 1; got "
                f"{num_levels}, {features_per_level}, {base_resolution} and {growth:g}."
            )
        if not 3 <= log2_table_size <= 30:
            raise InputError(f"log2-table-size is {log2_table_size}, expected 3 to 30.")
        if interpolation not in get_args(Interpolation):
            raise InputError(f"interpolation is '{interpolation}', expected linear or smoothstep.")
        self.in_dim = in_dim
        self.features_per_level = features_per_level
        self.interpolation: Interpolation = interpolation
        self.levels = grid_levels(
            in_dim,
            num_levels=num_levels,
            log2_table_size=log2_table_size,
            base_resolution=base_resolution,
            growth=growth,
        )
        num_features = features_per_level * sum(level.num_entries for level in self.levels)
        self.table = nn.Parameter(torch.empty(num_features).uniform_(-INITIAL_FEATURE, INITIAL_FEATURE))
        config = {
            "otype": "HashGrid",
            "n_levels": num_levels,
            "n_features_per_level": features_per_level,
            "log2_hashmap_size": log2_table_size,
            "base_resolution": base_resolution,
            "per_level_scale": growth,
            "interpolation": interpolation.capitalize(),
        }
        # In a tuple, so that it is no submodule: its only parameter is our table.
        self._accelerated = (accelerated_encoding(in_dim, config, self.table, implementation),)

    @property
    def out_dim(self) -> int:
        """Features of a point."""
        return self.features_per_level * len(self.levels)

    def level_tables(self) -> list[Tensor]:
        """The features of each level ``(num_entries, features_per_level)``, views of ``table``.

        Entry ``sum_d i_d * resolution**d`` of a dense level belongs to the vertex ``i``.
        """
        entries = [level.num_entries for level in self.levels]
        return list(self.table.view(-1, self.features_per_level).split(entries))

    def forward(self, coordinates: Tensor, num_active: int | None = None) -> Tensor:
        """Features ``(*batch, out_dim)`` at coordinates ``(*batch, in_dim)`` in [0, 1].

        Those of the levels beyond the first ``num_active`` are 0; None takes all levels.
        """
        points = coordinates.reshape(-1, self.in_dim).clamp(0, 1)
        (accelerated,) = self._accelerated
        if accelerated is not None and points.is_cuda:
            accelerated.params = self.table
            features = accelerated(points).to(self.table.dtype)
            features = features if num_active is None else features[:, : num_active * self.features_per_level]
        else:
            levels = list(zip(self.level_tables(), self.levels, strict=True))[:num_active]
            features = torch.cat(
                [interpolate_level(points, table, level, self.interpolation) for table, level in levels], dim=-1
            )
        if features.shape[-1] < self.out_dim:
            features = nn.functional.pad(features, (0, self.out_dim - features.shape[-1]))
        return features.view(*coordinates.shape[:-1], self.out_dim)

    def extra_repr(self) -> str:
        dense = sum(level.is_dense for level in self.levels)
        return f"in_dim={self.in_dim}, out_dim={self.out_dim}, levels={len(self.levels)} ({dense} dense)"


def interpolate_level(
    points: Tensor, table: Tensor, level: GridLevel, interpolation: Interpolation = "linear"
) -> Tensor:
    """Interpolation between the vertices of one level.

    Args:
        points: ``(N, D)`` in [0, 1].
        table: The level's features ``(num_entries, F)``.
        level: Its sizes.
        interpolation: The weights of the vertices.

    Returns:
        ``(N, F)``.
    """
    # Points stand last up to the look-up, which keeps the inner loops long.
    positions = points.T * level.scale + 0.5
    lower = positions.detach().floor()
    fractions = positions - lower
    if interpolation == "smoothstep":
        fractions = fractions * fractions * (3 - 2 * fractions)
    vertices = torch.stack([lower.long(), lower.long() + 1])
    if level.is_dense:
        vertices = vertices.clamp(max=level.resolution - 1)
    in_dim, num_points = positions.shape
    index = torch.zeros(num_points, dtype=torch.long, device=points.device)
    for axis in range(in_dim):
        if level.is_dense:
            index = index.unsqueeze(-2) + vertices[:, axis] * level.resolution**axis
        else:
            index = index.unsqueeze(-2) ^ ((vertices[:, axis] * PRIMES[axis]) & (level.num_entries - 1))
    features = table.index_select(0, index.flatten()).view(*[2] * in_dim, num_points, table.shape[-1])
    for axis in range(in_dim):
        fraction = fractions[axis, :, None].expand(-1, table.shape[-1]).contiguous()
        features = torch.lerp(features[0], features[1], fraction)
    return features


def accelerated_encoding(
    in_dim: int, config: dict[str, Any], table: Tensor, implementation: Literal["auto", "torch", "tcnn"]
) -> Any:
    """tiny-cuda-nn's encoding of the same sizes in 32-bit floats, or None where torch does the work.

    Raises:
        InputError: ``tcnn`` was asked for and is not there, or rounds the sizes of the levels differently.
    """
    if implementation not in ("auto", "torch", "tcnn"):
        raise InputError(f"implementation is '{implementation}', expected auto, torch or tcnn.")
    is_there = torch.cuda.is_available() and find_spec("tinycudann") is not None
    if implementation == "torch" or (implementation == "auto" and not is_there):
        return None
    if not is_there:
        raise InputError(
            "implementation is tcnn, but tiny-cuda-nn is not installed or there is no CUDA device; use auto or torch."
        )
    import tinycudann  # type: ignore[import-not-found]

    encoding = tinycudann.Encoding(in_dim, config, dtype=torch.float32)
    if encoding.params.numel() == table.numel():
        return encoding
    if implementation == "auto":
        return None
    raise InputError(
        f"tiny-cuda-nn makes {encoding.params.numel()} parameters of this hash grid instead of {table.numel()}: it "
        "computes the sizes of levels in 32-bit floats; change the growth a little, or use implementation torch."
    )


class HashGridNetwork(nn.Module):
    """Hash encoding and a small ReLU network: a signal over coordinates, without residual layers.

    Args:
        in_dim: Number of coordinates, 2 to 4.
        out_dim: Channels of the signal.
        num_levels: See :class:`HashGridEncoding`, as the five below.
        features_per_level: Likewise.
        log2_table_size: Likewise.
        base_resolution: Likewise.
        growth: Likewise.
        implementation: Likewise.
        hidden_dim: Width of the hidden layers.
        num_hidden_layers: Hidden layers.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        num_levels: int = 16,
        features_per_level: int = 2,
        log2_table_size: int = 20,
        base_resolution: int = 16,
        growth: float = 1.5,
        implementation: Literal["auto", "torch", "tcnn"] = "auto",
        hidden_dim: int = 64,
        num_hidden_layers: int = 2,
    ) -> None:
        super().__init__()
        if hidden_dim < 1 or num_hidden_layers < 0:
            raise InputError(
                f"The network behind a hash grid needs a positive width and no negative number of hidden layers; got "
                f"{hidden_dim} and {num_hidden_layers}."
            )
        self.encoding = HashGridEncoding(
            in_dim,
            num_levels=num_levels,
            features_per_level=features_per_level,
            log2_table_size=log2_table_size,
            base_resolution=base_resolution,
            growth=growth,
            implementation=implementation,
        )
        widths = [self.encoding.out_dim, *[hidden_dim] * num_hidden_layers, out_dim]
        layers: list[nn.Module] = []
        for width, next_width in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, coordinates: Tensor, frames: FrameBatch | None = None) -> Tensor:
        """The signal ``(*batch, out_dim)`` at coordinates ``(*batch, in_dim)`` in [-1, 1]; ``frames`` play no part."""
        return self.mlp(self.encoding((coordinates + 1) / 2))
