"""The invertible warp of NDR: coordinates shifted and planes moved in turn (Cai et al., NeurIPS 2022, Sec. 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nf_plugins.field_components.annealed_encoding import AnnealedPositionalEncoding, annealing_window
from nf_plugins.field_components.geometric_initialisation import SOFTPLUS_BETA
from nf_plugins.field_components.motion_context import MotionContext
from nf_plugins.field_components.warps import set_to_zero


class CouplingMLP(nn.Sequential):
    """Two layers, the first weight-normalised, the last starting at zero: ``in_dim`` to ``out_dim``."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        last = nn.Linear(hidden_dim, out_dim)
        set_to_zero(last)
        first = nn.utils.parametrizations.weight_norm(nn.Linear(in_dim, hidden_dim))
        super().__init__(first, nn.Softplus(beta=SOFTPLUS_BETA), last)


class CouplingBlock(nn.Module):
    """One invertible step around an axis.

    The coordinate along the axis is shifted by an amount that depends on the other two; then the plane of the other two
    is translated and turned by amounts that depend on the shifted coordinate. Each half changes only what it does not
    look at, so the inverse is closed-form.

    Args:
        axis: Coordinate that is shifted.
        code_dim: Length of the frames' codes.
        hidden_dim: Width of the two networks.
        num_frequencies: Octaves of the position encodings.
    """

    def __init__(self, axis: int, code_dim: int = 64, hidden_dim: int = 128, num_frequencies: int = 6) -> None:
        super().__init__()
        self.axis = axis
        self.plane = [other for other in range(3) if other != axis]
        self.num_frequencies = num_frequencies
        self.plane_encoding = AnnealedPositionalEncoding(2, num_frequencies)
        self.axis_encoding = AnnealedPositionalEncoding(1, num_frequencies)
        self.code_update = nn.Linear(code_dim, code_dim)
        set_to_zero(self.code_update)
        self.shift = CouplingMLP(self.plane_encoding.out_dim + code_dim, hidden_dim, 1)
        self.motion = CouplingMLP(self.axis_encoding.out_dim + code_dim, hidden_dim, 3)

    def _updated(self, codes: Tensor, points: Tensor) -> Tensor:
        updated = codes + self.code_update(codes)
        return updated[:, None].expand(-1, points.shape[1], -1).to(points.dtype)

    def _shift(self, plane: Tensor, codes: Tensor, window: Tensor) -> Tensor:
        return self.shift(torch.cat([self.plane_encoding(plane, window), codes], dim=-1))

    def _motion(self, coordinate: Tensor, codes: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        angle, translation = self.motion(torch.cat([self.axis_encoding(coordinate, window), codes], dim=-1)).split(
            [1, 2], dim=-1
        )
        return angle, translation

    def forward(self, points: Tensor, codes: Tensor, window: Tensor) -> Tensor:
        """One step towards the canonical frame.

        Args:
            points: ``(G, P, 3)``.
            codes: Codes of the groups ``(G, code_dim)``.
            window: Band weights of the encodings ``(K,)``.
        """
        codes = self._updated(codes, points)
        coordinate, plane = points[..., self.axis : self.axis + 1], points[..., self.plane]
        coordinate = coordinate - self._shift(plane, codes, window)
        angle, translation = self._motion(coordinate, codes, window)
        return self._assemble(coordinate, turn_plane(plane - translation, -angle))

    def inverse(self, points: Tensor, codes: Tensor, window: Tensor) -> Tensor:
        """Undoes :meth:`forward`."""
        codes = self._updated(codes, points)
        coordinate, plane = points[..., self.axis : self.axis + 1], points[..., self.plane]
        angle, translation = self._motion(coordinate, codes, window)
        plane = turn_plane(plane, angle) + translation
        return self._assemble(coordinate + self._shift(plane, codes, window), plane)

    def _assemble(self, coordinate: Tensor, plane: Tensor) -> Tensor:
        columns = list(plane.split(1, dim=-1))
        columns.insert(self.axis, coordinate)
        return torch.cat(columns, dim=-1)


class BijectiveWarp(nn.Module):
    """Coupling blocks around z, y and x; further triplets run in the opposite order. Starts as the identity.

    Args:
        code_dim: Length of the frames' codes.
        hidden_dim: Width of the networks in the blocks.
        num_blocks: Number of blocks.
        num_frequencies: Octaves of the position encodings.
    """

    def __init__(
        self, code_dim: int = 64, hidden_dim: int = 128, num_blocks: int = 3, num_frequencies: int = 6
    ) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        axes = [2 - i % 3 if (i // 3) % 2 == 0 else i % 3 for i in range(num_blocks)]
        self.blocks = nn.ModuleList(CouplingBlock(axis, code_dim, hidden_dim, num_frequencies) for axis in axes)

    def forward(self, points: Tensor, context: MotionContext) -> Tensor:
        """Canonical points ``(G, P, 3)`` of observed ones."""
        codes, window = context.group_codes(), annealing_window(context.alpha, self.num_frequencies)
        for block in self.blocks:
            points = block(points, codes, window)
        return points

    def inverse(self, points: Tensor, context: MotionContext) -> Tensor:
        """Observed points ``(G, P, 3)`` of canonical ones."""
        codes, window = context.group_codes(), annealing_window(context.alpha, self.num_frequencies)
        for block in reversed(self.blocks):
            assert isinstance(block, CouplingBlock)
            points = block.inverse(points, codes, window)
        return points


def turn_plane(coordinates: Tensor, angle: Tensor) -> Tensor:
    """Turns plane coordinates ``(*batch, 2)`` counter-clockwise by angles ``(*batch, 1)``, radians."""
    first, second = coordinates.split(1, dim=-1)
    sine, cosine = angle.sin(), angle.cos()
    return torch.cat([cosine * first - sine * second, sine * first + cosine * second], dim=-1)
