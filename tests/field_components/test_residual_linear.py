import pytest
import torch
from torch import nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_factors import interpolate_coefficients
from nf_plugins.field_components.residual_linear import ResFieldLinear, add_residual_fields, use_frames

FRAMES = 6


def make_layer(rank: int = 3, mode: str = "lookup", rows: int | None = None, bias: bool = True) -> ResFieldLinear:
    torch.manual_seed(0)
    layer = ResFieldLinear(
        5, 4, bias, num_frames=FRAMES, rank=rank, mode=mode, num_coefficients=rows, dtype=torch.float64
    )
    with torch.no_grad():
        for parameter in (layer.coefficients, layer.basis):
            if parameter is not None:
                parameter.normal_()
    return layer


def force(layer: ResFieldLinear, applied: bool) -> ResFieldLinear:
    """Makes the layer apply its factors, or compose its weights, whatever it would choose."""
    assert layer._factors is not None
    layer._factors.prefers_application = lambda *counts: applied  # type: ignore[method-assign]
    return layer


def frames_of(ids: list[int]) -> FrameBatch:
    return FrameBatch(torch.tensor(ids), torch.tensor(ids, dtype=torch.float64))


def per_point_reference(layer: ResFieldLinear, points: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """The layer by its definition, one explicit weight per point."""
    rows = []
    for point, frame in zip(points, ids, strict=True):
        weight = layer.weight + sum(layer.coefficients[frame, r] * layer.basis[r] for r in range(layer.rank))
        rows.append(weight @ point + (0 if layer.bias is None else layer.bias))
    return torch.stack(rows)


def test_zero_factors_equal_the_plain_layer_bit_for_bit() -> None:
    layer = force(make_layer(), applied=False)
    with torch.no_grad():
        layer.basis.zero_()
    points = torch.randn(2, 7, 5, dtype=torch.float64)
    plain = nn.functional.linear(points, layer.weight, layer.bias)
    assert torch.equal(layer(points, frames_of([2])), plain)
    assert torch.equal(layer.frame_weights(frames_of([1, 4])), layer.weight.expand(2, -1, -1))
    # Against the same batched product: a plain one sums in another order.
    batched = torch.baddbmm(layer.bias, points, layer.weight.t().expand(2, -1, -1))
    assert torch.equal(layer(points, frames_of([1, 4])), batched)
    assert torch.allclose(batched, plain, rtol=1e-14, atol=1e-15)


def test_rank_zero_is_the_plain_layer_and_needs_no_frames() -> None:
    layer = make_layer(rank=0)
    points = torch.randn(3, 5, dtype=torch.float64)
    assert torch.equal(layer(points), nn.functional.linear(points, layer.weight, layer.bias))
    assert sum(parameter.numel() for parameter in layer.parameters()) == 5 * 4 + 4


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [3, 3, 3, 3], [5, 0, 5, 5, 2, 0, 0]])
def test_grouped_equals_per_point_values_gradients_and_second_gradients(
    ids: list[int], bias: bool, applied: bool
) -> None:
    layer = force(make_layer(bias=bias), applied)
    points = torch.randn(len(ids), 5, dtype=torch.float64, requires_grad=True)
    parameters = [points, *layer.parameters()]
    results = []
    for outputs in (layer(points, frames_of(ids)), per_point_reference(layer, points, ids)):
        (slope,) = torch.autograd.grad(outputs.pow(3).sum(), points, create_graph=True)
        first = torch.autograd.grad(outputs.pow(2).sum(), parameters, retain_graph=True)
        second = torch.autograd.grad(slope.pow(2).sum(), parameters, allow_unused=True, materialize_grads=True)
        results.append([outputs, *first, *second])
    for grouped, reference in zip(*results, strict=True):
        assert torch.allclose(grouped, reference, rtol=1e-10, atol=1e-12)


def test_batched_groups_equal_flat_points() -> None:
    layer = force(make_layer(), applied=False)
    points = torch.randn(3, 4, 5, dtype=torch.float64)
    flat = layer(points.flatten(0, 1), frames_of([2] * 4 + [0] * 4 + [2] * 4))
    assert torch.allclose(layer(points, frames_of([2, 0, 2])), flat.view(3, 4, 4), atol=1e-12)


def test_gradcheck_through_the_batched_product() -> None:
    layer = force(make_layer(), applied=False)
    points = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)

    def function(points, weight, coefficients, basis, bias):
        state = {"weight": weight, "coefficients": coefficients, "basis": basis, "bias": bias}
        return torch.func.functional_call(layer, state, (points, frames_of([4, 1])))

    inputs = (points, layer.weight, layer.coefficients, layer.basis, layer.bias)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_two_frames_differ_and_the_initial_residual_has_its_published_size() -> None:
    torch.manual_seed(0)
    layer = ResFieldLinear(128, 128, num_frames=50, rank=10)
    frames = FrameBatch.from_ids(torch.arange(50))
    residual = layer.frame_weights(frames) - layer.weight
    assert residual.std().item() == pytest.approx(1e-4 * 10**0.5, rel=0.2)
    assert not torch.equal(residual[0], residual[1])


def test_interpolation_passes_through_the_rows_and_is_constant_outside() -> None:
    rows = torch.tensor([[0.0], [2.0], [6.0]])
    values = interpolate_coefficients(rows, torch.tensor([-1.0, 0.0, 0.5, 1.0, 1.25, 2.0, 9.0]))
    assert torch.allclose(values[:, 0], torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 6.0, 6.0]))
    assert interpolate_coefficients(rows[:1], torch.tensor([0.7])).tolist() == [[0.0]]


def test_interpolation_with_a_row_per_frame_equals_lookup_at_frames() -> None:
    lookup, blended = make_layer(), make_layer(mode="interpolation")
    points = torch.randn(2, 3, 5, dtype=torch.float64)
    assert torch.allclose(lookup(points, frames_of([5, 2])), blended(points, frames_of([5, 2])))


def test_fewer_rows_span_all_frames() -> None:
    layer = make_layer(mode="interpolation", rows=2)
    ends = layer.frame_coefficients(frames_of([0, FRAMES - 1]))
    assert torch.allclose(ends, layer.coefficients)


def test_folded_weights_follow_the_parameters_and_the_frames() -> None:
    layer = make_layer()
    points = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        first = layer(points, frames_of([1]))
        assert torch.equal(layer(points, frames_of([1])), first)
        assert not torch.equal(layer(points, frames_of([2])), first)
        layer.basis.mul_(2)
        assert not torch.equal(layer(points, frames_of([1])), first)


def test_passes_over_one_frame_batch_share_the_composition_and_its_gradient() -> None:
    layer = make_layer()
    frames = frames_of([0, 3])
    first, second = layer.frame_weights(frames), layer.frame_weights(frames)
    assert first is second
    with torch.no_grad():
        layer.coefficients.mul_(2)
    assert layer.frame_weights(frames) is not first


def test_drop_in_for_linear_layers_of_a_foreign_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 1))
    points = torch.randn(2, 4, 3)
    before = network(points)
    add_residual_fields(network, num_frames=FRAMES, rank=2)
    assert isinstance(network[2], ResFieldLinear) and type(network[0]) is nn.Linear and type(network[4]) is nn.Linear
    frames = FrameBatch.from_ids(torch.tensor([0, 5]))
    with use_frames(network, frames):
        after = network(points)
    assert after.shape == before.shape and torch.allclose(after, before, atol=1e-2) and not torch.equal(after, before)
    with pytest.raises(ValueError, match="use_frames"):
        network(points)


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(InputError, match="interpolation"):
        ResFieldLinear(2, 2, num_frames=4, rank=1, num_coefficients=3)
    with pytest.raises(InputError, match="rank"):
        ResFieldLinear(2, 2, num_frames=4, rank=-1)
    with pytest.raises(ValueError, match="does not fit"):
        make_layer()(torch.zeros(3, 2, 5, dtype=torch.float64), frames_of([0, 1]))


def test_checkpoints_of_the_published_layer_keep_their_names_and_shapes() -> None:
    layer = ResFieldLinear(5, 4, num_frames=FRAMES, rank=3)
    shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    assert shapes == {"weight": (4, 5), "bias": (4,), "coefficients": (FRAMES, 3), "basis": (3, 4, 5)}


def test_an_output_residual_leaves_the_product_alone_and_is_added_when_asked() -> None:
    layer = ResFieldLinear(5, 4, num_frames=FRAMES, factorisation="resnet", dtype=torch.float64)
    with torch.no_grad():
        layer.output_residual.normal_()
    points = torch.randn(3, 2, 5, dtype=torch.float64)
    plain = layer(points)
    assert torch.equal(plain, nn.functional.linear(points, layer.weight, layer.bias))
    added = layer.add_output_residual(plain, frames_of([2, 5, 2])) - plain
    assert torch.allclose(added, layer.output_residual[[2, 5, 2]][:, None].expand(-1, 2, -1))
    flat = layer.add_output_residual(plain[:, 0], frames_of([2, 5, 2])) - plain[:, 0]
    assert torch.allclose(flat, layer.output_residual[[2, 5, 2]])
    single = layer.add_output_residual(plain, frames_of([1])) - plain
    assert torch.allclose(single, layer.output_residual[1].expand_as(plain))
    with use_frames(layer, frames_of([1])):
        assert torch.equal(layer.add_output_residual(plain) - plain, single)
    published = make_layer()
    assert published.add_output_residual(plain) is plain


def test_an_output_residual_can_be_interpolated() -> None:
    layer = ResFieldLinear(2, 1, num_frames=5, mode="interpolation", num_coefficients=3, factorisation="resnet")
    with torch.no_grad():
        layer.output_residual.copy_(torch.tensor([[0.0], [1.0], [5.0]]))
    frames = FrameBatch(torch.tensor([1, 3]), torch.tensor([1.0, 2.5]))
    assert layer.add_output_residual(torch.zeros(2, 1, 1), frames).flatten().tolist() == [0.5, 2.0]


def test_points_may_have_more_axes() -> None:
    layer = make_layer()
    points = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = layer(points.flatten(1, 2), frames_of([4, 1])).view(2, 3, 4, 4)
    assert torch.allclose(layer(points, frames_of([4, 1])), expected)


VARIANTS_OF_FOREIGN_NETWORKS = [
    (factorisation, fuse)
    for factorisation in ("vm", "none", "cp", "tucker", "loe", "vm_attention", "vm_noweight")
    for fuse in ("add", "mul", "none")
]


@pytest.mark.parametrize("factorisation, fuse", VARIANTS_OF_FOREIGN_NETWORKS)
def test_every_variant_fits_into_nerfstudios_network(factorisation: str, fuse: str) -> None:
    from nerfstudio.field_components.mlp import MLP

    torch.manual_seed(0)
    mlp = MLP(in_dim=3, num_layers=4, layer_width=16, out_dim=2, skip_connections=(2,), implementation="torch")
    add_residual_fields(mlp, num_frames=FRAMES, rank=2, factorisation=factorisation, fuse=fuse)
    grouped, flat_ids = torch.randn(2, 40, 3), [1] * 40 + [4] * 40
    with use_frames(mlp, FrameBatch.from_ids(torch.tensor([1, 4]))):
        outputs = mlp(grouped)
    with use_frames(mlp, FrameBatch.from_ids(torch.tensor(flat_ids))):
        assert torch.allclose(mlp(grouped.flatten(0, 1)), outputs.flatten(0, 1), atol=1e-5)
    outputs.sum().backward()
    for parameter in mlp.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


def test_ranks_per_layer_of_a_foreign_network() -> None:
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    add_residual_fields(network, num_frames=FRAMES, rank=(2, 5), layers=(0, 3))
    assert [layer.rank if isinstance(layer, ResFieldLinear) else None for layer in network] == [2, None, None, 5]


def test_foreign_networks_that_do_not_fit_are_named() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    with pytest.raises(InputError, match=r"layers \[3\] of a Sequential that has 3"):
        add_residual_fields(network, num_frames=2, layers=(3,))
    with pytest.raises(InputError, match="tiny-cuda-nn"):
        add_residual_fields(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), num_frames=2)
    with pytest.raises(InputError, match="add_output_residual"):
        add_residual_fields(network, num_frames=2, factorisation="resnet")
    with pytest.raises(InputError, match="holds a 0"):
        add_residual_fields(network, num_frames=2, rank=0)


def test_frames_beyond_the_table_are_named() -> None:
    with pytest.raises(InputError, match=f"Frame {FRAMES} was asked of a residual layer made for num_frames={FRAMES}"):
        make_layer()(torch.zeros(2, 3, 5, dtype=torch.float64), frames_of([0, FRAMES]))


def test_unknown_options_are_named() -> None:
    for option in ("mode", "factorisation", "fuse"):
        with pytest.raises(InputError, match=f"{option} 'wrong' is not known; use one of"):
            ResFieldLinear(2, 2, num_frames=4, **{option: "wrong"})
    with pytest.raises(InputError, match="use fuse 'add'"):
        ResFieldLinear(2, 2, num_frames=4, factorisation="resnet", fuse="mul")


def test_weights_of_many_frames_are_not_kept() -> None:
    layer = ResFieldLinear(4, 4, num_frames=20, rank=2)
    with torch.no_grad():
        layer(torch.rand(20, 30, 4), FrameBatch.from_ids(torch.arange(20)))
        assert layer._folded is None
        layer(torch.rand(1, 30, 4), FrameBatch.from_ids(torch.tensor([3])))
    assert layer._folded is not None


def test_a_negative_frame_is_refused() -> None:
    layer = ResFieldLinear(4, 4, num_frames=5, rank=2)
    with pytest.raises(InputError, match="Frame -1"):
        layer(torch.rand(2, 3, 4), FrameBatch.from_ids(torch.tensor([-1, 2])))


def test_attention_keeps_its_own_linear_layers() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.MultiheadAttention(8, 2), torch.nn.Linear(8, 8))
    attention = network[1].out_proj
    add_residual_fields(network, num_frames=3, rank=2, layers=(0, 1))
    assert network[1].out_proj is attention
    assert isinstance(network[0], ResFieldLinear) and isinstance(network[2], ResFieldLinear)
