"""Weight residuals as a factored three-way tensor over time, output and input: CP and Tucker.

Both can be applied to points without ever making a weight matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.residual_factors import (
    INITIAL_FACTOR_STD,
    BasisFactors,
    Parameters,
    ResidualFactors,
    centred_noise,
    select_rows,
)


class CPFactors(ResidualFactors):
    """``cp``: a sum of R outer products, ``sum_r w_r a_r(t) b_r c_r^T`` (CANDECOMP/PARAFAC).

    Parameters: ``component_weights`` w ``(R)``, ``coefficients`` a ``(C, R)``, ``output_factors`` b ``(out, R)``,
    ``input_factors`` c ``(in, R)``.
    """

    def initial_values(self) -> dict[str, Tensor]:
        """Small normal factors; when multiplied, factors whose product is close to one."""
        spec, rank = self.spec, self.spec.rank
        assert isinstance(rank, int)
        shapes = {
            "component_weights": (rank,),
            "coefficients": (spec.num_rows, rank),
            "output_factors": (spec.out_features, rank),
            "input_factors": (spec.in_features, rank),
        }
        if spec.fuse != "mul":
            return {name: torch.randn(shape) * INITIAL_FACTOR_STD for name, shape in shapes.items()}
        values = {name: 1 + centred_noise(rank, shape[0]).T for name, shape in shapes.items() if len(shape) == 2}
        return {"component_weights": torch.full((rank,), 1 / rank), **values}

    def coefficients(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``w_r a_r(t)`` of each key ``(U, R)``."""
        return select_rows(self.spec, parameters["coefficients"], keys) * parameters["component_weights"]

    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)`` in one matrix product."""
        scaled = parameters["output_factors"] * self.coefficients(parameters, keys)[:, None]
        return scaled @ parameters["input_factors"].T

    def prefers_application(self, num_points: int, num_groups: int, num_keys: int) -> bool:
        """``P R (in + out)`` against ``U R in out``: true for few points per frame, in proportion to the width."""
        if self.spec.fuse == "mul":
            return False
        in_features, out_features = self.spec.in_features, self.spec.out_features
        return num_points * (in_features + out_features) <= num_keys * in_features * out_features

    def apply(self, weight: Tensor, parameters: Parameters, points: Tensor, keys: Tensor) -> Tensor:
        """``B diag(w a(t)) C^T x``, ``(G, P, out)``."""
        inner = points @ parameters["input_factors"]
        return (inner * self.coefficients(parameters, keys)[:, None]) @ parameters["output_factors"].T


class TuckerFactors(BasisFactors):
    """``tucker``: a core of ranks (time, output, input) with a factor on each side, ``B G(t) C^T``.

    ``G(t) = sum_j u_j(t) core_j``. Parameters: ``core`` ``(r1, r2, r3)``, ``coefficients`` u ``(C, r1)``,
    ``output_factors`` B ``(out, r2)``, ``input_factors`` C ``(in, r3)``. One rank stands for three equal ones.
    """

    def check_rank(self, rank: int | tuple[int, ...]) -> None:
        """Raises InputError unless the rank is one or three positive numbers."""
        if not isinstance(rank, int):
            if len(rank) != 3:
                raise InputError(f"Residual factorisation 'tucker' takes one rank or three, got {tuple(rank)}.")
            for single in rank:
                super().check_rank(single)
            return
        super().check_rank(rank)

    @property
    def ranks(self) -> tuple[int, int, int]:
        """Ranks of time, output and input."""
        rank = self.spec.rank
        if isinstance(rank, int):
            return rank, rank, rank
        time_rank, output_rank, input_rank = rank
        return time_rank, output_rank, input_rank

    def initial_values(self) -> dict[str, Tensor]:
        """Small normal factors; when multiplied, factors whose product is one."""
        spec = self.spec
        time_rank, output_rank, input_rank = self.ranks
        shapes = {
            "coefficients": (spec.num_rows, time_rank),
            "output_factors": (spec.out_features, output_rank),
            "input_factors": (spec.in_features, input_rank),
        }
        size = time_rank * output_rank * input_rank
        if spec.fuse == "mul":
            core = (1 + centred_noise(size).view(self.ranks)) / size
            return {"core": core, **{name: torch.ones(shape) for name, shape in shapes.items()}}
        core = torch.randn(self.ranks) * INITIAL_FACTOR_STD
        return {"core": core, **{name: torch.randn(shape) * INITIAL_FACTOR_STD for name, shape in shapes.items()}}

    def basis(self, parameters: Parameters) -> Tensor:
        """``B core_j C^T`` of each time component ``(r1, out, in)``."""
        return parameters["output_factors"] @ parameters["core"] @ parameters["input_factors"].T

    def cores(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``G(t)`` of each key ``(U, r2, r3)``."""
        return torch.einsum("uj,jkl->ukl", self.coefficients(parameters, keys), parameters["core"])

    def operations(self, num_points: int, num_groups: int, num_keys: int) -> tuple[int, int, int]:
        """Multiplications of the three ways, for all points together.

        Args:
            num_points: Points of all groups.
            num_groups: Groups G.
            num_keys: Distinct keys U.

        Returns:
            Applying the factors to points; composing weights from :meth:`basis`; composing them from :meth:`cores`.
        """
        (time_rank, output_rank, input_rank), spec = self.ranks, self.spec
        core, matrix = time_rank * output_rank * input_rank, spec.out_features * spec.in_features
        one_side = spec.out_features * output_rank * input_rank
        per_point = spec.in_features * input_rank + output_rank * input_rank + spec.out_features * output_rank
        applying = num_points * per_point + num_groups * core
        by_basis = time_rank * (one_side + matrix * input_rank) + num_keys * time_rank * matrix
        by_cores = num_keys * (core + one_side + matrix * input_rank)
        return applying, by_basis, by_cores

    def _composes_by_basis(self, keys: Tensor) -> bool:
        _, by_basis, by_cores = self.operations(0, 0, len(keys))
        return by_basis <= by_cores

    def residual(self, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``, by whichever order of products is shorter."""
        if self._composes_by_basis(keys):
            return super().residual(parameters, keys)
        return parameters["output_factors"] @ self.cores(parameters, keys) @ parameters["input_factors"].T

    def weights(self, weight: Tensor, parameters: Parameters, keys: Tensor) -> Tensor:
        """``(U, out, in)``, likewise."""
        if self._composes_by_basis(keys):
            return super().weights(weight, parameters, keys)
        return ResidualFactors.weights(self, weight, parameters, keys)

    def prefers_application(self, num_points: int, num_groups: int, num_keys: int) -> bool:
        """``P (in r3 + r2 r3 + out r2) + G r1 r2 r3`` against the shorter way to compose, see :meth:`operations`."""
        applying, *composing = self.operations(num_points, num_groups, num_keys)
        return self.spec.fuse != "mul" and applying <= min(composing)

    def apply(self, weight: Tensor, parameters: Parameters, points: Tensor, keys: Tensor) -> Tensor:
        """``B (G(t) (C^T x))``, ``(G, P, out)``."""
        inner = points @ parameters["input_factors"]
        return torch.bmm(inner, self.cores(parameters, keys).transpose(1, 2)) @ parameters["output_factors"].T
