"""The ResField layer: a linear layer whose weight has a low-rank residual for every frame.

``W(t) = W + sum_r v_r(t) M_r`` with time coefficients ``v`` and a basis ``M`` that all frames share (Mihajlovic et al.,
*ResFields: Residual Neural Fields for Spatiotemporal Signals*, ICLR 2024, Sec. 3). The bias does not vary. This is
``vm``, the published method; the other factorisations and ways to fuse are its ablations.

The reference has defects in some of them. All are mended here. Where published ablations depend on one,
``faithful=True`` brings it back:

=================  =================================================  ==========================================
variant            here                                               with ``faithful``
=================  =================================================  ==========================================
fuse ``mul``       components start apart, so the rank is R           components start, and stay, equal: rank 1
``loe``            experts are fused with the shared weight           the shared weight is ignored and frozen
``vm_noweight``    the shared weight counts once                      it counts R times (fuse ``add``)
=================  =================================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_factors import (
    AttentionFactors,
    BasisFactors,
    ResidualFactors,
    compose_weights,
    frame_keys,
    interpolate_coefficients,
    select_rows,
)
from nf_plugins.field_components.residual_keys import check_frame_ids, distinct_keys, group_points
from nf_plugins.field_components.residual_options import Factorisation, Fuse, Mode, ResidualSpec, ranks_of_layers
from nf_plugins.field_components.residual_table_factors import ControlFactors, ExpertFactors, IndependentFactors
from nf_plugins.field_components.residual_tensor_factors import CPFactors, TuckerFactors

__all__ = ["ResFieldLinear", "add_residual_fields", "compose_weights", "interpolate_coefficients", "use_frames"]

FACTORS: dict[str, type[ResidualFactors]] = {
    "vm": BasisFactors,
    "none": IndependentFactors,
    "cp": CPFactors,
    "tucker": TuckerFactors,
    "loe": ExpertFactors,
    "vm_attention": AttentionFactors,
    "vm_noweight": ControlFactors,
}


MOST_FOLDED_FRAMES = 4
"""Frames whose composed weights a layer keeps between passes without gradients."""


class ResFieldLinear(nn.Linear):
    """A linear layer with one weight residual per frame; without residual it is ``nn.Linear``.

    Args:
        in_features: Input width.
        out_features: Output width.
        bias: Whether a (time-independent) bias is added.
        num_frames: Number of training frames T.
        rank: Rank R of the residuals. 0 makes a plain linear layer (with ``vm`` only); ``tucker`` also takes the three
            of time, output and input; ``loe`` takes its number of experts; ``none`` and ``resnet`` have no rank.
        mode: ``lookup`` takes the coefficient row of the nearest frame; ``interpolation`` blends neighbouring rows.
        num_coefficients: Rows of the coefficient table; fewer than frames only with ``interpolation``. Default T.
        factorisation: ``vm``, ``none`` (a matrix per frame), ``cp``, ``tucker``, ``loe`` (a matrix per stretch of
            time), ``vm_attention`` (coefficients attend to each other), ``vm_noweight`` (a control without
            coefficients), or ``resnet``: a vector per frame behind the activation, see :meth:`add_output_residual`.
        fuse: Whether the residual is added to the shared weight, multiplied with it, or takes its place.
        faithful: Keeps the reference's defects named at the top of this module.
        device: Of the parameters.
        dtype: Of the parameters.

    Raises:
        InputError: Sizes or options that do not fit together.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        num_frames: int,
        rank: int | tuple[int, ...] = 10,
        mode: Mode = "lookup",
        num_coefficients: int | None = None,
        factorisation: Factorisation = "vm",
        fuse: Fuse = "add",
        faithful: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        rows = num_frames if num_coefficients is None else num_coefficients
        rank = rank if isinstance(rank, int) else tuple(rank)
        spec = ResidualSpec(in_features, out_features, num_frames, rows, rank, mode, factorisation, fuse, faithful)
        self.spec = spec
        self.num_frames = num_frames
        self.rank = rank
        self.mode = mode
        self._factors: ResidualFactors | None = None
        self.residual_names: tuple[str, ...] = ()
        if factorisation == "resnet":
            self._register_residual({"output_residual": torch.zeros(rows, out_features)})
        elif factorisation == "vm" and rank == 0:
            self.register_parameter("coefficients", None)
            self.register_parameter("basis", None)
        else:
            self._factors = FACTORS[factorisation](spec)
            self._register_residual(self._factors.initial_values())
        self.freeze_unused_weight()
        self._active_frames: FrameBatch | None = None
        self._folded: tuple[Any, Tensor, Tensor] | None = None

    def _register_residual(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.register_parameter(name, nn.Parameter(value.to(self.weight).contiguous()))
        self.residual_names = tuple(values)

    def freeze_unused_weight(self) -> None:
        """A shared weight that takes no part is frozen: without gradient it would stop training on several devices."""
        if self._factors is not None and not self._factors.uses_weight:
            self.weight.requires_grad_(False)

    def _parameters_of_residual(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.residual_names}

    def _known_frames(self, frames: FrameBatch | None) -> FrameBatch:
        """The frames given, or those of :func:`use_frames`, checked against the number of training frames."""
        frames = frames if frames is not None else self._active_frames
        if frames is None:
            raise ValueError("ResFieldLinear needs `frames`: pass them or call inside `use_frames(module, frames)`.")
        if self.mode == "lookup":
            check_frame_ids(frames, self.num_frames)
        return frames

    def _state(self) -> tuple[Any, ...]:
        """Changes whenever composed weights would: with a parameter, or with the precision."""
        parameters = (self.weight, *self._parameters_of_residual().values())
        versions = ((id(parameter), parameter._version, parameter.device, parameter.dtype) for parameter in parameters)
        return torch.is_autocast_enabled(), *versions

    def frame_coefficients(self, frames: FrameBatch) -> Tensor:
        """Coefficients ``v(t)`` of each group, ``(G, R)``, of the factorisations that have some."""
        assert isinstance(self._factors, (BasisFactors, CPFactors))
        return self._factors.coefficients(self._parameters_of_residual(), self._factors.keys(frames))

    def _distinct_weights(self, frames: FrameBatch) -> Tensor:
        """Effective weight of each distinct key ``(U, out, in)``.

        Several passes over the same :class:`FrameBatch` share one composition (and its gradient). Without gradients the
        last result for a few frames is kept besides until a parameter or the frames change, so an image or a mesh folds
        its weights once whatever the number of chunks. Weights of many frames are not kept: they may be gigabytes.
        """
        factors, state = self._factors, self._state()
        assert factors is not None
        keys = distinct_keys(frames, factors).keys
        if torch.is_grad_enabled():
            return frames.shared(
                (id(self), state), lambda: factors.weights(self.weight, self._parameters_of_residual(), keys)
            )
        if len(keys) > MOST_FOLDED_FRAMES:
            return frames.shared(
                (id(self), state), lambda: factors.weights(self.weight, self._parameters_of_residual(), keys)
            )
        folded = self._folded
        if folded is None or folded[0] != state or not torch.equal(folded[1], keys):
            folded = state, keys, factors.weights(self.weight, self._parameters_of_residual(), keys)
            self._folded = folded
        return folded[2]

    def frame_weights(self, frames: FrameBatch) -> Tensor:
        """Effective weight of each group, ``(G, out, in)``.

        Each distinct frame is composed once; groups that share one receive copies. Shared between passes as
        :meth:`_distinct_weights` says.
        """
        assert self._factors is not None
        weights, inverse = self._distinct_weights(frames), distinct_keys(frames, self._factors).inverse
        if inverse is None:
            return weights
        if not torch.is_grad_enabled():
            return weights[inverse]
        return frames.shared((id(self), self._state(), "copies"), lambda: weights[inverse])

    def forward(self, input: Tensor, frames: FrameBatch | None = None) -> Tensor:
        """Applies each group's own weight, in the cheapest of three exact ways.

        One frame: an ordinary linear layer. Several: the weights of the distinct frames, composed once, in one batched
        product over groups. Few points for each frame (how few depends on the factorisation, see
        :meth:`ResidualFactors.prefers_application`): the shared weight and the factors, without composing weights.

        Args:
            input: ``(G, *points, in)`` with the points of each of the G groups of ``frames``; or ``(points, in)`` with
                one frame per point, grouped here; or any shape with a single frame.
            frames: Frames of the groups; those of the surrounding :func:`use_frames` when left out.

        Returns:
            Same leading shape as ``input`` with ``out`` features.

        Raises:
            ValueError: No frames are known, or their number does not fit the input.
            InputError: A frame beyond the last training frame, with ``lookup``.
        """
        if self._factors is None:
            return super().forward(input)
        frames = self._known_frames(frames)
        if len(frames) > 1 and (input.dim() < 2 or len(input) != len(frames)):
            raise ValueError(f"Input of shape {tuple(input.shape)} does not fit {len(frames)} frames.")
        if self._prefers_application(input, frames):
            return self._apply_factors(input, frames)
        if len(distinct_keys(frames, self._factors).keys) == 1:
            return nn.functional.linear(input, self._distinct_weights(frames)[0], self.bias)
        if input.dim() == 2:
            groups, group_frames = group_points(frames, self._factors)
            return groups.merge(self.forward(groups.split(input), group_frames))
        points, weights = input.flatten(1, -2), self.frame_weights(frames).transpose(1, 2)
        output = torch.bmm(points, weights) if self.bias is None else torch.baddbmm(self.bias, points, weights)
        return output.view(*input.shape[:-1], self.out_features)

    def _prefers_application(self, input: Tensor, frames: FrameBatch) -> bool:
        """Whether the factored form is the cheaper one; not where composed weights are there already, or stay."""
        assert self._factors is not None
        num_keys, num_points = len(distinct_keys(frames, self._factors).keys), input.numel() // self.in_features
        if (num_keys == 1 and not torch.is_grad_enabled()) or (id(self), self._state()) in frames.composed:
            return False
        return self._factors.prefers_application(num_points, len(frames), num_keys)

    def _apply_factors(self, input: Tensor, frames: FrameBatch) -> Tensor:
        """The layer without composed weights."""
        assert self._factors is not None
        points = input.reshape(len(frames), -1, self.in_features)
        keys = self._factors.keys(frames)
        output = self._factors.apply(self.weight, self._parameters_of_residual(), points, keys)
        if self.spec.fuse == "add":
            output = output + nn.functional.linear(points, self.weight, self.bias)
        elif self.bias is not None:
            output = output + self.bias
        return output.view(*input.shape[:-1], self.out_features)

    def add_output_residual(self, activated: Tensor, frames: FrameBatch | None = None) -> Tensor:
        """Adds each frame's vector to what left the activation; with other factorisations than ``resnet``, nothing.

        Args:
            activated: Shaped like the output of :meth:`forward`.
            frames: As there.

        Returns:
            Same shape.
        """
        if self.spec.factorisation != "resnet":
            return activated
        frames = self._known_frames(frames)
        vectors = select_rows(
            self.spec, self._parameters_of_residual()["output_residual"], frame_keys(self.spec, frames)
        )
        if len(frames) == 1:
            return activated + vectors[0]
        return activated + vectors.view(len(vectors), *[1] * (activated.dim() - 2), -1)

    def extra_repr(self) -> str:
        kind = "" if self.spec.factorisation == "vm" else f", factorisation={self.spec.factorisation}"
        fuse = "" if self.spec.fuse == "add" else f", fuse={self.spec.fuse}"
        return f"{super().extra_repr()}, num_frames={self.num_frames}, rank={self.rank}, mode={self.mode}{kind}{fuse}"


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
    rank: int | tuple[int, ...] = 10,
    layers: tuple[int, ...] | None = None,
    mode: Mode = "lookup",
    num_coefficients: int | None = None,
    factorisation: Factorisation = "vm",
    fuse: Fuse = "add",
    faithful: bool = False,
) -> nn.Module:
    """Replaces linear layers of ``module`` in place by residual layers that keep their weights.

    Args:
        module: Any module holding ``nn.Linear`` layers.
        num_frames: Number of training frames T.
        rank: See :func:`~nf_plugins.field_components.residual_options.ranks_of_layers`.
        layers: Positions, in the order of ``module.modules()``, of the linear layers to replace; None takes all but
            the first and the last.
        mode: See :class:`ResFieldLinear`.
        num_coefficients: Likewise.
        factorisation: Likewise.
        fuse: Likewise.
        faithful: Likewise.

    Returns:
        ``module`` itself.

    Raises:
        InputError: No such layer, no layer at all, or ``resnet``, which has to know where the activation is.
    """
    # Not subclasses: attention reads the weight of its own kind of linear layer without calling it.
    linears = [(name, child) for name, child in module.named_modules() if type(child) is nn.Linear and name]
    chosen = tuple(range(1, len(linears) - 1)) if layers is None else tuple(layers)
    outside = [index for index in chosen if not 0 <= index < len(linears)]
    if outside or not chosen:
        raise InputError(
            f"add_residual_fields was to replace linear layers {list(chosen)} of a {type(module).__name__} that has "
            f"{len(linears)} of them (torch.nn.Linear, counted from 0); name existing ones in `layers`. A network of "
            "tiny-cuda-nn has none: build it with implementation='torch'."
        )
    if factorisation == "resnet":
        raise InputError(
            "add_residual_fields cannot place 'resnet', which adds a vector behind the activation: use ResFieldLinear "
            "and call its add_output_residual there."
        )
    for index, layer_rank in ranks_of_layers(rank, chosen, factorisation).items():
        path, plain = linears[index]
        parent_path, _, name = path.rpartition(".")
        replacement = ResFieldLinear(
            plain.in_features,
            plain.out_features,
            plain.bias is not None,
            num_frames=num_frames,
            rank=layer_rank,
            mode=mode,
            num_coefficients=num_coefficients,
            factorisation=factorisation,
            fuse=fuse,
            faithful=faithful,
            device=plain.weight.device,
            dtype=plain.weight.dtype,
        )
        replacement.weight = plain.weight
        replacement.bias = plain.bias
        replacement.freeze_unused_weight()
        setattr(module.get_submodule(parent_path), name, replacement)
    return module
