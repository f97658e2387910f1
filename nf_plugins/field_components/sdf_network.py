"""The signed-distance and colour networks that all dynamic ResFields methods share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.geometric_initialisation import SOFTPLUS_BETA, initialise_as_sphere
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.field_components.residual_options import Factorisation, Fuse, ranks_of_layers


class SDFNetwork(nn.Module):
    """MLP from encoded points to a signed distance and a feature, starting as a sphere.

    Geometric initialisation (Atzmon & Lipman 2020): the raw coordinates carry a sphere of ``initial_radius``; every
    other input column of the first and of the skip layer starts at zero. Negative inside.

    Args:
        num_position_features: Width of the encoded position; its first three columns are the raw coordinates.
        num_hyper_features: Width of what is concatenated to it (encoded time, ambient coordinates, codes).
        num_layers: Hidden layers.
        hidden_dim: Width of the hidden layers.
        feature_dim: Width of the feature beside the distance.
        skip_layer: Layer whose input is ``[hidden, input] / sqrt(2)``; the layer before it is narrower by the input.
        residual_layers: Layers (0 is the input layer) with a residual per frame.
        num_frames: Number of training frames.
        residual_rank: Rank of the residuals; see
            :func:`~nf_plugins.field_components.residual_options.ranks_of_layers`.
        residual_mode: Coefficient mode of the residuals.
        num_coefficients: Rows of the coefficient tables, default one per frame.
        residual_factorisation: How the residuals are factorised; see ``ResFieldLinear``.
        residual_fuse: How they meet the shared weight.
        residual_faithful: Whether variants keep the reference's defects.
        initial_radius: Radius of the starting sphere, scene units.
    """

    def __init__(
        self,
        num_position_features: int,
        num_hyper_features: int,
        *,
        num_layers: int = 8,
        hidden_dim: int = 128,
        feature_dim: int = 128,
        skip_layer: int = 4,
        residual_layers: tuple[int, ...] = (),
        num_frames: int = 1,
        residual_rank: int | tuple[int, ...] = 10,
        residual_mode: Literal["lookup", "interpolation"] = "lookup",
        num_coefficients: int | None = None,
        residual_factorisation: Factorisation = "vm",
        residual_fuse: Fuse = "add",
        residual_faithful: bool = False,
        initial_radius: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_dim = num_position_features + num_hyper_features
        self.skip_layer = skip_layer
        unknown = [layer for layer in residual_layers if not 0 <= layer <= num_layers]
        if unknown:
            raise InputError(
                f"--pipeline.model.sdf-field.residual-layers names layer {unknown[0]}, but with num-layers {num_layers}"
                f" they are numbered 0 to {num_layers}."
            )
        if len(set(residual_layers)) < len(residual_layers):
            raise InputError(
                f"--pipeline.model.sdf-field.residual-layers {' '.join(map(str, residual_layers))} names a layer twice."
            )
        ranks = ranks_of_layers(residual_rank, residual_layers, residual_factorisation)
        if not 1 <= skip_layer <= num_layers:
            raise InputError(f"--pipeline.model.sdf-field.skip-layer {skip_layer} is not within 1 to {num_layers}.")
        if hidden_dim <= self.in_dim:
            raise InputError(
                f"--pipeline.model.sdf-field.hidden-dim {hidden_dim} is too narrow: the layer before the skip needs "
                f"more than the {self.in_dim} encoded inputs; widen it or use fewer frequencies."
            )
        self.layers = nn.ModuleList()
        for layer in range(num_layers + 1):
            in_dim = self.in_dim if layer == 0 else hidden_dim
            out_dim = hidden_dim - self.in_dim if layer == skip_layer - 1 else hidden_dim
            out_dim = 1 + feature_dim if layer == num_layers else out_dim
            if layer in ranks:
                linear: nn.Linear = ResFieldLinear(
                    in_dim,
                    out_dim,
                    num_frames=num_frames,
                    rank=ranks[layer],
                    mode=residual_mode,
                    num_coefficients=num_coefficients,
                    factorisation=residual_factorisation,
                    fuse=residual_fuse,
                    faithful=residual_faithful,
                )
            else:
                linear = nn.Linear(in_dim, out_dim)
            self.layers.append(linear)
        initialise_as_sphere([*self.layers], self.in_dim, (skip_layer,), initial_radius)  # type: ignore[list-item]

    def forward(self, encoded: Tensor, frames: FrameBatch) -> Tensor:
        """Evaluates points grouped by frame.

        Args:
            encoded: ``[encoded position, hyper features]``, shape ``(G, P, in_dim)``.
            frames: Frames of the G groups.

        Returns:
            Signed distance (scene units) and feature, ``(G, P, 1 + feature_dim)``.
        """
        hidden = encoded
        for index, layer in enumerate(self.layers):
            if index == self.skip_layer:
                hidden = torch.cat([hidden, encoded], dim=-1) / math.sqrt(2)
            hidden = layer(hidden, frames) if isinstance(layer, ResFieldLinear) else layer(hidden)
            if index < len(self.layers) - 1:
                hidden = nn.functional.softplus(hidden, beta=SOFTPLUS_BETA)
            if isinstance(layer, ResFieldLinear):
                hidden = layer.add_output_residual(hidden, frames)
        return hidden


class ColorNetwork(nn.Sequential):
    """Two-layer MLP from the geometry feature ``(*batch, feature_dim)`` to RGB in [0, 1]; sees no view direction."""

    def __init__(self, feature_dim: int = 128, hidden_dim: int = 128) -> None:
        super().__init__(nn.Linear(feature_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 3), nn.Sigmoid())
