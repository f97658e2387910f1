"""Even steps along rays through a box, kept where its cells are occupied."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.occupied_space import OccupiedSpace

MEMORY_BUDGET = 256 << 20
BYTES_PER_STEP = 96
"""What a step takes while it is looked up, about."""

Implementation = Literal["auto", "torch", "nerfacc"]


class PackedSamples(NamedTuple):
    """Intervals on rays, ray by ray, and along each ray from near to far."""

    ray_ids: Tensor
    """Rows of the rays, int64 ``(K,)``, rising."""
    starts: Tensor
    """Ray distances ``(K,)``."""
    ends: Tensor
    """Ray distances ``(K,)``."""

    @property
    def middles(self) -> Tensor:
        """Ray distances ``(K,)``."""
        return (self.starts + self.ends) / 2

    @property
    def lengths(self) -> Tensor:
        """``(K,)``."""
        return self.ends - self.starts

    def rows(self, chosen: Tensor) -> PackedSamples:
        """Some of the intervals."""
        return PackedSamples(self.ray_ids[chosen], self.starts[chosen], self.ends[chosen])


def step_lengths(box: Tensor, num_samples: int, directions_norm: Tensor | float = 1.0) -> Tensor:
    """The published step: the box's diagonal divided by a number, in units of camera depth.

    Args:
        box: ``(2, 3)``.
        num_samples: Steps along the diagonal.
        directions_norm: Ray distance of a unit of camera depth ``(R, 1)``; 1 makes all steps equal.

    Returns:
        Ray distances ``(R, 1)``, or one for all.
    """
    return (box[1] - box[0]).norm() / num_samples * directions_norm


@torch.no_grad()
def march(
    origins: Tensor,
    directions: Tensor,
    space: OccupiedSpace,
    step: Tensor | float,
    *,
    offset: Tensor | None = None,
    nears: Tensor | None = None,
    fars: Tensor | None = None,
    implementation: Implementation = "auto",
) -> PackedSamples:
    """Intervals of length ``step`` whose middles lie in occupied cells.

    The middles are ``t0 + (k + 1/2) step`` for k = 0, 1, ... while they are before ``t1``, where a ray is within the
    box from ``t0`` to ``t1`` (0 at least, and within near and far where they are given).

    Args:
        origins: ``(R, 3)``, scene units.
        directions: Unit vectors ``(R, 3)``.
        space: What is occupied.
        step: Ray distance, one for all or ``(R, 1)``.
        offset: In steps, in place of 1/2, ``(R, 1)`` in [0, 1): for training.
        nears: Ray distances ``(R, 1)``.
        fars: Likewise.
        implementation: Where to. auto is nerfacc on CUDA for one box without offset, where it works, and torch else.
    """
    entry, leave = intersect_box(origins, directions, space.box)
    if nears is not None:
        entry = torch.maximum(entry, nears)
    if fars is not None:
        leave = torch.minimum(leave, fars)
    steps = torch.as_tensor(step, dtype=origins.dtype, device=origins.device).expand(len(origins), 1)
    phase = torch.full_like(entry, 0.5) if offset is None else offset.to(entry)
    rays = _Rays(origins, directions, steps, entry, leave, phase)
    fits = origins.is_cuda and len(space.boxes) == 1 and offset is None and _Nerfacc.works
    if implementation == "nerfacc" or (implementation == "auto" and fits):
        samples = _march_nerfacc(rays, space)
        if samples is not None:
            return samples
    return _march_torch(rays, space)


class _Rays(NamedTuple):
    """Rays within the box."""

    origins: Tensor
    directions: Tensor
    steps: Tensor
    """Length of a step ``(R, 1)``."""
    entry: Tensor
    """Ray distance ``(R, 1)``."""
    leave: Tensor
    phase: Tensor
    """Of the middle of the first step, in steps ``(R, 1)``."""


def _march_torch(rays: _Rays, space: OccupiedSpace) -> PackedSamples:
    # Steps are counted from the box, but only those near anything are looked at.
    first_near, last_near = intersect_box(rays.origins, rays.directions, space.occupied_box())
    first = (torch.maximum(first_near, rays.entry) - rays.entry) / rays.steps - rays.phase
    last = (torch.minimum(last_near, rays.leave) - rays.entry) / rays.steps - rays.phase
    begin = first.ceil().clamp(min=0)[:, 0].long()
    counts = torch.where((last_near > first_near)[:, 0], (last.ceil()[:, 0].long() - begin).clamp(min=0), 0)
    found = [_look_up(rays, space, rows, begin, counts) for rows in _ray_chunks(counts)]
    if not found:
        nothing = rays.origins.new_zeros(0)
        return PackedSamples(nothing.long(), nothing, nothing)
    return PackedSamples(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _look_up(
    rays: _Rays, space: OccupiedSpace, rows: Tensor, begin: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The occupied steps of some rays, given the first step of each ray and how many there are."""
    number = counts[rows]
    ray_ids = rows.repeat_interleave(number)
    before = number.cumsum(0) - number
    index = torch.arange(len(ray_ids), device=rows.device) - before.repeat_interleave(number) + begin[ray_ids]
    middles = rays.entry[ray_ids, 0] + (index + rays.phase[ray_ids, 0]) * rays.steps[ray_ids, 0]
    points = rays.origins[ray_ids] + middles[:, None] * rays.directions[ray_ids]
    kept = space.lookup(points).nonzero()[:, 0]
    ray_ids, middles = ray_ids[kept], middles[kept]
    half = rays.steps[ray_ids, 0] / 2
    return ray_ids, middles - half, middles + half


def _ray_chunks(counts: Tensor) -> list[Tensor]:
    """Rows of rays that have steps, in chunks within the memory budget."""
    rows = counts.nonzero()[:, 0]
    if not len(rows):
        return []
    total = counts[rows].cumsum(0)
    chunk = ((total - 1) * BYTES_PER_STEP).div(MEMORY_BUDGET, rounding_mode="floor")
    sizes = torch.unique_consecutive(chunk, return_counts=True)[1]
    return list(rows.split(sizes.tolist()))


class _Nerfacc:
    """Whether its kernels have worked so far."""

    works = True


def _march_nerfacc(rays: _Rays, space: OccupiedSpace) -> PackedSamples | None:
    """The same by nerfacc's CUDA kernels, where the phase of the samples may differ; None where they fail."""
    try:
        from nerfacc.estimators.occ_grid import OccGridEstimator

        box, grid = space.boxes[0], space.grids[0]
        estimator = OccGridEstimator(box.flatten(), resolution=list(grid.shape), levels=1).to(box.device).eval()
        estimator.binaries = grid[None].contiguous()
        # Rays whose unit is a step, so that each may have its own.
        ray_ids, starts, ends = estimator.sampling(
            rays.origins.contiguous(), (rays.directions * rays.steps).contiguous(), render_step_size=1.0,
            t_min=(rays.entry / rays.steps)[:, 0].contiguous(), t_max=(rays.leave / rays.steps)[:, 0].contiguous(),
            stratified=False,
        )  # fmt: skip
    except Exception as error:  # a kernel that does not compile raises what it likes
        _Nerfacc.works = False
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        CONSOLE.print(f"nerfacc cannot march here ({reason[:120]}): torch does, more slowly.", soft_wrap=True)
        return None
    return PackedSamples(ray_ids.long(), starts * rays.steps[ray_ids, 0], ends * rays.steps[ray_ids, 0])
