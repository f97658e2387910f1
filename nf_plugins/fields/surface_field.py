"""A still surface: signed distance and colour of points, with a selectable encoding (IDR, NeurIPS 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from nerfstudio.cameras.rays import RaySamples
from nerfstudio.fields.base_field import Field, FieldConfig
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import parametrize

from nf_plugins.errors import InputError
from nf_plugins.field_components.distance_clamp import laplace_tanh_clamp
from nf_plugins.field_components.geometry_network import AppearanceNetwork, ColorInputs, GeometryNetwork
from nf_plugins.field_components.point_encoding import PointEncodingConfig, build_point_encoding
from nf_plugins.field_components.spatial_gradient import Stencil, analytic_gradient, numerical_derivatives
from nf_plugins.field_components.view_encoding import ViewEncodingConfig, build_view_encoding

DEFAULT_NUMERICAL_STEP = 1e-3
"""Step of numerical gradients where the encoding has no cells, scene units."""


@dataclass
class SurfaceFieldConfig(FieldConfig):
    """The two networks of IDR; the encoding is what tells its relatives apart."""

    _target: type = field(default_factory=lambda: SurfaceField)
    """Target class to instantiate."""
    encoding: PointEncodingConfig = field(default_factory=PointEncodingConfig)
    """How points are encoded for the geometry network."""
    view_encoding: ViewEncodingConfig = field(default_factory=ViewEncodingConfig)
    """How view directions are encoded for the colour network."""
    num_layers: int = 8
    """Hidden layers of the geometry network."""
    hidden_dim: int = 512
    """Width of its hidden layers."""
    skip_layer: int = 4
    """Layer of the geometry network that sees the encoded point again."""
    feature_dim: int = 256
    """Width of the feature that the geometry network hands to the colour network."""
    initial_radius: float = 0.6
    """Radius of the sphere that training starts from, scene units; softplus makes it start somewhat smaller."""
    weight_norm: bool = True
    """Learn length and direction of each row of the weights apart."""
    color_inputs: ColorInputs = "idr"
    """What the colour network sees: points, view, normals and feature (idr), or without one of them."""
    color_num_layers: int = 4
    """Hidden layers of the colour network."""
    color_hidden_dim: int = 512
    """Width of its hidden layers."""
    unit_normals: bool = False
    """Hand normals of unit length to the colour network; the original hands it the gradient as it is."""
    sdf_clamp: Literal["none", "laplace_tanh"] = "none"
    """Bound the distance as the HashMod reference does; for comparison with its runs."""
    gradient: Literal["analytic", "numerical"] = "analytic"
    """Gradients by automatic differentiation, or by finite differences, which smooth over the cells of hash grids."""
    numerical_stencil: Stencil = "axes"
    """Neighbours for finite differences: six along the axes, or the four corners of a tetrahedron."""
    numerical_step: float | None = None
    """Step of finite differences, scene units; None takes the finest active cell of the encoding."""


class SurfaceGeometry(NamedTuple):
    """What the geometry network says of N points."""

    signed_distance: Tensor
    """``(N, 1)``, scene units, negative inside."""
    feature: Tensor
    """``(N, F)``."""
    gradient: Tensor
    """``(N, 3)``: of the distance, not normalised."""
    laplacian: Tensor | None
    """``(N, 1)``; None with analytic gradients."""


def grid_parameters(encoding: nn.Module) -> list[Parameter]:
    """The features of an encoding's grid; none where it has no grid."""
    grid = getattr(encoding, "grid", None)
    return list(grid.parameters()) if isinstance(grid, nn.Module) else []


class SurfaceField(Field):
    """Signed distance, feature and colour of points in the scene's unit sphere.

    Args:
        config: Encodings and networks.
    """

    def __init__(self, config: SurfaceFieldConfig) -> None:
        super().__init__()
        self.config = config
        self.encoding = build_point_encoding(config.encoding)
        self.view_encoding = build_view_encoding(config.view_encoding)
        self.geometry_network = GeometryNetwork(
            self.encoding.out_dim,
            num_layers=config.num_layers,
            hidden_dim=config.hidden_dim,
            feature_dim=config.feature_dim,
            skip_layer=config.skip_layer,
            initial_radius=config.initial_radius,
            use_weight_norm=config.weight_norm,
        )
        self.color_network = AppearanceNetwork(
            self.view_encoding.out_dim,
            config.feature_dim,
            inputs=config.color_inputs,
            num_layers=config.color_num_layers,
            hidden_dim=config.color_hidden_dim,
            use_weight_norm=config.weight_norm,
        )

    def parameters_of(self, part: Literal["networks", "grids"]) -> list[Parameter]:
        """The features of grids, or everything else that learns.

        A feature is touched by few points and starts near 0, so it learns much faster than a weight; the sine layers of
        filter banks are networks in this, and diverge at the rate of features.
        """
        encodings = (self.encoding, self.view_encoding)
        grids = [parameter for encoding in encodings for parameter in grid_parameters(encoding)]
        if part == "grids":
            return grids
        known = {id(parameter) for parameter in grids}
        return [parameter for parameter in self.parameters() if id(parameter) not in known]

    def set_step(self, step: int) -> None:
        """Switches on the levels of the encodings that are due at a training step."""
        for encoding in (self.encoding, self.view_encoding):
            if hasattr(encoding, "set_step"):
                encoding.set_step(step)  # type: ignore[operator]

    def geometry(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance ``(N, 1)`` and feature ``(N, F)`` at scene points ``(N, 3)``.

        In mixed precision this stays in full: 16-bit floats do not resolve where a surface is.
        """
        with torch.autocast(points.device.type, enabled=False):
            output = self.geometry_network(self.encoding(points))
        signed_distance = output[..., :1]
        if self.config.sdf_clamp == "laplace_tanh":
            signed_distance = laplace_tanh_clamp(signed_distance)
        return signed_distance, output[..., 1:]

    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance ``(N, 1)`` at scene points ``(N, 3)``."""
        return self.geometry(points)[0]

    def geometry_and_gradient(self, points: Tensor) -> SurfaceGeometry:
        """Distance, feature and gradient of the distance at scene points ``(N, 3)``.

        Where gradients are enabled the results keep their graph, to the parameters and to points that require
        gradients. Under ``torch.no_grad`` they are plain values.
        """
        keep_graph = torch.is_grad_enabled()
        if self.config.gradient == "numerical":
            signed_distance, feature = self.geometry(points)
            step = self.config.numerical_step or self.encoding.finest_cell() or DEFAULT_NUMERICAL_STEP
            derivatives = numerical_derivatives(
                self.signed_distance, points, signed_distance, step, self.config.numerical_stencil
            )
            return SurfaceGeometry(signed_distance, feature, derivatives.gradient, derivatives.laplacian)
        with torch.inference_mode(False), torch.enable_grad():
            if not points.requires_grad:
                points = points.clone().requires_grad_()
            signed_distance, feature = self.geometry(points)
            gradient = analytic_gradient(signed_distance, points, create_graph=keep_graph)
        if not keep_graph:
            signed_distance, feature, gradient = signed_distance.detach(), feature.detach(), gradient.detach()
        return SurfaceGeometry(signed_distance, feature, gradient, None)

    def color(self, points: Tensor, view_directions: Tensor, normals: Tensor, feature: Tensor) -> Tensor:
        """RGB ``(N, 3)`` in [0, 1].

        Args:
            points: Scene points ``(N, 3)``.
            view_directions: Unit vectors from the camera to the points ``(N, 3)``.
            normals: Gradients of the distance ``(N, 3)``.
            feature: ``(N, F)`` of :meth:`geometry`.
        """
        if self.config.unit_normals:
            normals = torch.nn.functional.normalize(normals, dim=-1)
        # The original's network sees the way back to the camera.
        return self.color_network(points, self.view_encoding(-view_directions), normals, feature)

    def forward_geonetwork(self, inputs: Tensor) -> Tensor:
        """Distance and feature ``(N, 1 + F)``: the name under which nerfstudio's ``ns-export`` asks for them."""
        return torch.cat(self.geometry(inputs), dim=-1)

    def cached_weights(self):  # noqa: ANN201
        """Within this context normalised weights are composed once; for many evaluations without gradients."""
        return parametrize.cached()

    def get_density(self, ray_samples: RaySamples) -> tuple[Tensor, Tensor]:
        """A surface has no density; rendering goes through distances, so there is no ``get_outputs`` either."""
        raise InputError("A surface field has no density; render it with a surface method such as idr.")
