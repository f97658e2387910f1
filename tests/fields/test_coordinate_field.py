from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.fields.coordinate_field import CoordinateFieldConfig


def residual_layers(field: nn.Module) -> list[ResFieldLinear]:
    return [layer for layer in field.modules() if isinstance(layer, ResFieldLinear)]


@pytest.mark.parametrize("network", ["siren", "relu"])
def test_signal_of_grouped_coordinates(network: str) -> None:
    field = CoordinateFieldConfig(network=network, hidden_dim=8).setup(in_dim=4, out_dim=1, num_frames=6)
    frames = FrameBatch.from_ids(torch.tensor([5, 0]))
    assert field(torch.rand(2, 7, 4) * 2 - 1, frames).shape == (2, 7, 1)
    assert [layer.rank for layer in residual_layers(field)] == [10, 10, 10]


def test_published_size() -> None:
    field = CoordinateFieldConfig().setup(in_dim=3, out_dim=3, num_frames=250)
    assert sum(parameter.numel() for parameter in field.parameters()) == 2_172_751


def test_residual_options_reach_the_layers() -> None:
    config = CoordinateFieldConfig(
        hidden_dim=8, residual_layers=(1, 3), residual_rank=(2, 4), residual_factorisation="loe", residual_fuse="mul",
        residual_faithful=True,
    )  # fmt: skip
    specs = [layer.spec for layer in residual_layers(config.setup(in_dim=3, out_dim=3, num_frames=6))]
    assert [(spec.rank, spec.factorisation, spec.fuse, spec.faithful) for spec in specs] == [
        (2, "loe", "mul", True), (4, "loe", "mul", True),
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{"coefficient_ratio": 0.3}, {"num_coefficients": 3}])
def test_fewer_coefficients_than_frames(options: dict) -> None:
    config = CoordinateFieldConfig(hidden_dim=8, residual_mode="interpolation", **options)
    field = config.setup(in_dim=3, out_dim=3, num_frames=10)
    assert [len(layer.coefficients) for layer in residual_layers(field)] == [3, 3, 3]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"coefficient_ratio": 0.5, "num_coefficients": 3}, "give one"),
        ({"coefficient_ratio": 0.0}, "not within"),
        ({"coefficient_ratio": 1.5}, "not within"),
        ({"coefficient_ratio": 0.5}, "leaves 5 coefficient rows for 10 frames"),
        ({"num_coefficients": 3}, "lookup"),
        ({"residual_rank": (0,)}, "holds a 0"),
        ({"residual_layers": (9,)}, "layers 0 to 4"),
        ({"network": "wrong"}, "'wrong' is not known"),
    ],
)
def test_what_does_not_fit_is_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CoordinateFieldConfig(hidden_dim=8, **options).setup(in_dim=3, out_dim=3, num_frames=10)


def test_hash_grid_is_built_from_its_own_options_and_imported_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    class Network(nn.Module):
        def __init__(self, in_dim: int, out_dim: int, **options) -> None:
            super().__init__()
            seen.update(options, in_dim=in_dim, out_dim=out_dim)

        def forward(self, coordinates: torch.Tensor, frames: FrameBatch | None = None) -> torch.Tensor:
            return coordinates[..., : seen["out_dim"]]

    module = types.ModuleType("nf_plugins.field_components.hash_grid")
    module.HashGridNetwork = Network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nf_plugins.field_components.hash_grid", module)
    config = CoordinateFieldConfig(network="hash_grid", hash_num_levels=3, hash_growth=1.7, implementation="torch")
    field = config.setup(in_dim=3, out_dim=2, num_frames=6)
    assert seen == {
        "in_dim": 3, "out_dim": 2, "num_levels": 3, "features_per_level": 2, "log2_table_size": 20,
        "base_resolution": 16, "growth": 1.7, "implementation": "torch", "hidden_dim": 64, "num_hidden_layers": 2,
    }  # fmt: skip
    assert field(torch.rand(2, 5, 3), FrameBatch.from_ids(torch.tensor([0, 1]))).shape == (2, 5, 2)
