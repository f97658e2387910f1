"""Density and colour from feature planes: K-Planes and the variant that Im4D is compared with.

Fridovich-Keil, Meanti, Warburg, Recht, Kanazawa, *K-Planes: Explicit Radiance Fields in Space, Time, and Appearance*,
CVPR 2023.
"""

from __future__ import annotations

from typing import Literal

import torch
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.field_components.encodings import SHEncoding
from torch import Tensor, nn

from nf_plugins.field_components.colour_basis import ColourBasis
from nf_plugins.field_components.direction_encoding import DirectionEncoding
from nf_plugins.field_components.late_skip_mlp import LateSkipMLP
from nf_plugins.fields.plane_density_field import PlaneDensityFieldConfig, build_planes

Decoder = Literal["trunk", "hybrid", "explicit"]
GEOMETRY_DIM, HARMONICS = 15, 4


class PlaneRadianceField(nn.Module):
    """Density and view-dependent colour in a box.

    Decoders: ``trunk``, the late-skip network of Im4D with a head for colours that sees the direction; ``hybrid``, two
    small networks, the second of which sees spherical harmonics of the direction; ``explicit``, a linear density and a
    learnt basis of colours.

    Args:
        config: Planes; width and number of hidden layers are of the trunk and of the hybrid's density alone.
        aabb: Lower and upper corner ``(2, 3)`` of the box that the planes span, scene units.
        num_frames: Training frames.
        metres_per_unit: World units in a unit of the scene; densities are learnt per metre.
        decoder: What turns features into density and colour.
    """

    aabb: Tensor

    def __init__(
        self,
        config: PlaneDensityFieldConfig,
        aabb: Tensor,
        num_frames: int,
        metres_per_unit: float,
        decoder: Decoder = "trunk",
    ) -> None:
        super().__init__()
        self.decoder, self.metres_per_unit = decoder, float(metres_per_unit)
        self.encoding = build_planes(config, num_frames)
        self.register_buffer("aabb", aabb.detach().clone().float())
        features, width = self.encoding.out_dim, config.width
        if decoder == "trunk":
            self.network: nn.Module = LateSkipMLP(features, width, config.num_hidden)
            self.direction_encoding: nn.Module = DirectionEncoding(1)
            self.color: nn.Module = layers(width + 9, width, 3, 3)
        elif decoder == "hybrid":
            self.network = layers(features, width, 1, 1 + GEOMETRY_DIM)
            self.direction_encoding = SHEncoding(HARMONICS, implementation="torch")
            self.color = layers(HARMONICS**2 + GEOMETRY_DIM, width, 2, 3)
        else:
            self.network = nn.Linear(features, 1, bias=False)
            self.color = ColourBasis(features)

    def density_and_hidden(self, points: Tensor, times: Tensor | float) -> tuple[Tensor, Tensor]:
        """Density per scene unit ``(N, 1)`` and what :meth:`colors` takes ``(N, W)``.

        Args:
            points: Scene units ``(N, 3)``; outside the box the border's features count.
            times: In [0, 1], ``(N,)`` or one for all.
        """
        features = self.encoding((points - self.aabb[0]) / (self.aabb[1] - self.aabb[0]), times)
        if isinstance(self.network, LateSkipMLP):
            hidden = self.network.trunk(features)
            raw = self.network.head(hidden)
        elif self.decoder == "hybrid":
            raw, hidden = self.network(features).split([1, GEOMETRY_DIM], dim=-1)
        else:
            raw, hidden = self.network(features), features
        return self.metres_per_unit * trunc_exp(raw.float() - 1), hidden

    def colors(self, hidden: Tensor, directions: Tensor) -> Tensor:
        """Colours ``(N, 3)`` in [0, 1], seen along unit directions ``(N, 3)``."""
        if self.decoder == "explicit":
            return self.color(hidden, directions)
        encoded = self.direction_encoding(directions)
        return torch.sigmoid(self.color(torch.cat([hidden, encoded], dim=-1)))


def layers(in_dim: int, width: int, num_hidden: int, out_dim: int) -> nn.Sequential:
    """Hidden layers with ReLU and a linear head."""
    parts: list[nn.Module] = []
    for size in [in_dim, *[width] * (num_hidden - 1)]:
        parts += [nn.Linear(size, width), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, out_dim))
