"""Weight residuals that are whole matrices: one for every frame, for every stretch of time, or for all times."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_factors import Parameters, ResidualFactors

INITIAL_CONTROL_STD = 1e-6
"""Standard deviation of the basis of ``vm_noweight`` at the start."""


class ControlFactors(ResidualFactors):
    """``vm_noweight``: the matrices of ``vm`` without coefficients, ``sum_r M_r``; the same for all times.

    The reference adds the shared weight to each of them, so that it counts R times; ``faithful`` keeps that.
    """

    interpolates = False

    @property
    def key_kind(self) -> str:
        """One key for all frames."""
        return "static"

    def keys(self, frames: FrameBatch) -> Tensor:
        """Zeros ``(G,)``."""
        return torch.zeros_like(frames.frame_ids)

    def initial_values(self) -> dict[str, Tensor]:
        """A basis close to zero, or summing to one when multiplied."""
        spec = self.spec
        assert isinstance(spec.rank, int)
        noise = torch.randn(spec.rank, spec.out_features, spec.in_features) * INITIAL_CONTROL_STD
        return {"basis": noise + 1 / spec.rank if spec.fuse == "mul" else noise}

    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``, all equal."""
        return parameters["basis"].sum(0).expand(len(keys), -1, -1)

    def weights(self, weight: Tensor, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``, all equal."""
        assert isinstance(self.spec.rank, int)
        counted = self.spec.rank if self.spec.faithful and self.spec.fuse == "add" else 1
        return super().weights(counted * weight, parameters, keys)


class IndependentFactors(ResidualFactors):
    """``none``: a whole matrix for every frame, nothing shared."""

    needs_rank = False
    interpolates = False

    def initial_values(self) -> dict[str, Tensor]:
        """Zero, or one when multiplied."""
        spec = self.spec
        shape = spec.num_rows, spec.out_features, spec.in_features
        return {"residuals": torch.ones(shape) if spec.fuse == "mul" else torch.zeros(shape)}

    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``."""
        return parameters["residuals"][keys]


class ExpertFactors(ResidualFactors):
    """``loe``: R matrices, each for one stretch of time (Hao et al., *Levels of Experts*, NeurIPS 2022, in time).

    Bin j has its centre at frame coordinate ``j (T - 1) / (R - 1)``; the nearest one counts. The reference never uses
    the shared weight; ``faithful`` keeps that.
    """

    interpolates = False

    @property
    def uses_weight(self) -> bool:
        """False with ``faithful`` too."""
        return super().uses_weight and not self.spec.faithful

    @property
    def key_kind(self) -> str:
        """Names the bins."""
        return f"{self.spec.rank} bins of {self.spec.num_frames} frames"

    def keys(self, frames: FrameBatch) -> Tensor:
        """Bin of each group ``(G,)``."""
        assert isinstance(self.spec.rank, int)
        last_frame, last_bin = max(self.spec.num_frames - 1, 1), self.spec.rank - 1
        return (frames.coordinates * (last_bin / last_frame)).round().long().clamp(0, last_bin)

    def initial_values(self) -> dict[str, Tensor]:
        """Zero, or one when multiplied."""
        spec = self.spec
        assert isinstance(spec.rank, int)
        experts = torch.zeros(spec.rank, spec.out_features, spec.in_features)
        return {"experts": experts + 1 if spec.fuse == "mul" and self.uses_weight else experts}

    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``."""
        return parameters["experts"][keys]

    def weights(self, weight: Tensor, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``."""
        return super().weights(weight, parameters, keys) if self.uses_weight else self.residual(parameters, keys)
