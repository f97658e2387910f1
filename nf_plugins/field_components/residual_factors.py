"""How the weight residuals of all frames are made from few numbers: one class per factorisation.

A factorisation holds no state. A layer owns the parameters and passes them in, so that they keep flat names. Symbols:
T frames, C coefficient rows, R rank, U distinct keys, G groups of P points each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import WEIGHT_COPY_IN_POINTS, FrameBatch
from nf_plugins.field_components.residual_options import ResidualSpec

Parameters = Mapping[str, Tensor]

INITIAL_FACTOR_STD = 0.01
"""Standard deviation of factors at the start; the residual of ``vm`` starts at 1e-4 * sqrt(rank)."""
SYMMETRY_BREAKING_STD = 0.1
"""How far the components of a multiplied residual start from each other; equal ones would stay equal for ever."""


def interpolate_coefficients(coefficients: Tensor, positions: Tensor) -> Tensor:
    """Linear interpolation between coefficient rows, constant outside.

    Args:
        coefficients: Rows ``(C, R)``.
        positions: Fractional row indices ``(G,)``, clamped to [0, C - 1].

    Returns:
        Interpolated rows ``(G, R)``.
    """
    last = len(coefficients) - 1
    clamped = positions.to(coefficients.dtype).clamp(0, last)
    lower = clamped.floor().long().clamp(max=max(last - 1, 0))
    upper = (lower + 1).clamp(max=last)
    fraction = (clamped - lower)[:, None]
    return coefficients[lower] * (1 - fraction) + coefficients[upper] * fraction


def compose_weights(weight: Tensor, basis: Tensor, coefficients: Tensor) -> Tensor:
    """Effective weights of G frames in one matrix product.

    Args:
        weight: Shared weight ``(out, in)``.
        basis: Spanning set ``(R, out, in)``.
        coefficients: Coefficients of each frame ``(G, R)``.

    Returns:
        ``(G, out, in)``.
    """
    return torch.addmm(weight.reshape(1, -1), coefficients, basis.flatten(1)).view(-1, *weight.shape)


def frame_keys(spec: ResidualSpec, frames: FrameBatch) -> Tensor:
    """What selects a group's coefficients ``(G,)``: the frame's id, or its coordinate with interpolation."""
    return frames.frame_ids if spec.mode == "lookup" else frames.coordinates


def select_rows(spec: ResidualSpec, table: Tensor, keys: Tensor) -> Tensor:
    """Rows ``(U, R)`` of a table ``(C, R)``; with interpolation C rows span all frames, and neighbours blend."""
    if spec.mode == "lookup":
        return table[keys]
    scale = (len(table) - 1) / max(spec.num_frames - 1, 1)
    return interpolate_coefficients(table, keys * scale)


def centred_noise(*shape: int) -> Tensor:
    """Small noise that tells components, the first axis, from each other and sums to zero over them."""
    noise = torch.randn(*shape) * SYMMETRY_BREAKING_STD
    return noise - noise.mean(dim=0, keepdim=True)


class ResidualFactors(ABC):
    """One way to make the weight residual of every frame.

    Frames enter as keys: groups with equal keys have equal weights.

    Args:
        spec: What the layer was asked for.

    Raises:
        InputError: A rank or a mode that this factorisation does not have.
    """

    needs_rank = True
    """Whether there is a rank at all."""
    interpolates = True
    """Whether it has coefficients that could be interpolated."""

    def __init__(self, spec: ResidualSpec) -> None:
        self.spec = spec
        if spec.mode == "interpolation" and not self.interpolates:
            raise InputError(
                f"Residual factorisation '{spec.factorisation}' has no coefficients to interpolate; use mode 'lookup', "
                f"or factorisation vm, vm_attention, cp or tucker."
            )
        if self.needs_rank:
            self.check_rank(spec.rank)

    def check_rank(self, rank: int | tuple[int, ...]) -> None:
        """Raises InputError unless the rank is one positive number."""
        if not isinstance(rank, int):
            raise InputError(
                f"Residual factorisation '{self.spec.factorisation}' takes one rank per layer, got {tuple(rank)}; "
                "only tucker takes three numbers for a layer. Ranks per layer go to the network."
            )
        if rank < 1:
            raise InputError(
                f"Residual factorisation '{self.spec.factorisation}' needs rank >= 1, got {rank}. Rank 0 means a plain "
                "layer: say so with factorisation vm, or leave the layer out of the residual layers."
            )

    @property
    def uses_weight(self) -> bool:
        """Whether the shared weight takes part; otherwise it gets no gradient and is frozen."""
        return self.spec.fuse != "none"

    @property
    def key_kind(self) -> str:
        """Names the function from frames to keys, so that layers can share its result."""
        return self.spec.mode

    def keys(self, frames: FrameBatch) -> Tensor:
        """Key of each group ``(G,)``."""
        return frame_keys(self.spec, frames)

    @abstractmethod
    def initial_values(self) -> dict[str, Tensor]:
        """Names and starting values of the parameters."""

    @abstractmethod
    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """Residual of each key ``(U, out, in)``."""

    def weights(self, weight: Tensor, parameters: Parameters, keys: Tensor) -> Tensor:
        """Effective weight of each key ``(U, out, in)``."""
        residual = self.residual(parameters, keys)
        if self.spec.fuse == "mul":
            return weight * residual
        return residual if self.spec.fuse == "none" else weight + residual

    def prefers_application(self, num_points: int, num_groups: int, num_keys: int) -> bool:
        """Whether :meth:`apply` is expected to cost no more than composing the weights of all keys.

        Both ways multiply each point by one matrix; this compares the multiplications that come on top, for all points
        together. Measured on a CPU at widths 128 and 512 the two ways break even where the counts do.
        """
        return False

    def apply(self, weight: Tensor, parameters: Parameters, points: Tensor, keys: Tensor) -> Tensor:
        """What the residual adds to the output, without composing weights.

        Args:
            weight: Shared weight ``(out, in)``.
            parameters: Parameters by name.
            points: ``(G, P, in)``.
            keys: Key of each group ``(G,)``.

        Returns:
            ``(G, P, out)``: with ``add`` and ``none`` the product with the residual, with ``mul`` that with the
            effective weight.
        """
        raise NotImplementedError


class BasisFactors(ResidualFactors):
    """Residuals that are combinations of matrices shared by all frames, and the published one: ``vm``.

    ``sum_r v_r(t) M_r`` with ``coefficients`` v ``(C, R)`` and ``basis`` M ``(R, out, in)`` (ResFields, Sec. 3).
    """

    def initial_values(self) -> dict[str, Tensor]:
        """Small normal factors; when multiplied, factors whose product is one within 0.01 sqrt(R)."""
        spec, rank = self.spec, self.spec.rank
        assert isinstance(rank, int)
        shape = rank, spec.out_features, spec.in_features
        if spec.fuse != "mul":
            coefficients = torch.randn(spec.num_rows, rank) * INITIAL_FACTOR_STD
            return {"coefficients": coefficients, "basis": torch.randn(shape) * INITIAL_FACTOR_STD}
        coefficients, basis = torch.full((spec.num_rows, rank), 1 / rank), torch.ones(shape)
        if spec.faithful:
            return {"coefficients": coefficients, "basis": basis}
        return {
            "coefficients": coefficients + centred_noise(rank, spec.num_rows).T,
            "basis": basis + centred_noise(*shape),
        }

    def coefficients(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """Coefficients of each key ``(U, R)``."""
        return select_rows(self.spec, parameters["coefficients"], keys)

    def basis(self, parameters: Parameters) -> Tensor:
        """The shared matrices ``(R, out, in)``."""
        return parameters["basis"]

    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)`` in one matrix product."""
        basis = self.basis(parameters)
        return (self.coefficients(parameters, keys) @ basis.flatten(1)).view(-1, *basis.shape[1:])

    def weights(self, weight: Tensor, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``; adding the shared weight rides on the product."""
        if self.spec.fuse == "add":
            return compose_weights(weight, self.basis(parameters), self.coefficients(parameters, keys))
        return super().weights(weight, parameters, keys)

    def prefers_application(self, num_points: int, num_groups: int, num_keys: int) -> bool:
        """R products per point against R matrices per key and writing the composed one.

        Always true when no two points share a time; with rank 10 up to about five points per key.
        """
        rank = self.spec.rank
        assert isinstance(rank, int)
        return num_points * rank <= num_keys * (rank + WEIGHT_COPY_IN_POINTS)

    def apply(self, weight: Tensor, parameters: Parameters, points: Tensor, keys: Tensor) -> Tensor:
        """``sum_r v_r(t) (M_r x)`` as one product with all coefficient-scaled copies of the point."""
        coefficients, basis = self.coefficients(parameters, keys), self.basis(parameters)
        if self.spec.fuse == "mul":
            basis = basis * weight
        scaled = coefficients[:, None, :, None] * points[:, :, None, :]
        return scaled.flatten(2) @ basis.transpose(1, 2).flatten(0, 1)


class AttentionFactors(BasisFactors):
    """``vm`` whose coefficient rows attend to each other: ``softmax(A A^T / R) V``, columns summing to one.

    Starts with uniform attention, so with the same residual for all frames. The attention itself takes C^2 R
    multiplications a pass, whatever the batch: the one variant whose cost grows faster than the number of frames.
    """

    def initial_values(self) -> dict[str, Tensor]:
        """Those of ``vm``, and ones as the attention's features."""
        values = super().initial_values()
        return {"attention": torch.ones_like(values["coefficients"]), **values}

    def coefficients(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """Attended coefficients of each key ``(U, R)``."""
        attention = parameters["attention"]
        shares = torch.softmax(attention @ attention.T / attention.shape[1], dim=0)
        return select_rows(self.spec, shares, keys) @ parameters["coefficients"]
