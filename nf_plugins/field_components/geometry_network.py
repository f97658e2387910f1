"""IDR's two networks: from an encoded point to signed distance and feature, and from these to colour.

Yariv et al., *Multiview Neural Surface Reconstruction by Disentangling Geometry and Appearance*, NeurIPS 2020.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nf_plugins.errors import InputError
from nf_plugins.field_components.geometric_initialisation import SOFTPLUS_BETA, initialise_as_sphere

ColorInputs = Literal["idr", "no_view_dir", "no_normal", "no_feature"]


class GeometryNetwork(nn.Module):
    """Softplus MLP from an encoded point to signed distance (scene units, negative inside) and feature.

    Args:
        in_dim: Width of the encoded point; its first three columns are the raw coordinates.
        num_layers: Hidden layers.
        hidden_dim: Their width.
        feature_dim: Width of the feature beside the distance; may be 0.
        skip_layer: Layer whose input is ``[hidden, encoded] / sqrt(2)``; the one before it is narrower by the encoding.
        initial_radius: Radius that the starting sphere is asked to have, scene units.
        use_weight_norm: Learn length and direction of each row of the weights apart.

    Raises:
        InputError: The encoding is wider than the layers, or there is no such skip layer.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        num_layers: int = 8,
        hidden_dim: int = 512,
        feature_dim: int = 256,
        skip_layer: int = 4,
        initial_radius: float = 0.6,
        use_weight_norm: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= skip_layer <= num_layers:
            raise InputError(f"--pipeline.model.sdf-field.skip-layer {skip_layer} is not within 1 to {num_layers}.")
        if hidden_dim <= in_dim:
            raise InputError(
                f"--pipeline.model.sdf-field.hidden-dim {hidden_dim} is too narrow: the layer before the skip needs "
                f"more than the {in_dim} channels of the encoded point. Widen it, or encode with fewer: "
                "--pipeline.model.sdf-field.encoding.num-frequencies with posenc, num-fourier-features with fourier, "
                "num-levels or features-per-level with hash, nffb-out-dim with nffb and stylemod-nffb (nffb-width with "
                "nffb-output concatenate)."
            )
        self.skip_layer = skip_layer
        widths_in = [in_dim] + [hidden_dim] * num_layers
        widths_out = [hidden_dim] * num_layers + [1 + feature_dim]
        widths_out[skip_layer - 1] -= in_dim
        layers = [nn.Linear(*widths) for widths in zip(widths_in, widths_out, strict=True)]
        initialise_as_sphere(layers, in_dim, (skip_layer,), initial_radius)
        self.layers = nn.ModuleList(weight_norm(layer) if use_weight_norm else layer for layer in layers)

    def forward(self, encoded: Tensor) -> Tensor:
        """Distance and feature ``(*batch, 1 + feature_dim)`` of encoded points ``(*batch, in_dim)``."""
        hidden = encoded
        for index, layer in enumerate(self.layers):
            if index == self.skip_layer:
                hidden = torch.cat([hidden, encoded], dim=-1) / math.sqrt(2)
            hidden = layer(hidden)
            if index < len(self.layers) - 1:
                hidden = nn.functional.softplus(hidden, beta=SOFTPLUS_BETA)
        return hidden


class AppearanceNetwork(nn.Module):
    """ReLU MLP from a surface point, its normal, the view and the geometry's feature to RGB in [0, 1].

    Its input is ``[points, encoded view, normals, feature]``, without what ``inputs`` leaves out: the ablations of IDR.

    Args:
        view_dim: Width of the encoded view direction.
        feature_dim: Width of the feature.
        inputs: ``idr`` sees everything; the others leave out what they name.
        num_layers: Hidden layers.
        hidden_dim: Their width.
        use_weight_norm: As in :class:`GeometryNetwork`.
    """

    def __init__(
        self,
        view_dim: int,
        feature_dim: int = 256,
        *,
        inputs: ColorInputs = "idr",
        num_layers: int = 4,
        hidden_dim: int = 512,
        use_weight_norm: bool = True,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        parts = {"no_view_dir": view_dim, "no_normal": 3, "no_feature": feature_dim}
        in_dim = 3 + sum(width for left_out, width in parts.items() if left_out != inputs)
        widths = [in_dim, *[hidden_dim] * num_layers, 3]
        layers = [nn.Linear(*pair) for pair in zip(widths[:-1], widths[1:], strict=True)]
        self.layers = nn.ModuleList(weight_norm(layer) if use_weight_norm else layer for layer in layers)

    def forward(self, points: Tensor, encoded_view: Tensor, normals: Tensor, feature: Tensor) -> Tensor:
        """RGB ``(*batch, 3)``; the network's own range is [-1, 1], which is moved to [0, 1]."""
        parts = {"no_view_dir": encoded_view, "no_normal": normals, "no_feature": feature}
        hidden = torch.cat([points, *(part for name, part in parts.items() if name != self.inputs)], dim=-1)
        for layer in self.layers[:-1]:
            hidden = torch.relu(layer(hidden))
        return 0.5 * (torch.tanh(self.layers[-1](hidden)) + 1)
