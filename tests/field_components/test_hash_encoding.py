"""The hash encoding of points: coordinates, coarse-to-fine levels and second derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_grid import GridSizes
from nf_plugins.field_components.hash_encoding import HashPointEncoding
from nf_plugins.field_components.hash_grid import HashGridEncoding

SIZES = GridSizes(num_levels=4, features_per_level=2, log2_table_size=8, base_resolution=4, growth=2.0)


def strong(encoding: HashPointEncoding) -> HashPointEncoding:
    for parameter in encoding.parameters():
        torch.nn.init.normal_(parameter)
    return encoding.double()


def hessian(encoding: HashPointEncoding, point: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(lambda x: encoding(x)[..., 3:].sum(), point)  # type: ignore[return-value]


def test_the_bound_is_mapped_to_the_unit_cube() -> None:
    encoding = HashPointEncoding(3, SIZES, bound=0.5)
    assert isinstance(encoding.grid, HashGridEncoding)
    points = torch.rand(2, 5, 3) - 0.5
    encoded = encoding(points)
    assert encoded.shape == (2, 5, encoding.out_dim) == (2, 5, 11)
    assert torch.equal(encoded[..., :3], points)
    torch.testing.assert_close(encoded[..., 3:], encoding.grid(points + 0.5))
    with pytest.raises(InputError, match="bound of an encoding is 0"):
        HashPointEncoding(3, SIZES, bound=0.0)


@pytest.mark.parametrize("backend", ["grid", "nerfstudio"])
def test_levels_come_in_and_cells_shrink(backend: str) -> None:
    encoding = HashPointEncoding(
        3, SIZES, backend=backend, implementation="torch", start_levels=2, steps_per_level=10  # type: ignore[arg-type]
    )  # fmt: skip
    points = torch.rand(20, 3) * 2 - 1
    cells = []
    for step, count in ((0, 2), (10, 3), (25, 4)):
        encoding.set_step(step)
        cells.append(encoding.finest_cell())
        assert encoding(points)[:, 3:].any(0).tolist() == [True] * 2 * count + [False] * 2 * (4 - count)
    cells_per_edge = [7, 15, 31] if backend == "grid" else [8, 16, 32]
    assert cells == pytest.approx([2 / count for count in cells_per_edge])


@pytest.mark.parametrize("backend", ["grid", "nerfstudio"])
def test_linear_interpolation_has_mixed_second_derivatives_only(backend: str) -> None:
    torch.manual_seed(0)
    encoding = HashPointEncoding(3, SIZES, backend=backend, implementation="torch")  # type: ignore[arg-type]
    second = hessian(strong(encoding), torch.tensor([0.13, -0.37, 0.59], dtype=torch.float64))
    assert second.diagonal().abs().max() < 1e-9
    assert second[0, 1].abs() > 1e-3 and second[1, 2].abs() > 1e-3


def test_smoothstep_has_all_second_derivatives() -> None:
    torch.manual_seed(0)
    encoding = strong(HashPointEncoding(3, SIZES, interpolation="smoothstep"))
    second = hessian(encoding, torch.tensor([0.13, -0.37, 0.59], dtype=torch.float64))
    assert second.diagonal().abs().min() > 1e-3


@pytest.mark.parametrize("backend", ["grid", "nerfstudio"])
def test_an_eikonal_term_reaches_all_levels_of_the_table(backend: str) -> None:
    torch.manual_seed(0)
    encoding = HashPointEncoding(3, SIZES, backend=backend, implementation="torch")  # type: ignore[arg-type]
    points = (torch.rand(200, 3) * 2 - 1).requires_grad_()
    head = torch.nn.Linear(encoding.out_dim, 1)
    (gradient,) = torch.autograd.grad(head(encoding(points)).sum(), points, create_graph=True)
    (gradient.norm(dim=-1) - 1).square().mean().backward()
    (table,) = encoding.grid.parameters()
    assert table.grad is not None
    if isinstance(encoding.grid, HashGridEncoding):
        parts = table.grad.split([2 * level.num_entries for level in encoding.grid.levels])
    else:
        parts = table.grad.split(2**8)
    assert [bool(part.any()) for part in parts] == [True] * 4
