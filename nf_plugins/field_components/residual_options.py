"""What a residual layer can be asked for, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nf_plugins.errors import InputError

Factorisation = Literal["vm", "none", "cp", "tucker", "loe", "vm_attention", "vm_noweight", "resnet"]
"""How a residual is made."""
Fuse = Literal["add", "mul", "none"]
"""How it meets the shared weight."""
Mode = Literal["lookup", "interpolation"]
"""How a time selects coefficients."""


@dataclass(frozen=True)
class ResidualSpec:
    """Sizes and options of one residual layer.

    Raises:
        InputError: A size below one, an unknown option, or coefficient rows that the mode cannot use.
    """

    in_features: int
    """Input width."""
    out_features: int
    """Output width."""
    num_frames: int
    """Training frames T."""
    num_rows: int
    """Rows C of the coefficient table."""
    rank: int | tuple[int, ...]
    """Rank R; for ``tucker`` possibly those of time, output and input."""
    mode: Mode = "lookup"
    """How a time selects coefficients."""
    factorisation: Factorisation = "vm"
    """How the residual is made."""
    fuse: Fuse = "add"
    """How it meets the shared weight."""
    faithful: bool = False
    """Whether defects of the reference are kept."""

    def __post_init__(self) -> None:
        ranks = (self.rank,) if isinstance(self.rank, int) else self.rank
        if self.num_frames < 1 or min(ranks, default=-1) < 0 or self.num_rows < 1:
            raise InputError(
                f"A residual layer needs num_frames >= 1, rank >= 0 and num_coefficients >= 1; "
                f"got {self.num_frames}, {self.rank} and {self.num_rows}."
            )
        for name, value, known in (
            ("mode", self.mode, get_args(Mode)),
            ("factorisation", self.factorisation, get_args(Factorisation)),
            ("fuse", self.fuse, get_args(Fuse)),
        ):
            if value not in known:
                raise InputError(f"Residual {name} '{value}' is not known; use one of {', '.join(known)}.")
        if self.mode == "lookup" and self.num_rows != self.num_frames:
            raise InputError(
                f"num_coefficients={self.num_rows} differs from num_frames={self.num_frames}, which only mode "
                f"'interpolation' can use; 'lookup' needs one row per frame."
            )
        if self.factorisation == "resnet" and self.fuse != "add":
            raise InputError(
                f"Residual factorisation 'resnet' adds a vector behind the activation and leaves the weight alone, so "
                f"fuse '{self.fuse}' means nothing; use fuse 'add'."
            )


def ranks_of_layers(
    rank: int | tuple[int, ...], layers: tuple[int, ...], factorisation: Factorisation
) -> dict[int, int | tuple[int, ...]]:
    """The rank of each residual layer of a network.

    Args:
        rank: One rank for all, or one for each of ``layers`` in their order; with ``tucker`` one rank, or the three of
            time, output and input, which all layers share.
        layers: The residual layers.
        factorisation: How the residuals are made.

    Raises:
        InputError: Another number of ranks, or rank 0 for a layer that was asked to have a residual.
    """
    ranks = (rank,) if isinstance(rank, int) else tuple(rank)
    if 0 in ranks and layers:
        raise InputError(
            f"residual-rank {' '.join(map(str, ranks))} holds a 0, which means no residual: take the layer out of "
            f"residual-layers ({' '.join(map(str, layers))}) instead."
        )
    if len(ranks) == 1:
        return dict.fromkeys(layers, ranks[0])
    if factorisation == "tucker" and len(ranks) == 3:
        return dict.fromkeys(layers, ranks)
    if factorisation == "tucker" or len(ranks) != len(layers):
        expected = "1 or 3 (time, output, input)" if factorisation == "tucker" else f"1 or {len(layers)}, one per layer"
        raise InputError(
            f"residual-rank has {len(ranks)} numbers for residual-layers {' '.join(map(str, layers)) or 'none'} with "
            f"factorisation '{factorisation}'; expected {expected}."
        )
    return dict(zip(layers, ranks, strict=True))
