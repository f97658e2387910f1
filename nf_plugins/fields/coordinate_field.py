"""A signal over coordinates and frames: the field of videos (t, y, x) and of temporal signed distances (t, x, y, z)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.fields.base_field import Field, FieldConfig
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.coordinate_network import CoordinateNetwork
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_options import Factorisation, Fuse, Mode


@dataclass
class CoordinateFieldConfig(FieldConfig):
    """A coordinate network, with or without residual layers, or a hash grid; the defaults are the published SIREN."""

    _target: type = field(default_factory=lambda: CoordinateField)
    """Target class to instantiate."""
    network: Literal["siren", "relu", "hash_grid"] = "siren"
    """SIREN, its twin with ReLU, or a multi-resolution hash grid with a small network."""
    hidden_dim: int = 256
    """Width of the hidden layers (siren, relu)."""
    num_hidden_layers: int = 4
    """Hidden layers (siren, relu)."""
    omega: float = 30.0
    """Frequency of the sines (siren)."""
    residual_layers: tuple[int, ...] = (1, 2, 3)
    """Layers with a residual per frame (0 is the input layer); empty trains the same network without them."""
    residual_rank: tuple[int, ...] = (10,)
    """Rank of the residuals: one for all, or one per residual layer; with tucker one, or those of time, output, input.
    """
    residual_mode: Mode = "lookup"
    """Whether coefficients belong to the nearest frame or are interpolated between neighbours."""
    num_coefficients: int | None = None
    """Rows of the coefficient tables; fewer than frames (with interpolation) makes residuals vary more slowly."""
    coefficient_ratio: float | None = None
    """The same as a share of the number of frames, in (0, 1]."""
    residual_factorisation: Factorisation = "vm"
    """How the residual of a layer is made; vm is the published method, the others are its ablations."""
    residual_fuse: Fuse = "add"
    """Whether the residual is added to the shared weight, multiplied with it, or takes its place."""
    residual_faithful: bool = False
    """Keeps defects of the reference that its published ablations depend on (mul, loe, vm_noweight)."""
    hash_num_levels: int = 16
    """Levels of the hash grid."""
    hash_features_per_level: int = 2
    """Features of each level."""
    hash_log2_table_size: int = 20
    """Entries of a level's table, as a power of two."""
    hash_base_resolution: int = 16
    """Vertices along each axis of the coarsest level."""
    hash_growth: float = 1.5
    """How many times finer each level is than the one before."""
    hash_hidden_dim: int = 64
    """Width of the network behind the hash grid."""
    hash_num_hidden_layers: int = 2
    """Hidden layers of that network."""
    implementation: Literal["auto", "torch", "tcnn"] = "auto"
    """Backend of the hash grid; auto takes tiny-cuda-nn where it is installed and there is a GPU."""


def coefficient_rows(config: CoordinateFieldConfig, num_frames: int) -> int | None:
    """Rows of the coefficient tables that the config asks for; None for one per frame.

    Raises:
        InputError: Both ways of saying it, a ratio outside (0, 1], or a ratio below 1 without interpolation.
    """
    ratio = config.coefficient_ratio
    if ratio is None:
        return config.num_coefficients
    if config.num_coefficients is not None:
        raise InputError(
            f"num-coefficients {config.num_coefficients} and coefficient-ratio {ratio} say the same thing; give one."
        )
    if not 0 < ratio <= 1:
        raise InputError(f"coefficient-ratio {ratio} is not within 0 (exclusive) and 1.")
    rows = max(1, int(ratio * num_frames))
    if rows < num_frames and config.residual_mode == "lookup":
        raise InputError(
            f"coefficient-ratio {ratio} leaves {rows} coefficient rows for {num_frames} frames, and residual-mode "
            f"lookup needs one row per frame; use residual-mode interpolation."
        )
    return rows


class CoordinateField(Field):
    """Coordinates grouped by frame to a signal.

    Args:
        config: Kind and sizes of the network.
        in_dim: Number of coordinates.
        out_dim: Channels of the signal.
        num_frames: Number of training frames T.

    Raises:
        InputError: What the config asks for does not fit together.
    """

    def __init__(self, config: CoordinateFieldConfig, in_dim: int, out_dim: int, num_frames: int) -> None:
        super().__init__()
        self.config = config
        self.in_dim = in_dim
        self.out_dim = out_dim
        self.num_frames = num_frames
        self.network = self._build_network()

    def _build_network(self) -> nn.Module:
        config = self.config
        if config.network == "hash_grid":
            from nf_plugins.field_components.hash_grid import HashGridNetwork

            return HashGridNetwork(
                self.in_dim,
                self.out_dim,
                num_levels=config.hash_num_levels,
                features_per_level=config.hash_features_per_level,
                log2_table_size=config.hash_log2_table_size,
                base_resolution=config.hash_base_resolution,
                growth=config.hash_growth,
                implementation=config.implementation,
                hidden_dim=config.hash_hidden_dim,
                num_hidden_layers=config.hash_num_hidden_layers,
            )
        if config.network not in ("siren", "relu"):
            raise InputError(f"Network '{config.network}' is not known; use siren, relu or hash_grid.")
        return CoordinateNetwork(
            self.in_dim,
            self.out_dim,
            hidden_dim=config.hidden_dim,
            num_hidden_layers=config.num_hidden_layers,
            activation="sine" if config.network == "siren" else "relu",
            omega=config.omega,
            residual_layers=config.residual_layers,
            num_frames=self.num_frames,
            residual_rank=config.residual_rank,
            residual_mode=config.residual_mode,
            num_coefficients=coefficient_rows(config, self.num_frames),
            residual_factorisation=config.residual_factorisation,
            residual_fuse=config.residual_fuse,
            residual_faithful=config.residual_faithful,
        )

    def forward(self, coordinates: Tensor, frames: FrameBatch) -> Tensor:  # type: ignore[override]
        """The signal at coordinates grouped by frame.

        Args:
            coordinates: In [-1, 1], shape ``(G, P, in_dim)``; the first one is time.
            frames: Frames of the G groups.

        Returns:
            ``(G, P, out_dim)``, unbounded.
        """
        return self.network(coordinates, frames)
