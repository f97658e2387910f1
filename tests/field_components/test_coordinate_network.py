from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.coordinate_network import CoordinateNetwork
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_linear import ResFieldLinear


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    "width, expected", [(128, 50_435), (256, 199_171), (512, 791_555), (1024, 3_155_971), (1700, 8_687_003)]
)
def test_published_sizes_of_the_video_network(width: int, expected: int) -> None:
    with torch.device("meta"):
        assert count(CoordinateNetwork(3, 3, hidden_dim=width)) == expected


@pytest.mark.parametrize(
    "width, rank, expected",
    [(128, 10, 549_455), (128, 40, 2_046_515), (256, 10, 2_172_751), (256, 40, 8_093_491), (512, 10, 8_663_375),
     (512, 40, 32_278_835), (1024, 10, 34_620_751)],
)  # fmt: skip
def test_published_sizes_with_residuals_over_250_frames(width: int, rank: int, expected: int) -> None:
    with torch.device("meta"):
        network = CoordinateNetwork(
            3, 3, hidden_dim=width, residual_layers=(1, 2, 3), num_frames=250, residual_rank=rank
        )
    assert count(network) == expected


@pytest.mark.parametrize("width, rank, millions", [(128, 5, 0.30), (128, 40, 2.03), (256, 10, 2.17), (256, 40, 8.08)])
def test_published_sizes_of_the_temporal_sdf_network(width: int, rank: int, millions: float) -> None:
    plain = CoordinateNetwork(4, 1, hidden_dim=width)
    assert count(plain) == {128: 50_305, 256: 198_913}[width]
    network = CoordinateNetwork(4, 1, hidden_dim=width, residual_layers=(1, 2, 3), num_frames=100, residual_rank=rank)
    assert count(network) == count(plain) + 3 * rank * (100 + width * width)
    assert round(count(network) / 1e6, 2) == millions


def test_sine_layers_start_as_siren_says() -> None:
    torch.manual_seed(0)
    network = CoordinateNetwork(3, 3, hidden_dim=128, residual_layers=(1, 2, 3), num_frames=5)
    for index, layer in enumerate(network.layers):
        bound = 1 / 3 if index == 0 else math.sqrt(6 / 128) / 30
        assert layer.weight.abs().max() <= bound and layer.weight.abs().max() > 0.9 * bound
        assert layer.bias.abs().max() <= 1 / math.sqrt(layer.in_features)
    residual = network.layers[1].frame_weights(FrameBatch.from_ids(torch.arange(5))) - network.layers[1].weight
    assert residual.std().item() == pytest.approx(1e-4 * math.sqrt(10), rel=0.2)


def test_relu_layers_start_as_he_says() -> None:
    torch.manual_seed(0)
    network = CoordinateNetwork(3, 3, hidden_dim=256, activation="relu")
    assert network.layers[2].weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)


@pytest.mark.parametrize("activation", ["sine", "relu"])
def test_output_is_the_network_written_out(activation: str) -> None:
    network = CoordinateNetwork(2, 1, hidden_dim=6, num_hidden_layers=2, activation=activation, omega=7.0)
    points = torch.rand(2, 5, 2) * 2 - 1
    first, second, last = network.layers
    act = torch.relu if activation == "relu" else lambda x: torch.sin(7.0 * x)
    expected = last(act(second(act(first(points)))))
    assert torch.allclose(network(points, FrameBatch.from_ids(torch.tensor([0, 0]))), expected)


@pytest.mark.parametrize("factorisation", ["none", "loe", "cp", "tucker", "vm_noweight", "resnet"])
def test_residuals_that_start_at_nothing_leave_the_plain_network(factorisation: str) -> None:
    torch.manual_seed(0)
    network = CoordinateNetwork(
        3, 3, hidden_dim=16, residual_layers=(1, 2, 3), num_frames=4, residual_factorisation=factorisation
    )
    plain = CoordinateNetwork(3, 3, hidden_dim=16)
    assert not plain.load_state_dict(network.state_dict(), strict=False).missing_keys
    points, frames = torch.rand(4, 7, 3) * 2 - 1, FrameBatch.from_ids(torch.arange(4))
    assert torch.allclose(network(points, frames), plain(points, frames), atol=2e-3)


def test_output_residuals_are_added_behind_the_activation() -> None:
    network = CoordinateNetwork(
        2, 1, hidden_dim=4, num_hidden_layers=2, residual_layers=(1, 2), num_frames=3, residual_factorisation="resnet"
    )
    with torch.no_grad():
        for layer in (1, 2):
            network.layers[layer].output_residual.normal_()
    points, frames = torch.rand(2, 5, 2), FrameBatch.from_ids(torch.tensor([2, 0]))
    first, second, last = network.layers
    hidden = torch.sin(30 * second(torch.sin(30 * first(points)))) + second.output_residual[[2, 0]][:, None]
    assert torch.allclose(network(points, frames), last(hidden) + last.output_residual[[2, 0]][:, None], atol=1e-6)


def test_ranks_per_layer_and_tuckers_three() -> None:
    per_layer = CoordinateNetwork(
        3,
        3,
        hidden_dim=8,
        residual_layers=(1, 2, 3),
        num_frames=9,
        residual_rank=(2, 4, 8),
        residual_factorisation="loe",
    )
    assert [layer.rank for layer in per_layer.layers if isinstance(layer, ResFieldLinear)] == [2, 4, 8]
    tucker = CoordinateNetwork(
        3,
        3,
        hidden_dim=8,
        residual_layers=(1, 2),
        num_frames=9,
        residual_rank=(2, 3, 4),
        residual_factorisation="tucker",
    )
    assert [tuple(layer.core.shape) for layer in (tucker.layers[1], tucker.layers[2])] == [(2, 3, 4), (2, 3, 4)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"residual_layers": (5,)}, "residual-layers 5: each must be one of the layers 0 to 4"),
        ({"residual_layers": (1, 1)}, "once"),
        ({"residual_layers": (1, 2), "residual_rank": (1, 2, 3)}, "residual-rank has 3 numbers"),
        ({"residual_layers": (1, 2), "residual_rank": (1, 2), "residual_factorisation": "tucker"}, "1 or 3"),
        ({"residual_layers": (1,), "residual_rank": 0}, "residual-rank 0 holds a 0"),
        ({"residual_layers": (1,), "num_frames": 9, "num_coefficients": 4}, "lookup"),
        ({"activation": "tanh"}, "'tanh' is not known"),
        ({"num_hidden_layers": 0}, "num-hidden-layers 0"),
    ],
)
def test_what_does_not_fit_is_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CoordinateNetwork(3, 3, hidden_dim=8, **options)


def test_residuals_beat_the_plain_network_of_the_same_width() -> None:
    """A short overfit of a moving pattern; the published claim in miniature."""
    times = torch.linspace(-1, 1, 12)
    errors = {}
    for layers in ((), (1, 2, 3)):
        torch.manual_seed(0)
        network = CoordinateNetwork(
            3, 1, hidden_dim=24, num_hidden_layers=4, residual_layers=layers, num_frames=12, residual_rank=6
        )
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(150):
            plane = torch.rand(12, 60, 2) * 2 - 1
            points = torch.cat([times[:, None, None].expand(-1, 60, 1), plane], dim=-1)
            x, y = plane.unbind(-1)
            target = torch.sin(6 * x + 8 * torch.sin(3 * times[:, None])) * torch.cos(7 * y - 5 * times[:, None])
            loss = (network(points, FrameBatch.from_ids(torch.arange(12)))[..., 0] - target).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors[bool(layers)] = loss.item()
    assert errors[True] < 0.5 * errors[False]
