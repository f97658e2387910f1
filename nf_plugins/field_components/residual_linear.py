"""The ResField layer: a linear layer whose weight has a low-rank residual for every frame.

``W(t) = W + sum_r v_r(t) M_r`` with time coefficients ``v`` and a basis ``M`` that all frames share (Mihajlovic et al.,
*ResFields: Residual Neural Fields for Spatiotemporal Signals*, ICLR 2024, Sec. 3). The bias does not vary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows

INITIAL_FACTOR_STD = 0.01
"""Standard deviation of both factors at the start, so that the residual starts at 1e-4 * sqrt(rank)."""


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


class ResFieldLinear(nn.Linear):
    """A linear layer with one low-rank weight residual per frame; without residual it is ``nn.Linear``.

    Args:
        in_features: Input width.
        out_features: Output width.
        bias: Whether a (time-independent) bias is added.
        num_frames: Number of training frames T.
        rank: Number of basis matrices R; 0 makes the layer a plain linear layer.
        mode: ``lookup`` takes the coefficient row of the nearest frame; ``interpolation`` blends neighbouring rows.
        num_coefficients: Rows of the coefficient table; fewer than frames only with ``interpolation``. Default T.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        num_frames: int,
        rank: int = 10,
        mode: Literal["lookup", "interpolation"] = "lookup",
        num_coefficients: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        rows = num_frames if num_coefficients is None else num_coefficients
        if num_frames < 1 or rank < 0 or rows < 1:
            raise InputError(
                f"A residual layer needs num_frames >= 1, rank >= 0 and num_coefficients >= 1; "
                f"got {num_frames}, {rank} and {rows}."
            )
        if mode == "lookup" and rows != num_frames:
            raise InputError(
                f"num_coefficients={rows} differs from num_frames={num_frames}, which only mode 'interpolation' can "
                f"use; 'lookup' needs one row per frame."
            )
        self.num_frames = num_frames
        self.rank = rank
        self.mode = mode
        if rank > 0:
            self.coefficients = nn.Parameter(torch.randn(rows, rank, device=device, dtype=dtype) * INITIAL_FACTOR_STD)
            self.basis = nn.Parameter(
                torch.randn(rank, out_features, in_features, device=device, dtype=dtype) * INITIAL_FACTOR_STD
            )
        else:
            self.register_parameter("coefficients", None)
            self.register_parameter("basis", None)
        self._active_frames: FrameBatch | None = None
        self._folded: tuple[Any, Tensor, Tensor] | None = None

    def frame_coefficients(self, frames: FrameBatch) -> Tensor:
        """Coefficients ``v(t)`` of each group, ``(G, R)``."""
        if self.mode == "lookup":
            return self.coefficients[frames.frame_ids]
        rows = len(self.coefficients)
        scale = (rows - 1) / max(self.num_frames - 1, 1)
        return interpolate_coefficients(self.coefficients, frames.coordinates * scale)

    def frame_weights(self, frames: FrameBatch) -> Tensor:
        """Effective weight of each group, ``(G, out, in)``.

        Several passes over the same :class:`FrameBatch` share one composition (and its gradient). Without gradients the
        last result is kept besides until a parameter or the frames change, so an image or a mesh folds its weights once
        whatever the number of chunks.
        """
        parameters = (self.weight, self.coefficients, self.basis)
        state = tuple((id(parameter), parameter._version, parameter.device) for parameter in parameters)
        if torch.is_grad_enabled():
            key = (id(self), state)
            if key not in frames.composed:
                frames.composed[key] = self._compose(frames)
            return frames.composed[key]
        positions = frames.frame_ids if self.mode == "lookup" else frames.coordinates
        if self._folded is not None and self._folded[0] == state and torch.equal(self._folded[1], positions):
            return self._folded[2]
        weights = self._compose(frames)
        self._folded = (state, positions, weights)
        return weights

    def _compose(self, frames: FrameBatch) -> Tensor:
        """Composes each distinct frame once; groups that share a frame receive copies."""
        positions = frames.frame_ids if self.mode == "lookup" else frames.coordinates
        distinct, inverse = torch.unique(positions, return_inverse=True)
        if len(distinct) == len(positions):
            return compose_weights(self.weight, self.basis, self.frame_coefficients(frames))
        once = FrameBatch(distinct.long(), distinct) if self.mode == "interpolation" else FrameBatch.from_ids(distinct)
        return compose_weights(self.weight, self.basis, self.frame_coefficients(once))[inverse]

    def forward(self, input: Tensor, frames: FrameBatch | None = None) -> Tensor:
        """Applies each group's own weight in one batched product.

        Args:
            input: ``(G, P, in)`` with P points in each of the G groups of ``frames``; or ``(points, in)`` with one
                frame per point, grouped here; or any shape with a single frame.
            frames: Frames of the groups; those of the surrounding :func:`use_frames` when left out.

        Returns:
            Same leading shape as ``input`` with ``out`` features.

        Raises:
            ValueError: No frames are known, or their number fits neither layout.
        """
        if self.rank == 0:
            return super().forward(input)
        frames = frames if frames is not None else self._active_frames
        if frames is None:
            raise ValueError("ResFieldLinear needs `frames`: pass them or call inside `use_frames(module, frames)`.")
        if len(frames) == 1:
            return nn.functional.linear(input, self.frame_weights(frames)[0], self.bias)
        if input.dim() == 3 and input.shape[0] == len(frames):
            weights = self.frame_weights(frames).transpose(1, 2)
            return torch.bmm(input, weights) if self.bias is None else torch.baddbmm(self.bias, input, weights)
        if input.dim() == 2 and input.shape[0] == len(frames):
            groups = group_rows(frames.frame_ids if self.mode == "lookup" else frames.coordinates)
            first_rows = groups.split(torch.arange(len(input), device=input.device))[:, 0]
            group_frames = FrameBatch(frames.frame_ids[first_rows], frames.coordinates[first_rows])
            return groups.merge(self.forward(groups.split(input), group_frames))
        raise ValueError(f"Input of shape {tuple(input.shape)} does not fit {len(frames)} frames.")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_frames={self.num_frames}, rank={self.rank}, mode={self.mode}"


@contextmanager
def use_frames(module: nn.Module, frames: FrameBatch) -> Iterator[None]:
    """Inside, every residual layer of ``module`` evaluates at ``frames`` without being passed them.

    This is what makes the layer a drop-in for ``nn.Linear`` inside ``nn.Sequential`` or a foreign MLP.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, ResFieldLinear)]
    before = [layer._active_frames for layer in layers]
    for layer in layers:
        layer._active_frames = frames
    try:
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer._active_frames = previous


def add_residual_fields(
    module: nn.Module,
    *,
    num_frames: int,
    rank: int = 10,
    layers: tuple[int, ...] | None = None,
    mode: Literal["lookup", "interpolation"] = "lookup",
    num_coefficients: int | None = None,
) -> nn.Module:
    """Replaces linear layers of ``module`` in place by residual layers that keep their weights.

    Args:
        module: Any module holding ``nn.Linear`` layers.
        num_frames: Number of training frames T.
        rank: Basis matrices per layer.
        layers: Positions, in the order of ``module.modules()``, of the linear layers to replace; None takes all but
            the first and the last.
        mode: See :class:`ResFieldLinear`.
        num_coefficients: See :class:`ResFieldLinear`.

    Returns:
        ``module`` itself.
    """
    linears = [(name, child) for name, child in module.named_modules() if isinstance(child, nn.Linear) and name]
    chosen = range(1, len(linears) - 1) if layers is None else layers
    for index in chosen:
        path, plain = linears[index]
        parent_path, _, name = path.rpartition(".")
        replacement = ResFieldLinear(
            plain.in_features,
            plain.out_features,
            plain.bias is not None,
            num_frames=num_frames,
            rank=rank,
            mode=mode,
            num_coefficients=num_coefficients,
            device=plain.weight.device,
            dtype=plain.weight.dtype,
        )
        replacement.weight = plain.weight
        replacement.bias = plain.bias
        setattr(module.get_submodule(parent_path), name, replacement)
    return module
