"""Steps along rays against the definition, step by step."""

import math

import pytest
import torch

from nf_plugins.model_components import occupied_march
from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.occupied_march import march, step_lengths
from nf_plugins.model_components.occupied_space import OccupiedSpace

BOX = torch.tensor([[-1.0, -0.8, -0.5], [1.0, 0.8, 0.5]])


def rays(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    origins = 3 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    aims = 1.5 * (torch.rand(count, 3, generator=generator) - 0.5)
    origins[0] = 0.1  # inside the box
    aims[1] = torch.tensor([9.0, 9.0, 9.0])  # passes by
    return origins, torch.nn.functional.normalize(aims - origins, dim=-1)


def space(share: float = 0.3) -> OccupiedSpace:
    grid = torch.rand(8, 6, 5, generator=torch.Generator().manual_seed(2)) < share
    grid[:, 4:] = False
    return OccupiedSpace((BOX,), (grid,))


def by_definition(
    rays_: tuple[torch.Tensor, torch.Tensor],
    where: OccupiedSpace,
    steps: torch.Tensor,
    phase: torch.Tensor,
    bounds: tuple[torch.Tensor | None, torch.Tensor | None],
) -> list[tuple[int, float]]:
    (origins, directions), (nears, fars) = rays_, bounds
    entry, leave = intersect_box(origins, directions, where.box)
    found = []
    for ray in range(len(origins)):
        start = max(float(entry[ray]), -math.inf if nears is None else float(nears[ray]))
        end = min(float(leave[ray]), math.inf if fars is None else float(fars[ray]))
        step, k = float(steps[ray]), 0
        while start + (k + float(phase[ray])) * step < end:
            middle = start + (k + float(phase[ray])) * step
            if where.lookup(origins[ray] + middle * directions[ray]):
                found.append((ray, middle))
            k += 1
    return found


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("budget", [256 << 20, 1000])
def test_steps_are_those_of_the_definition(bounded: bool, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupied_march, "MEMORY_BUDGET", budget)
    origins, directions = rays()
    steps = 0.02 + 0.03 * torch.rand(len(origins), 1, generator=torch.Generator().manual_seed(3))
    phase = torch.rand(len(origins), 1, generator=torch.Generator().manual_seed(4)) if bounded else None
    nears, fars = (torch.full((len(origins), 1), value) if bounded else None for value in (2.4, 3.3))
    samples = march(origins, directions, space(), steps, offset=phase, nears=nears, fars=fars)
    halves = torch.full_like(steps, 0.5) if phase is None else phase
    truth = by_definition((origins, directions), space(), steps, halves, (nears, fars))
    found = list(zip(samples.ray_ids.tolist(), samples.middles.tolist(), strict=True))
    assert len(truth) > 100
    # A middle on the side of a cell falls to either side by rounding.
    close = {(ray, round(middle, 3)) for ray, middle in truth} ^ {(ray, round(middle, 3)) for ray, middle in found}
    assert len(close) <= 0.02 * len(truth)
    assert torch.allclose(samples.lengths, steps[samples.ray_ids, 0], atol=1e-5)
    assert (samples.ray_ids.diff() >= 0).all()
    same_ray = samples.ray_ids.diff() == 0
    assert (samples.middles.diff()[same_ray] > 0).all()


def test_nothing_occupied_or_nothing_hit_gives_no_samples() -> None:
    origins, directions = rays()
    assert len(march(origins, directions, space(0.0), 0.05).ray_ids) == 0
    assert len(march(origins[1:2], directions[1:2], space(), 0.05).ray_ids) == 0
    assert len(march(origins[:0], directions[:0], space(), 0.05).ray_ids) == 0


def test_the_published_step_is_in_units_of_camera_depth() -> None:
    norms = torch.tensor([[1.0], [1.2]])
    diagonal = math.sqrt(4 + 2.56 + 1)
    assert torch.allclose(step_lengths(BOX, 128, norms), diagonal / 128 * norms)
    assert float(step_lengths(BOX, 64)) == pytest.approx(diagonal / 64)


def test_a_marcher_that_fails_is_replaced_and_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """nerfacc's kernels need CUDA: without one asking for them gives torch's samples."""
    if torch.cuda.is_available():
        pytest.skip("the kernels work here")
    monkeypatch.setattr(occupied_march._Nerfacc, "works", True)
    origins, directions = rays()
    samples = march(origins, directions, space(), 0.05, implementation="nerfacc")
    assert torch.equal(samples.middles, march(origins, directions, space(), 0.05, implementation="torch").middles)
    assert "nerfacc cannot march here" in capsys.readouterr().out
