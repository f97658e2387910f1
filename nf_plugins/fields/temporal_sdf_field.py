"""A signed-distance field in time with colour: the field of the dynamic ResFields methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from nf_plugins.field_components.annealed_encoding import AnnealedPositionalEncoding, annealing_window
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.sdf_network import ColorNetwork, SDFNetwork
from nf_plugins.model_components.density import LaplaceDensity


@dataclass
class TemporalSDFFieldConfig(InstantiateConfig):
    """Sizes of the signed-distance and colour networks; the defaults are the published ones."""

    _target: type = field(default_factory=lambda: TemporalSDFField)
    """Target class to instantiate."""
    num_layers: int = 8
    """Hidden layers of the signed-distance network."""
    hidden_dim: int = 128
    """Width of its hidden layers."""
    feature_dim: int = 128
    """Width of the feature that the colour network receives."""
    skip_layer: int = 4
    """Layer that sees the encoded input again."""
    residual_layers: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    """Layers with a weight residual per frame (0 is the input layer); empty trains the same network without them."""
    residual_rank: int = 10
    """Rank of the residuals: basis matrices per layer."""
    residual_mode: Literal["lookup", "interpolation"] = "lookup"
    """Whether coefficients belong to the nearest frame or are interpolated between neighbours."""
    num_coefficients: int | None = None
    """Rows of the coefficient tables; fewer than frames (with interpolation) makes residuals vary more slowly."""
    num_position_frequencies: int = 6
    """Octaves of the position encoding."""
    num_time_frequencies: int = 6
    """Octaves of the time encoding that is concatenated to the position."""
    color_hidden_dim: int = 128
    """Width of the colour network."""
    initial_radius: float = 0.5
    """Radius of the sphere that the surface starts as, scene units."""
    initial_beta: float = 0.1
    """Starting width of the Laplace density, scene units; trained with everything else."""


class EncodedTime(nn.Module):
    """Hyper coordinates of T-NeRF: the encoded time ``2 f / T - 1`` of frame coordinate f (ResFields, Sec. 4).

    Args:
        num_frames: Number of training frames T.
        num_frequencies: Octaves of the encoding.
    """

    def __init__(self, num_frames: int, num_frequencies: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.num_frequencies = num_frequencies
        self.encoding = AnnealedPositionalEncoding(1, num_frequencies)

    @property
    def out_dim(self) -> int:
        """Number of hyper features."""
        return self.encoding.out_dim

    def forward(self, points: Tensor, frames: FrameBatch, alpha: Tensor) -> Tensor:
        """Features ``(G, P, out_dim)`` of the observed points ``(G, P, 3)`` at the frames of the G groups."""
        time = (2 * frames.coordinates / self.num_frames - 1).to(points.dtype)
        encoded = self.encoding(time[:, None, None], annealing_window(alpha, self.num_frequencies))
        return encoded.expand(-1, points.shape[1], -1)


class TemporalSDFField(nn.Module):
    """Points and frames to signed distance, density and colour.

    Works on points grouped by frame, ``(G, P, 3)`` in scene units, so that each group composes its weights once.

    Args:
        config: Sizes.
        num_frames: Number of training frames T.
        warp: Maps ``(points, frames, alpha)`` to canonical points of the same shape; None observes directly.
        hyper: Maps ``(points, frames, alpha)`` to features ``(G, P, hyper.out_dim)`` that are concatenated to the
            encoded canonical points; None concatenates nothing.
    """

    alpha: Tensor

    def __init__(
        self,
        config: TemporalSDFFieldConfig,
        num_frames: int,
        warp: nn.Module | None = None,
        hyper: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.warp = warp
        self.hyper = hyper
        self.position_encoding = AnnealedPositionalEncoding(3, config.num_position_frequencies)
        self.sdf_network = SDFNetwork(
            self.position_encoding.out_dim,
            0 if hyper is None else int(hyper.out_dim),  # type: ignore[arg-type]
            num_layers=config.num_layers,
            hidden_dim=config.hidden_dim,
            feature_dim=config.feature_dim,
            skip_layer=config.skip_layer,
            residual_layers=config.residual_layers,
            num_frames=num_frames,
            residual_rank=config.residual_rank,
            residual_mode=config.residual_mode,
            num_coefficients=config.num_coefficients,
            initial_radius=config.initial_radius,
        )
        self.color_network = ColorNetwork(config.feature_dim, config.color_hidden_dim)
        self.laplace_density = LaplaceDensity(config.initial_beta)
        self.register_buffer("alpha", torch.ones(()))

    def geometry(self, points: Tensor, frames: FrameBatch) -> tuple[Tensor, Tensor]:
        """Signed distance and feature.

        Args:
            points: Observed points ``(G, P, 3)``, scene units.
            frames: Frames of the G groups.

        Returns:
            Signed distance ``(G, P, 1)`` (negative inside, scene units) and feature ``(G, P, feature_dim)``.
        """
        canonical_points = points if self.warp is None else self.warp(points, frames, self.alpha)
        window = annealing_window(self.alpha, self.config.num_position_frequencies)
        encoded = self.position_encoding(canonical_points, window)
        if self.hyper is not None:
            encoded = torch.cat([encoded, self.hyper(points, frames, self.alpha)], dim=-1)
        output = self.sdf_network(encoded, frames)
        return output[..., :1], output[..., 1:]

    def geometry_with_gradient(
        self, points: Tensor, frames: FrameBatch, create_graph: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Signed distance, feature and the spatial gradient of the distance ``(G, P, 3)`` at observed points.

        Works without a surrounding graph too; ``create_graph`` makes the gradient differentiable (eikonal term).
        """
        with torch.enable_grad():
            points = points.requires_grad_(True) if points.is_leaf else points
            signed_distance, feature = self.geometry(points, frames)
            (gradient,) = torch.autograd.grad(
                signed_distance.sum(), points, create_graph=create_graph, retain_graph=create_graph
            )
        return signed_distance, feature, gradient

    def density(self, signed_distance: Tensor) -> Tensor:
        """Laplace density of a signed distance, ``1/beta`` deep inside (Yariv et al. 2021, Eq. 2); same shape."""
        return self.laplace_density(signed_distance)

    def color(self, feature: Tensor) -> Tensor:
        """RGB in [0, 1] of geometry features ``(*batch, feature_dim)``."""
        return self.color_network(feature)
