"""The filter bank against its formulas in NumPy."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_grid import GridSizes
from nf_plugins.field_components.geometry_network import GeometryNetwork
from nf_plugins.field_components.nffb import FilterBankSizes, NeuralFourierFilterBank, SineChain
from nf_plugins.field_components.style_modulation import LayerNormStyle, LevelModulation

GRID = GridSizes(num_levels=3, features_per_level=2, log2_table_size=8, base_resolution=4, growth=1.5)
SMALL = FilterBankSizes(width=8, out_dim=5, frequency=6.0, sigma=0.5, sigma_growth=1.5)


def strong_bank(**options: object) -> NeuralFourierFilterBank:
    torch.manual_seed(0)
    bank = NeuralFourierFilterBank(3, GRID, SMALL, **options)  # type: ignore[arg-type]
    nn.init.normal_(bank.grid.table, std=0.3)  # type: ignore[arg-type]
    return bank


def numpy_bank(bank: NeuralFourierFilterBank, points: np.ndarray, num_levels: int) -> np.ndarray:
    """One point and one level at a time, as the paper writes it."""

    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().double().numpy()

    features = array(bank.grid(torch.tensor(points / (2 * bank.bound) + 0.5)))
    layers = [(array(layer.weight), array(layer.bias)) for layer in bank.sines.layers]  # type: ignore[arg-type]
    assert bank.output is not None
    rows = []
    for point, feature in zip(points, features, strict=True):
        hidden = np.sin(6.0 * (layers[0][0] @ (point / bank.bound) + layers[0][1]))
        levels = np.zeros((3, 8))
        for level in range(num_levels):
            weight, bias = layers[1 + level]
            filtered = np.sin(2 * math.pi * feature[2 * level : 2 * level + 2] @ array(bank.filters)[level])
            hidden = np.sin(6.0 * (weight @ hidden + bias)) + filtered
            levels[level] = hidden
        out = (array(bank.output.weight) @ levels.reshape(-1) + array(bank.output.bias)) / 3
        rows.append(np.concatenate([point, out]))
    return np.stack(rows)


@pytest.mark.parametrize("step", [0, 10, 20])
def test_the_bank_is_what_the_paper_says_at_every_number_of_levels(step: int) -> None:
    bank = strong_bank(bound=0.8, start_levels=1, steps_per_level=10).double()
    nn.init.normal_(bank.output.weight)  # type: ignore[union-attr]  # as after training
    bank.set_step(step)
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (7, 3))
    expected = numpy_bank(bank, points, num_levels=1 + step // 10)
    torch.testing.assert_close(bank(torch.tensor(points)), torch.tensor(expected), rtol=0, atol=1e-10)
    batched = bank(torch.tensor(points[:6]).view(2, 3, 3))
    torch.testing.assert_close(batched.reshape(6, -1), torch.tensor(expected[:6]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("style", [None, LevelModulation(3, 8), LayerNormStyle(8)], ids=str)
def test_a_level_that_comes_in_after_training_changes_nothing_at_first(style: nn.Module | None) -> None:
    bank = strong_bank(style=copy.deepcopy(style), start_levels=1, steps_per_level=10)
    optimizer = torch.optim.Adam(bank.parameters(), lr=1e-2)
    points = torch.rand(50, 3) * 2 - 1
    for step in (0, 10):
        bank.set_step(step)
        for _ in range(3):
            optimizer.zero_grad()
            bank(points).square().mean().backward()
            optimizer.step()
        before = bank(points)
        bank.set_step(step + 10)
        torch.testing.assert_close(bank(points), before, rtol=0, atol=1e-6)
        # It can learn from then on.
        bank.zero_grad()
        bank(points).square().mean().backward()
        columns = slice((1 + step // 10) * 8, (2 + step // 10) * 8)
        assert bank.output.weight.grad[:, columns].any()  # type: ignore[union-attr, index]


@pytest.mark.parametrize("use_weight_norm", [True, False])
def test_neither_do_concatenated_levels_behind_which_a_geometry_network_was_trained(use_weight_norm: bool) -> None:
    torch.manual_seed(0)
    sizes = SMALL._replace(output="concatenate")
    bank = NeuralFourierFilterBank(3, GRID, sizes, start_levels=1, steps_per_level=10)
    network = GeometryNetwork(
        bank.out_dim, num_layers=3, hidden_dim=40, feature_dim=2, skip_layer=2, use_weight_norm=use_weight_norm
    )
    points = torch.rand(50, 3) * 2 - 1
    optimizer = torch.optim.Adam([*bank.parameters(), *network.parameters()], lr=1e-2)
    start = network(bank(points))
    for _ in range(3):
        optimizer.zero_grad()
        network(bank(points)).square().mean().backward()
        optimizer.step()
    before = network(bank(points))
    assert (before - start).abs().max() > 1e-2
    bank.set_step(20)
    torch.testing.assert_close(network(bank(points)), before, rtol=0, atol=1e-6)


def test_concatenated_levels_keep_their_width() -> None:
    bank = NeuralFourierFilterBank(3, GRID, SMALL._replace(output="concatenate"), start_levels=2, steps_per_level=10)
    encoded = bank(torch.rand(4, 3))
    assert encoded.shape == (4, bank.out_dim) == (4, 3 + 3 * 8)
    assert encoded[:, 3:19].all() and (encoded[:, 19:] == 0).all()


@pytest.mark.parametrize("style", [None, LevelModulation(3, 8), LayerNormStyle(8)], ids=str)
def test_every_level_learns_from_values_and_from_normals(style: nn.Module | None) -> None:
    bank = strong_bank(style=style)
    points = (torch.rand(100, 3) * 2 - 1).requires_grad_()
    for loss in ("value", "normal"):
        bank.zero_grad()
        target = bank(points).square().mean()
        if loss == "normal":
            (gradient,) = torch.autograd.grad(target, points, create_graph=True)
            target = gradient.square().mean()
        target.backward()
        table = bank.grid.table.grad  # type: ignore[union-attr]
        levels = table.split([2 * level.num_entries for level in bank.grid.levels])  # type: ignore[union-attr]
        assert [bool(level.any()) for level in levels] == [True] * 3
        assert bank.filters.grad is not None and bank.filters.grad.flatten(1).any(-1).all()


@pytest.mark.parametrize("style", [None, LevelModulation(3, 8), LayerNormStyle(8)], ids=str)
def test_second_derivatives(style: nn.Module | None) -> None:
    bank = strong_bank(style=style, interpolation="smoothstep").double()
    points = (torch.rand(2, 3, dtype=torch.float64) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(bank, points)
    assert torch.autograd.gradgradcheck(bank, points)


def test_the_initialisation_is_that_of_siren_and_of_the_paper() -> None:
    torch.manual_seed(0)
    chain = SineChain(3, 200, 3, frequency=45.0)
    first, second = (layer.weight for layer in list(chain.layers)[:2])
    assert 0.32 < float(first.abs().max()) <= 1 / 3  # type: ignore[operator, union-attr, arg-type]
    assert 0.99 < float(second.abs().max()) / (math.sqrt(6 / 200) / 45) <= 1  # type: ignore[operator, union-attr, arg-type]
    sizes = GridSizes(5, 2, 19, 8, 1.3)
    bank = NeuralFourierFilterBank(3, sizes, FilterBankSizes(width=4000, out_dim=1))
    expected = torch.tensor([5 * 1.2**level for level in range(5)])
    torch.testing.assert_close(bank.filters.flatten(1).std(dim=-1), expected, rtol=0.05, atol=0)
    resolutions = [level.resolution for level in bank.grid.levels]  # type: ignore[union-attr]
    assert resolutions == [8, 11, 14, 18, 23] and all(level.is_dense for level in bank.grid.levels)  # type: ignore[union-attr]
    assert bank.filtered_features(torch.rand(50, 3)).abs().max() < 0.05, "silent at the start"


def test_what_makes_no_bank_is_refused() -> None:
    with pytest.raises(InputError, match="positive sizes, frequency and sigmas"):
        NeuralFourierFilterBank(3, GRID, SMALL._replace(width=0))
    with pytest.raises(InputError, match="positive sizes, frequency and sigmas"):
        NeuralFourierFilterBank(3, GRID, SMALL._replace(sigma=0.0))
    with pytest.raises(InputError, match="nffb-output is 'sum'"):
        NeuralFourierFilterBank(3, GRID, SMALL._replace(output="sum"))  # type: ignore[arg-type]
