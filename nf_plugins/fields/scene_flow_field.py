"""The two networks of Neural Scene Flow Fields: one for what moves, one for what stands.

Both take points of a space in which all that is visible lies in about [-1, 1]^3, such as normalised device coordinates.
The dynamic one also takes the frame, and besides colour and density it says where a point was a frame ago, where it
will be a frame from now, and how likely it is hidden there (Li, Niklaus, Snavely, Wang, *Neural Scene Flow Fields for
Space-Time View Synthesis of Dynamic Scenes*, CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from nerfstudio.fields.base_field import Field, FieldConfig
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows
from nf_plugins.field_components.octave_encoding import OctaveEncoding
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.field_components.residual_options import Factorisation, Fuse, Mode, ranks_of_layers


@dataclass
class SceneFlowFieldConfig(FieldConfig):
    """Sizes of the two networks; the defaults are the published ones."""

    _target: type = field(default_factory=lambda: SceneFlowField)
    """Target class to instantiate."""
    num_layers: int = 8
    """Hidden layers of each network."""
    hidden_dim: int = 256
    """Width of the hidden layers; the authors advise 512 for long clips."""
    skip_layer: int = 5
    """Layer that sees the encoded input again; 0, the input layer, is none."""
    static_only: bool = False
    """Leave everything to the static network, to which all frames show one time: a static NeRF, for comparison."""
    num_position_frequencies: int = 10
    """Octaves of the encoding of points, and of points together with time."""
    num_direction_frequencies: int = 4
    """Octaves of the encoding of view directions."""
    residual_layers: tuple[int, ...] = ()
    """Hidden layers of the dynamic network with a weight residual per frame (ResFields); none as published, 1 to 7 are
    all but the input layer."""
    residual_rank: tuple[int, ...] = (10,)
    """Rank of the residuals: one for all, or one per residual layer; with tucker one, or those of time, output, input.
    """
    residual_mode: Mode = "interpolation"
    """Whether coefficients are interpolated between frames, as times between frames need, or those of the nearest."""
    num_coefficients: int | None = None
    """Rows of the coefficient tables; fewer than frames (with interpolation) makes residuals vary more slowly."""
    residual_factorisation: Factorisation = "vm"
    """How the residual of a layer is made."""
    residual_fuse: Fuse = "add"
    """Whether the residual is added to the shared weight, multiplied with it, or takes its place."""


class DynamicSamples(NamedTuple):
    """What the dynamic network says at points ``(R, K)``; a point's motion does not depend on where it is seen from."""

    rgb: Tensor
    """Colour in [0, 1] ``(R, K, 3)``."""
    density: Tensor
    """Before noise and ReLU ``(R, K)``."""
    flow_backward: Tensor
    """Displacement to the frame before, in the coordinates of the points, each axis in (-1, 1), ``(R, K, 3)``."""
    flow_forward: Tensor
    """Displacement to the frame after, likewise."""
    disocclusion_backward: Tensor
    """Probability in [0, 1] that the point cannot be trusted in the frame before ``(R, K)``."""
    disocclusion_forward: Tensor
    """The same for the frame after."""


def nothing_moves(points: Tensor) -> DynamicSamples:
    """What a dynamic network of empty space would say at points ``(R, K, 3)``."""
    values, vectors = torch.zeros_like(points[..., 0]), torch.zeros_like(points)
    return DynamicSamples(vectors, values, vectors, vectors, values, values)


class StaticSamples(NamedTuple):
    """What the static network says at points ``(R, K)``."""

    rgb: Tensor
    """Colour in [0, 1] ``(R, K, 3)``."""
    density: Tensor
    """Before noise and ReLU ``(R, K)``."""
    blend_weight: Tensor
    """Share of the dynamic network in [0, 1] ``(R, K)``; of place alone, not of time or direction."""


class SkipTrunk(nn.Module):
    """Hidden layers with ReLU, the input once more in front of one of them, residuals per frame in some.

    Args:
        in_dim: Width of the encoded input.
        config: Sizes and residual options.
        residual_layers: Layers with a residual.
        num_frames: Number of training frames T.

    Raises:
        InputError: A layer that does not exist, or what a residual layer refuses.
    """

    def __init__(
        self, in_dim: int, config: SceneFlowFieldConfig, residual_layers: tuple[int, ...] = (), num_frames: int = 1
    ) -> None:
        super().__init__()
        if config.num_layers < 1 or config.hidden_dim < 2:
            raise InputError(
                f"num-layers {config.num_layers} of hidden-dim {config.hidden_dim}: expected at least one layer of two."
            )
        if not 0 <= config.skip_layer < config.num_layers:
            raise InputError(
                f"skip-layer is {config.skip_layer}, expected one of the layers 1 to {config.num_layers - 1} (with "
                f"num-layers {config.num_layers}), or 0 for none."
            )
        outside = [layer for layer in residual_layers if not 0 <= layer < config.num_layers]
        if outside or len(set(residual_layers)) != len(residual_layers):
            raise InputError(
                f"residual-layers {' '.join(map(str, residual_layers))}: each must be one of the layers 0 to "
                f"{config.num_layers - 1} (with num-layers {config.num_layers}), once."
            )
        self.skip_layer = config.skip_layer
        ranks = ranks_of_layers(config.residual_rank, residual_layers, config.residual_factorisation)
        self.layers = nn.ModuleList()
        for layer in range(config.num_layers):
            width = in_dim if layer == 0 else config.hidden_dim + (in_dim if layer == config.skip_layer else 0)
            if layer not in ranks:
                self.layers.append(nn.Linear(width, config.hidden_dim))
                continue
            self.layers.append(
                ResFieldLinear(
                    width,
                    config.hidden_dim,
                    num_frames=num_frames,
                    rank=ranks[layer],
                    mode=config.residual_mode,
                    num_coefficients=config.num_coefficients,
                    factorisation=config.residual_factorisation,
                    fuse=config.residual_fuse,
                )
            )

    def forward(self, encoded: Tensor, frames: FrameBatch | None = None) -> Tensor:
        """Features ``(*batch, hidden_dim)`` of encoded points; grouped by frame, ``(G, P, in_dim)``, with residuals."""
        hidden = encoded
        for index, layer in enumerate(self.layers):
            if index == self.skip_layer and index > 0:
                hidden = torch.cat([encoded, hidden], dim=-1)
            if isinstance(layer, ResFieldLinear):
                hidden = layer.add_output_residual(torch.relu(layer(hidden, frames)), frames)
            else:
                hidden = torch.relu(layer(hidden))
        return hidden


class RadianceHeads(nn.Module):
    """Density from the trunk's feature; colour from it and the view direction.

    Args:
        hidden_dim: Width of the feature.
        direction_dim: Width of the encoded direction.
    """

    def __init__(self, hidden_dim: int, direction_dim: int) -> None:
        super().__init__()
        self.density = nn.Linear(hidden_dim, 1)
        self.feature = nn.Linear(hidden_dim, hidden_dim)
        self.view = nn.Linear(hidden_dim + direction_dim, hidden_dim // 2)
        self.rgb = nn.Linear(hidden_dim // 2, 3)

    def forward(self, hidden: Tensor, encoded_directions: Tensor) -> tuple[Tensor, Tensor]:
        """Colour in [0, 1] ``(R, K, 3)`` and density before ReLU ``(R, K)``.

        Nothing is between the feature layer and the view layer: they are multiplied to one layer, which is half as
        wide and saves a ninth of a network's multiplications. What it adds for a direction is the same along a ray.

        Args:
            hidden: Features of points on rays ``(R, K, hidden_dim)``.
            encoded_directions: One for each ray ``(R, direction_dim)``.
        """
        width = self.feature.out_features
        of_feature, of_direction = self.view.weight[:, :width], self.view.weight[:, width:]
        bias = of_feature @ self.feature.bias + self.view.bias
        along_rays = nn.functional.linear(encoded_directions, of_direction)[:, None]
        view = torch.relu(nn.functional.linear(hidden, of_feature @ self.feature.weight, bias) + along_rays)
        return torch.sigmoid(self.rgb(view)).float(), self.density(hidden)[..., 0].float()


class SceneFlowField(Field):
    """Points on rays to colour, density, scene flow, disocclusion (dynamic) and blending weight (static).

    Neither a frame nor a moved point is limited to where there is data: what is asked for a frame before the first is
    extrapolated. Residual layers take the first or the last frame's coefficients there.

    Args:
        config: Sizes.
        num_frames: Number of training frames N, on which the time that the network sees depends.
    """

    def __init__(self, config: SceneFlowFieldConfig, num_frames: int) -> None:
        super().__init__()
        self.config = config
        self.num_frames = num_frames
        # Time is encoded together with the point, with equally many octaves.
        self.space_time_encoding = OctaveEncoding(4, config.num_position_frequencies)
        self.position_encoding = OctaveEncoding(3, config.num_position_frequencies)
        self.direction_encoding = OctaveEncoding(3, config.num_direction_frequencies)
        direction_dim = self.direction_encoding.out_dim
        self.dynamic_trunk = SkipTrunk(self.space_time_encoding.out_dim, config, config.residual_layers, num_frames)
        self.dynamic_radiance = RadianceHeads(config.hidden_dim, direction_dim)
        self.scene_flow = nn.Linear(config.hidden_dim, 6)
        self.disocclusion = nn.Linear(config.hidden_dim, 2)
        self.static_trunk = SkipTrunk(self.position_encoding.out_dim, config)
        self.static_radiance = RadianceHeads(config.hidden_dim, direction_dim)
        self.blend = nn.Linear(config.hidden_dim, 1)
        if config.static_only:
            for part in (*self.dynamic_parts(), self.blend):
                part.requires_grad_(False)

    def dynamic_parts(self) -> tuple[nn.Module, ...]:
        """Modules of the dynamic network."""
        return self.dynamic_trunk, self.dynamic_radiance, self.scene_flow, self.disocclusion

    def static_parts(self) -> tuple[nn.Module, ...]:
        """Modules of the static network."""
        return self.static_trunk, self.static_radiance, self.blend

    def network_time(self, frame_coordinates: Tensor) -> Tensor:
        """The time that the network sees, 2 i / N - 1: the last frame is at 1 - 2 / N."""
        return 2 * frame_coordinates / self.num_frames - 1

    def dynamic(self, points: Tensor, directions: Tensor, frame_coordinates: Tensor) -> DynamicSamples:
        """The dynamic network at points on rays.

        Args:
            points: ``(R, K, 3)``.
            directions: Unit directions of the rays in the world ``(R, 3)``.
            frame_coordinates: Frame of each ray's points ``(R,)``, fractional between frames.
        """
        if self.config.static_only:
            return nothing_moves(points)
        time = self.network_time(frame_coordinates)[:, None, None].expand(*points.shape[:2], 1)
        encoded = self.space_time_encoding(torch.cat([points, time], dim=-1))
        hidden = self._dynamic_features(encoded, frame_coordinates)
        rgb, density = self.dynamic_radiance(hidden, self.direction_encoding(directions))
        flow = torch.tanh(self.scene_flow(hidden)).float()
        disocclusion = torch.sigmoid(self.disocclusion(hidden)).float()
        return DynamicSamples(rgb, density, flow[..., :3], flow[..., 3:], disocclusion[..., 0], disocclusion[..., 1])

    def _dynamic_features(self, encoded: Tensor, frame_coordinates: Tensor) -> Tensor:
        """Features ``(R, K, hidden_dim)``; rays are grouped by frame where a layer has residuals."""
        if not self.config.residual_layers:
            return self.dynamic_trunk(encoded)
        groups = group_rows(frame_coordinates, points_per_row=encoded.shape[1])
        inside = groups.keys.clamp(0, self.num_frames - 1)
        frames = FrameBatch((inside + 0.5).floor().long().clamp(max=self.num_frames - 1), inside)
        hidden = self.dynamic_trunk(groups.split(encoded).flatten(1, 2), frames)
        return groups.merge(hidden.unflatten(1, (groups.capacity, encoded.shape[1])))

    def static(self, points: Tensor, directions: Tensor) -> StaticSamples:
        """The static network at points on rays ``(R, K, 3)`` of unit directions ``(R, 3)``."""
        hidden = self.static_trunk(self.position_encoding(points))
        rgb, density = self.static_radiance(hidden, self.direction_encoding(directions))
        blend_weight = torch.sigmoid(self.blend(hidden))[..., 0].float()
        return StaticSamples(rgb, density, blend_weight.mul(0) if self.config.static_only else blend_weight)
