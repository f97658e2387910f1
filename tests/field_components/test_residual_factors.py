"""Every factorisation against its formula, written out entry by entry."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_linear import FACTORS, ResFieldLinear

FRAMES, IN, OUT = 6, 5, 4
RANK: dict[str, int | tuple[int, int, int]] = {name: 3 for name in FACTORS} | {"tucker": (3, 2, 4)}
VARIANTS = [
    (name, fuse, faithful)
    for name, fuse, faithful in itertools.product(FACTORS, ("add", "mul", "none"), (False, True))
    if not faithful or name in ("vm", "loe", "vm_noweight")
]
INTERPOLATED = ("vm", "vm_attention", "cp", "tucker")


def make_layer(name: str, fuse: str = "add", faithful: bool = False, bias: bool = True, **options) -> ResFieldLinear:
    torch.manual_seed(0)
    layer = ResFieldLinear(
        IN, OUT, bias, num_frames=FRAMES, rank=RANK[name], factorisation=name, fuse=fuse, faithful=faithful,
        dtype=torch.float64, **options,
    )  # fmt: skip
    with torch.no_grad():
        for residual_name in layer.residual_names:
            getattr(layer, residual_name).normal_()
    return layer


def frames_of(positions: list[float]) -> FrameBatch:
    coordinates = torch.tensor(positions, dtype=torch.float64)
    return FrameBatch((coordinates + 0.5).floor().long().clamp(0, FRAMES - 1), coordinates)


def blended(table: Tensor, position: float, mode: str) -> Tensor:
    """The row of a table at a frame coordinate."""
    if mode == "lookup":
        return table[int(position)]
    knot = min(max(position, 0), FRAMES - 1) * (len(table) - 1) / (FRAMES - 1)
    lower = min(int(knot), len(table) - 2)
    return table[lower] * (1 - (knot - lower)) + table[lower + 1] * (knot - lower)


def residual_by_definition(layer: ResFieldLinear, position: float) -> Tensor:
    """The residual ``(out, in)`` of one frame, as the documentation defines it."""
    kind, mode = layer.spec.factorisation, layer.mode
    if kind == "none":
        return layer.residuals[int(position)]
    if kind == "loe":
        centres = [j * (FRAMES - 1) / (layer.rank - 1) for j in range(layer.rank)]
        return layer.experts[min(range(layer.rank), key=lambda j: abs(centres[j] - position))]
    if kind == "vm_noweight":
        return sum(layer.basis[r] for r in range(layer.rank))
    coefficients = layer.coefficients
    if kind == "vm_attention":
        logits = torch.stack([torch.stack([a @ b for b in layer.attention]) for a in layer.attention]) / layer.rank
        shares = logits.exp() / logits.exp().sum(dim=0, keepdim=True)
        coefficients = shares @ coefficients
    row = blended(coefficients, position, mode)
    if kind == "cp":
        return sum(
            layer.component_weights[r] * row[r] * torch.outer(layer.output_factors[:, r], layer.input_factors[:, r])
            for r in range(layer.rank)
        )
    if kind == "tucker":
        return torch.einsum("a,abc,ob,ic->oi", row, layer.core, layer.output_factors, layer.input_factors)
    return sum(row[r] * layer.basis[r] for r in range(layer.rank))


def weight_by_definition(layer: ResFieldLinear, position: float) -> Tensor:
    """The effective weight ``(out, in)`` of one frame."""
    spec, residual = layer.spec, residual_by_definition(layer, position)
    if spec.fuse == "none" or (spec.faithful and spec.factorisation == "loe"):
        return residual
    if spec.fuse == "mul":
        return layer.weight * residual
    copies = layer.rank if spec.faithful and spec.factorisation == "vm_noweight" else 1
    return copies * layer.weight + residual


def per_point_reference(layer: ResFieldLinear, points: Tensor, positions: list[float]) -> Tensor:
    """The layer for points ``(G, P, in)``, one explicit weight per group."""
    outputs = torch.stack(
        [group @ weight_by_definition(layer, position).T for group, position in zip(points, positions, strict=True)]
    )
    return outputs if layer.bias is None else outputs + layer.bias


def assert_same_values_and_derivatives(
    layer: ResFieldLinear, evaluate: Callable[[Tensor], Tensor], reference: Callable[[Tensor], Tensor], points: Tensor
) -> None:
    """Outputs, gradients with respect to points and all parameters, and gradients of the gradient's size."""
    points.requires_grad_(True)
    inputs = [points, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    results = []
    for function in (evaluate, reference):
        outputs = function(points)
        (slope,) = torch.autograd.grad(outputs.pow(3).sum(), points, create_graph=True)
        first = torch.autograd.grad(outputs.pow(2).sum(), inputs, retain_graph=True)
        second = torch.autograd.grad(slope.pow(2).sum(), inputs, allow_unused=True, materialize_grads=True)
        results.append([outputs, *first, *second])
    for actual, expected in zip(*results, strict=True):
        assert torch.allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("num_points", [1, 2, 9], ids=lambda number: f"{number} points")
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [5, 0, 5, 5], [3, 3], [4]], ids=str)
@pytest.mark.parametrize("name, fuse, faithful", VARIANTS)
def test_layer_equals_its_formula(name: str, fuse: str, faithful: bool, ids: list[int], num_points: int) -> None:
    layer = make_layer(name, fuse, faithful, bias=fuse != "none")
    points = torch.randn(len(ids), num_points, IN, dtype=torch.float64)
    positions = [float(frame) for frame in ids]
    frames = frames_of(positions)
    assert_same_values_and_derivatives(
        layer, lambda x: layer(x, frames), lambda x: per_point_reference(layer, x, positions), points
    )


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "composed"])
@pytest.mark.parametrize("fuse", ["add", "none", "mul"])
@pytest.mark.parametrize("name", INTERPOLATED)
def test_factored_and_composed_forms_agree_whatever_the_choice(
    name: str, fuse: str, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if applied and fuse == "mul" and name in ("cp", "tucker"):
        return  # These have no factored form when multiplied.
    layer = make_layer(name, fuse)
    monkeypatch.setattr(layer._factors, "prefers_application", lambda *counts: applied)
    positions = [1.0, 4.0, 1.0]
    points = torch.randn(3, 4, IN, dtype=torch.float64)
    assert_same_values_and_derivatives(
        layer,
        lambda x: layer(x, frames_of(positions)),
        lambda x: per_point_reference(layer, x, positions),
        points,
    )


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "composed"])
@pytest.mark.parametrize("name", FACTORS)
def test_flat_points_equal_groups(name: str, applied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer(name)
    if name in INTERPOLATED:
        monkeypatch.setattr(layer._factors, "prefers_application", lambda *counts: applied)
    positions = [5.0, 0.0, 5.0, 5.0, 2.0, 0.0, 0.0]
    points = torch.randn(7, IN, dtype=torch.float64)
    assert_same_values_and_derivatives(
        layer,
        lambda x: layer(x, frames_of(positions)),
        lambda x: per_point_reference(layer, x[:, None], positions)[:, 0],
        points,
    )


@pytest.mark.parametrize("rows", [FRAMES, 3])
@pytest.mark.parametrize("name", INTERPOLATED)
def test_interpolation_at_between_and_outside_the_knots(name: str, rows: int) -> None:
    layer = make_layer(name, mode="interpolation", num_coefficients=rows)
    positions = [0.0, 0.3, 2.5, 4.0, 5.0, -1.0, 7.0, 2.5]
    points = torch.randn(len(positions), 3, IN, dtype=torch.float64)
    assert_same_values_and_derivatives(
        layer, lambda x: layer(x, frames_of(positions)), lambda x: per_point_reference(layer, x, positions), points
    )


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "composed"])
@pytest.mark.parametrize("fuse", ["add", "mul", "none"])
@pytest.mark.parametrize("name", FACTORS)
def test_second_derivatives_of_every_form(name: str, fuse: str, applied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if applied and (name not in INTERPOLATED or (fuse == "mul" and name in ("cp", "tucker"))):
        return  # No factored form.
    torch.manual_seed(0)
    rank = (2, 1, 2) if name == "tucker" else 2
    layer = ResFieldLinear(2, 2, num_frames=3, rank=rank, factorisation=name, fuse=fuse, dtype=torch.float64)
    monkeypatch.setattr(layer._factors, "prefers_application", lambda *counts: applied)
    names = [parameter_name for parameter_name, value in layer.named_parameters() if value.requires_grad]
    values = tuple(torch.randn_like(getattr(layer, parameter_name)).requires_grad_() for parameter_name in names)
    points = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)

    def function(points: Tensor, *parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, state, (points, FrameBatch.from_ids(torch.tensor([2, 0]))))

    assert torch.autograd.gradcheck(function, (points, *values))
    assert torch.autograd.gradgradcheck(function, (points, *values))


@pytest.mark.parametrize("name, fuse, faithful", VARIANTS)
def test_folded_inference_equals_training(name: str, fuse: str, faithful: bool) -> None:
    layer = make_layer(name, fuse, faithful)
    points = torch.randn(2, 3, IN, dtype=torch.float64)
    for ids in ([2.0], [2.0, 5.0], [4.0, 4.0]):
        grouped = points[: len(ids)]
        expected = layer(grouped, frames_of(ids)).detach()
        with torch.no_grad():
            for _ in range(2):
                assert torch.allclose(layer(grouped, frames_of(ids)), expected, atol=1e-12)
            getattr(layer, layer.residual_names[-1]).add_(0.1)
            assert not torch.allclose(layer(grouped, frames_of(ids)), expected, atol=1e-3)
            getattr(layer, layer.residual_names[-1]).sub_(0.1)


def compositions(layer: ResFieldLinear, num_groups: int, num_points: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many weights a pass composes."""
    composed = []
    original = layer._factors.weights

    def counted(weight: Tensor, parameters: dict[str, Tensor], keys: Tensor) -> Tensor:
        composed.append(len(keys))
        return original(weight, parameters, keys)

    monkeypatch.setattr(layer._factors, "weights", counted)
    layer(torch.randn(num_groups, num_points, layer.in_features), FrameBatch.from_ids(torch.arange(num_groups)))
    return sum(composed)


@pytest.mark.parametrize(
    "name, rank, num_points, expected",
    [
        ("vm", 10, 1, 0),
        ("vm", 10, 100, 4),
        ("none", 10, 1, 4),
        # 64 = 128 * 128 / (128 + 128) points per frame is where the two ways of CP break even.
        ("cp", 10, 64, 0),
        ("cp", 40, 65, 4),
        ("tucker", (10, 16, 16), 16, 0),
        ("tucker", (10, 16, 16), 200, 4),
    ],
)
def test_weights_are_composed_where_that_takes_fewer_operations(
    name: str, rank, num_points: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = ResFieldLinear(128, 128, num_frames=4, rank=rank, factorisation=name)
    assert compositions(layer, 4, num_points, monkeypatch) == expected


def test_operations_of_tucker_are_those_of_its_products() -> None:
    layer = ResFieldLinear(7, 5, num_frames=9, rank=(2, 3, 4), factorisation="tucker")
    core, matrix, side = 2 * 3 * 4, 5 * 7, 5 * 3 * 4
    assert layer._factors.operations(11, 6, 6) == (
        11 * (7 * 4 + 4 * 3 + 3 * 5) + 6 * core,
        2 * (side + matrix * 4) + 6 * 2 * matrix,
        6 * (core + side + matrix * 4),
    )


@pytest.mark.parametrize("rank", [(2, 5, 5), (30, 2, 2)], ids=["by basis", "by cores"])
def test_both_orders_of_composing_tucker_are_used_and_equal(rank: tuple[int, int, int]) -> None:
    layer = ResFieldLinear(8, 8, num_frames=4, rank=rank, factorisation="tucker", dtype=torch.float64)
    with torch.no_grad():
        for name in layer.residual_names:
            getattr(layer, name).normal_()
    ids = torch.arange(4)
    assert layer._factors._composes_by_basis(ids) == (rank[0] == 2)
    expected = torch.einsum(
        "ta,abc,ob,ic->toi", layer.coefficients, layer.core, layer.output_factors, layer.input_factors
    )
    assert torch.allclose(layer.frame_weights(FrameBatch.from_ids(ids)), layer.weight + expected, atol=1e-12)


@pytest.mark.parametrize(
    "name, rank, count",
    [
        ("vm", 10, 10 * (100 + 64 * 32)),
        ("none", 10, 100 * 64 * 32),
        ("cp", 10, 10 * (1 + 100 + 64 + 32)),
        ("tucker", (4, 5, 6), 4 * 5 * 6 + 100 * 4 + 64 * 5 + 32 * 6),
        ("loe", 8, 8 * 64 * 32),
        ("vm_attention", 10, 10 * (2 * 100 + 64 * 32)),
        ("vm_noweight", 10, 10 * 64 * 32),
        ("resnet", 10, 100 * 64),
    ],
)
def test_extra_parameters(name: str, rank, count: int) -> None:
    layer = ResFieldLinear(32, 64, num_frames=100, rank=rank, factorisation=name)
    plain = 32 * 64 + 64
    assert sum(parameter.numel() for parameter in layer.parameters()) - plain == count


@pytest.mark.parametrize("name", ["none", "loe", "cp", "tucker", "vm_noweight", "resnet"])
def test_added_residuals_that_start_at_nothing(name: str) -> None:
    torch.manual_seed(0)
    layer = ResFieldLinear(16, 16, num_frames=FRAMES, rank=4, factorisation=name)
    points, frames = torch.randn(FRAMES, 3, 16), FrameBatch.from_ids(torch.arange(FRAMES))
    plain = torch.nn.functional.linear(points, layer.weight, layer.bias)
    assert torch.allclose(layer(points, frames), plain, atol=1e-4)
    assert torch.equal(layer.add_output_residual(plain, frames), plain)


@pytest.mark.parametrize("name, faithful, tolerance", [
    ("vm", True, 1e-6), ("vm", False, 0.1), ("vm_attention", False, 0.1), ("none", False, 0), ("loe", False, 0),
    ("cp", False, 0.05), ("tucker", False, 1e-5), ("vm_noweight", False, 1e-4),
])  # fmt: skip
def test_multiplied_residuals_start_close_to_the_plain_layer(name: str, faithful: bool, tolerance: float) -> None:
    torch.manual_seed(0)
    layer = ResFieldLinear(16, 16, num_frames=FRAMES, rank=4, factorisation=name, fuse="mul", faithful=faithful)
    factor = layer.frame_weights(FrameBatch.from_ids(torch.arange(FRAMES))) / layer.weight
    assert (factor - 1).abs().max() <= tolerance


def rank_after_training(faithful: bool) -> int:
    torch.manual_seed(0)
    layer = ResFieldLinear(8, 8, num_frames=12, rank=4, fuse="mul", faithful=faithful, dtype=torch.float64)
    frames, points, target = FrameBatch.from_ids(torch.arange(12)), torch.randn(12, 20, 8), torch.randn(12, 20, 8)
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
    for _ in range(30):
        loss = (layer(points.double(), FrameBatch(frames.frame_ids, frames.coordinates)) - target).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return int(torch.linalg.matrix_rank(layer.coefficients @ layer.basis.flatten(1), rtol=1e-6))


def test_multiplied_residuals_keep_their_rank_and_lose_it_when_faithful() -> None:
    assert rank_after_training(faithful=False) == 4
    assert rank_after_training(faithful=True) == 1


@pytest.mark.parametrize("name, fuse, faithful", VARIANTS)
def test_every_trained_parameter_has_a_gradient_and_no_other(name: str, fuse: str, faithful: bool) -> None:
    layer = make_layer(name, fuse, faithful)
    layer(torch.randn(FRAMES, 20, IN, dtype=torch.float64), frames_of([0.0, 1, 2, 3, 4, 5])).sum().backward()
    for parameter in layer.parameters():
        assert parameter.requires_grad == (parameter.grad is not None)
    ignored = fuse == "none" or (name == "loe" and faithful)
    assert layer.weight.requires_grad != ignored


def test_attention_starts_uniform_so_that_all_frames_are_alike() -> None:
    layer = ResFieldLinear(5, 4, num_frames=FRAMES, rank=3, factorisation="vm_attention")
    weights = layer.frame_weights(FrameBatch.from_ids(torch.arange(FRAMES)))
    assert torch.allclose(weights, weights[:1].expand_as(weights), atol=1e-7)
    assert not torch.allclose(weights[0], layer.weight, atol=1e-6)


@pytest.mark.parametrize("name", ["cp", "tucker", "loe", "vm_attention", "vm_noweight"])
def test_rank_zero_is_refused_where_it_means_nothing(name: str) -> None:
    with pytest.raises(InputError, match="Rank 0 means a plain layer"):
        ResFieldLinear(2, 2, num_frames=4, rank=0, factorisation=name)


@pytest.mark.parametrize("name", ["none", "loe", "vm_noweight"])
def test_interpolation_is_refused_where_there_are_no_coefficients(name: str) -> None:
    with pytest.raises(InputError, match="no coefficients to interpolate"):
        ResFieldLinear(2, 2, num_frames=4, rank=2, mode="interpolation", factorisation=name)


@pytest.mark.parametrize("name", ["vm", "cp", "loe", "vm_attention", "vm_noweight"])
def test_several_ranks_for_one_layer_are_tuckers_alone(name: str) -> None:
    with pytest.raises(InputError, match="one rank per layer"):
        ResFieldLinear(2, 2, num_frames=4, rank=(2, 4, 8), factorisation=name)
    with pytest.raises(InputError, match="one rank or three"):
        ResFieldLinear(2, 2, num_frames=4, rank=(2, 4), factorisation="tucker")
