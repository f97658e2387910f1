"""A signed-distance field in time with colour: the field of the dynamic ResFields methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from nerfstudio.cameras.rays import RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.base_field import Field, FieldConfig
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.annealed_encoding import AnnealedPositionalEncoding, annealing_window
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows
from nf_plugins.field_components.frame_codes import FrameCodes
from nf_plugins.field_components.motion_context import MotionContext
from nf_plugins.field_components.residual_linear import Factorisation, Fuse
from nf_plugins.field_components.sdf_network import ColorNetwork, SDFNetwork
from nf_plugins.model_components.density import LaplaceDensity

POINTS_PER_CHUNK = 65536
"""Of what is asked outside training."""


@dataclass
class TemporalSDFFieldConfig(FieldConfig):
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
    residual_rank: int | tuple[int, ...] = 10
    """Rank of the residuals: basis matrices per layer. One number, one per residual layer, or for tucker three."""
    residual_factorisation: Factorisation = "vm"
    """How the residuals are factorised; vm, coefficients times a shared basis, is the published method."""
    residual_fuse: Fuse = "add"
    """Whether the residual is added to the shared weight, multiplies it, or replaces it (none)."""
    residual_faithful: bool = False
    """Whether variants with a defect in the reference implementation keep it, to compare with published ablations."""
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
    density: Literal["laplace", "relu"] = "laplace"
    """Laplace density of a signed distance, or a plain NeRF density: the network's negated first output, clipped at 0
    (no signed distance, so no eikonal and no sparsity loss; meshes are cut at a density of 0.001)."""


class TemporalSDFField(Field):
    """Points and frames to signed distance, density and colour.

    Works on points grouped by frame, ``(G, P, 3)`` in scene units, so that each group composes its weights once.

    Args:
        config: Sizes.
        frame_times: Sorted training times ``(T,)``.
        warp: Maps ``(points, context)`` to canonical points of the same shape; None observes directly.
        hyper: Maps ``(points, context)`` to features ``(G, P, hyper.out_dim)`` that are concatenated to the encoded
            canonical points; None concatenates nothing.
        codes: A code per frame, handed to both in the :class:`MotionContext`.
        default_time: Time of :meth:`forward_geonetwork`, which is asked without one; None makes that an error.
    """

    alpha: Tensor
    frame_times: Tensor
    spreads = False
    """Bounds of the density hold without a margin; see :class:`~nf_plugins.model_components.probed_occupancy`."""

    def __init__(
        self,
        config: TemporalSDFFieldConfig,
        frame_times: Tensor,
        *,
        warp: nn.Module | None = None,
        hyper: nn.Module | None = None,
        codes: FrameCodes | None = None,
        default_time: float | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.default_time = default_time
        self.register_buffer("frame_times", frame_times.clone(), persistent=False)
        self.warp = warp
        self.hyper = hyper
        self.codes = codes
        self.position_encoding = AnnealedPositionalEncoding(3, config.num_position_frequencies)
        self.sdf_network = SDFNetwork(
            self.position_encoding.out_dim,
            0 if hyper is None else int(hyper.out_dim),  # type: ignore[arg-type]
            num_layers=config.num_layers,
            hidden_dim=config.hidden_dim,
            feature_dim=config.feature_dim,
            skip_layer=config.skip_layer,
            residual_layers=config.residual_layers,
            num_frames=len(frame_times),
            residual_rank=config.residual_rank,
            residual_mode=config.residual_mode,
            num_coefficients=config.num_coefficients,
            residual_factorisation=config.residual_factorisation,
            residual_fuse=config.residual_fuse,
            residual_faithful=config.residual_faithful,
            initial_radius=config.initial_radius,
        )
        self.color_network = ColorNetwork(config.feature_dim, config.color_hidden_dim)
        self.laplace_density = LaplaceDensity(config.initial_beta) if config.density == "laplace" else None
        self.register_buffer("alpha", torch.ones(()))

    @property
    def is_distance(self) -> bool:
        """Whether the first output is a signed distance, and not a negated density."""
        return self.laplace_density is not None

    def motion_context(self, frames: FrameBatch) -> MotionContext:
        """What warps and hyper coordinates are told about G groups."""
        return MotionContext(frames, self.alpha, None if self.codes is None else self.codes(frames))

    def geometry(self, points: Tensor, frames: FrameBatch) -> tuple[Tensor, Tensor]:
        """Signed distance and feature.

        Args:
            points: Observed points ``(G, P, 3)``, scene units.
            frames: Frames of the G groups.

        Returns:
            Signed distance ``(G, P, 1)`` (negative inside, scene units; with density "relu" the negated density) and
            feature ``(G, P, feature_dim)``.
        """
        context = self.motion_context(frames)
        canonical_points = points if self.warp is None else self.warp(points, context)
        window = annealing_window(self.alpha, self.config.num_position_frequencies)
        encoded = self.position_encoding(canonical_points, window)
        if self.hyper is not None:
            encoded = torch.cat([encoded, self.hyper(points, context)], dim=-1)
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

    def warp_jacobian(self, points: Tensor, frames: FrameBatch) -> Tensor:
        """Derivative of the canonical by the observed points, ``(G, P, 3, 3)``, differentiable.

        Raises:
            ValueError: The field has no warp.
        """
        if self.warp is None:
            raise ValueError("This field observes directly: it has no warp to differentiate.")
        with torch.enable_grad():
            points = points.detach().requires_grad_(True)
            canonical_points = self.warp(points, self.motion_context(frames))
            rows = [torch.autograd.grad(canonical_points[..., i].sum(), points, create_graph=True)[0] for i in range(3)]
        return torch.stack(rows, dim=-2)

    def get_density(self, ray_samples: RaySamples) -> tuple[Tensor, Tensor]:
        """Density ``(R, S, 1)`` and feature ``(R, S, feature_dim)`` of samples ``(R, S)`` that carry times."""
        assert ray_samples.times is not None
        num_samples = ray_samples.shape[1]
        groups = group_rows(ray_samples.times.reshape(len(ray_samples), -1)[:, 0], points_per_row=num_samples)
        frames = FrameBatch.from_times(groups.keys, self.frame_times)
        points = groups.split(ray_samples.frustums.get_positions()).flatten(1, 2)
        signed_distance, feature = (
            groups.merge(value.unflatten(1, (groups.capacity, num_samples))) for value in self.geometry(points, frames)
        )
        return self.density(signed_distance), feature

    def get_outputs(
        self, ray_samples: RaySamples, density_embedding: Tensor | None = None
    ) -> dict[FieldHeadNames, Tensor]:
        """Colour ``(R, S, 3)`` of the features that :meth:`get_density` returned."""
        assert density_embedding is not None
        return {FieldHeadNames.RGB: self.color(density_embedding)}

    def forward_geonetwork(self, points: Tensor) -> Tensor:
        """Signed distance and feature ``(N, 1 + feature_dim)`` at points ``(N, 3)`` and the default time.

        What ``ns-export marching-cubes`` calls.

        Raises:
            InputError: No default time.
        """
        if self.default_time is None:
            raise InputError(
                "ns-export marching-cubes asks for a surface without a time: set --pipeline.model.default-time in "
                "[0, 1] when training, or use nf-export mesh, which takes times."
            )
        frames = FrameBatch.from_times(self.frame_times.new_tensor([self.default_time]), self.frame_times)
        return torch.cat(self.geometry(points[None], frames), dim=-1)[0]

    def density(self, signed_distance: Tensor) -> Tensor:
        """Density of a signed distance, same shape.

        Laplace: ``1/beta`` deep inside (Yariv et al. 2021, Eq. 2). Relu: the part of it that is negative, negated.
        """
        if self.laplace_density is None:
            return torch.relu(-signed_distance)
        return self.laplace_density(signed_distance)

    @torch.no_grad()
    def density_at(self, points: Tensor, time: float) -> Tensor:
        """Density ``(N, 1)`` at points ``(N, 3)``, scene units, and a time in [0, 1]."""
        frames = FrameBatch.from_times(self.frame_times.new_tensor([time]), self.frame_times)
        return torch.cat(
            [self.density(self.geometry(chunk[None], frames)[0][0]) for chunk in points.split(POINTS_PER_CHUNK)]
        )

    @torch.no_grad()
    def density_bound(self, centers: Tensor, frame_id: int, radius: float) -> Tensor:
        """Greatest density ``(N,)`` within a radius of points ``(N, 3)`` at a training frame.

        A signed distance changes by at most the distance moved, so the density is at most that at the distance of the
        centre less the radius. Of a plain density (not ``is_distance``) this is no bound.
        """
        frames = FrameBatch.from_ids(torch.tensor([frame_id], device=centers.device))
        return torch.cat(
            [
                self.density(self.geometry(chunk[None], frames)[0][0, :, 0] - radius)
                for chunk in centers.split(POINTS_PER_CHUNK)
            ]
        )

    def color(self, feature: Tensor) -> Tensor:
        """RGB in [0, 1] of geometry features ``(*batch, feature_dim)``."""
        return self.color_network(feature)
