"""Points with known signed distances, drawn around the meshes of a sequence (ResFields, ICLR 2024, Sec. 4.2).

Of the points of a frame one half lies exactly on the surface (distance 0), three eighths lie close to it, and one
eighth anywhere in the cube. Only the latter two need a search in the mesh, about 10 microseconds each, which for every
point of every step would take longer than the step. So each frame keeps a pool of searched points: steps draw from it
with replacement, and one frame's pool after the other is given new points. What a step receives depends on the seed and
the step alone, so a resumed run goes on with the points that it would have seen. The search runs in the training
process, a slice of a pool at a time: libigl holds Python's lock while it searches, so a second thread would not overlap
with the steps, and a slice every ten steps costs 10 milliseconds a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor

from nf_plugins.data.mesh_frames import Mesh
from nf_plugins.data.parallel import late_progress
from nf_plugins.data.signed_distance import MeshSignedDistance, SignRule
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, sample_surface
from nf_plugins.errors import InputError

SMALLEST_SHARE = 8
"""Points per frame come in multiples of this: 4 on the surface, 3 near it, 1 anywhere."""


@dataclass
class MeshPointSamplerConfig(InstantiateConfig):
    """How many points a step has, where they lie, and how often their distances are searched anew."""

    _target: type = field(default_factory=lambda: MeshPointSampler)
    """Class to instantiate."""
    points_per_step: int = 250_000
    """Points of a training step, shared equally by all training frames; rounded down to multiples of 8 per frame."""
    near_surface_std: float = 0.01
    """Standard deviation of the points close to the surface around it, scene units."""
    clip_sdf: float | None = None
    """Cut distances off at plus and minus this, scene units; None keeps them."""
    pool_size: int = 65_536
    """Points with searched distance that are kept per frame at most; a quarter of them anywhere, the rest close."""
    refresh_size: int = 8192
    """Points that are searched at a time for one frame; each pool starts with so many and grows to pool-size."""
    refresh_interval: int = 10
    """Steps between searches, each for the next frame; 0 keeps the first points for ever."""


class MeshPointSampler:
    """Draws points of all given frames at once.

    Args:
        config: Numbers.
        meshes: One per frame, scene units.
        sign: How inside is told from outside.
        seed: Of everything that is drawn.
        device: Where the pools lie and the points are drawn.

    Raises:
        InputError: The numbers do not fit together, or a mesh has no inside.
    """

    def __init__(
        self,
        config: MeshPointSamplerConfig,
        meshes: Sequence[Mesh],
        sign: SignRule,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.meshes, self.seed = config, list(meshes), seed
        self.sign: SignRule = sign
        self.device = torch.device(device)
        self.points_per_frame = points_per_frame(config.points_per_step, len(self.meshes))
        _check_config(config)
        self.num_slices = max(config.pool_size // config.refresh_size, 1)
        self.num_updates = -1
        self._surface = SurfaceSampler(self.meshes, self.device)
        self._checked: set[int] = set()
        uniform = config.refresh_size // 4
        self._pools = {
            name: torch.zeros(len(self.meshes), self.num_slices, size, 4, device=self.device)
            for name, size in (("near", config.refresh_size - uniform), ("uniform", uniform))
        }
        self._filled = torch.zeros(len(self.meshes), dtype=torch.long)

    def __len__(self) -> int:
        return len(self.meshes)

    def prepare(self) -> None:
        """Search the first points, and check that every mesh has an inside, before the first step asks for them."""
        self._bring_to(0)

    def sample(self, step: int, stream: int = 0) -> tuple[Tensor, Tensor]:
        """The points of a step.

        Args:
            step: Decides what the pools hold and, with the seed, which points are drawn.
            stream: Another number draws other points at the same step (for evaluation batches).

        Returns:
            Points ``(T, n, 3)``, scene units: n/2 on the surface, 3n/8 near it, n/8 anywhere in [-1, 1]^3; and their
            signed distances ``(T, n, 1)``, negative inside.
        """
        self._bring_to(0 if self.config.refresh_interval == 0 else step // self.config.refresh_interval)
        # Hashed, as neighbouring seeds of torch's CPU generator begin alike.
        (hashed,) = np.random.SeedSequence([self.seed % (1 << 63), step, stream]).generate_state(1, np.uint64)
        generator = torch.Generator(self.device).manual_seed(int(hashed) >> 1)
        count = self.points_per_frame
        on_surface = self._surface.sample(count // 2, generator)
        searched = torch.cat(
            [self._draw("near", 3 * count // 8, generator), self._draw("uniform", count // 8, generator)], 1
        )
        points = torch.cat([on_surface, searched[..., :3]], 1)
        signed_distance = torch.cat([torch.zeros_like(on_surface[..., :1]), searched[..., 3:]], 1)
        if self.config.clip_sdf is not None:
            signed_distance = signed_distance.clamp(-self.config.clip_sdf, self.config.clip_sdf)
        return points, signed_distance

    def _draw(self, name: str, count: int, generator: torch.Generator) -> Tensor:
        """Points and distances ``(T, count, 4)`` from what is filled of the pools, with replacement."""
        pool = self._pools[name].flatten(1, 2)
        limits = (self._filled.to(self.device) * self._pools[name].shape[2])[:, None]
        unit = torch.rand(len(pool), count, generator=generator, device=self.device)
        places = torch.minimum((unit * limits).long(), limits - 1)
        return torch.gather(pool, 1, places[..., None].expand(-1, -1, 4))

    def _bring_to(self, num_updates: int) -> None:
        """Give the pools the points that they have after so many updates, whatever they had before."""
        if 0 <= self.num_updates <= num_updates <= self.num_updates + len(self):
            wanted = [self._update_slice(update) for update in range(self.num_updates + 1, num_updates + 1)]
        else:
            wanted = [
                (frame, index)
                for frame in range(len(self))
                for last in [self._last_slice(frame, num_updates)]
                for index in range(max(0, last + 1 - self.num_slices), last + 1)
            ]
        with late_progress("Searching signed distances", len(wanted)) as advance:
            for frame, index in wanted:
                self._fill(frame, index)
                advance()
        self.num_updates = num_updates
        lasts = [self._last_slice(frame, num_updates) for frame in range(len(self))]
        self._filled = torch.tensor(lasts).add(1).clamp(max=self.num_slices)

    def _update_slice(self, update: int) -> tuple[int, int]:
        """Which slice of which frame the update 1, 2, ... draws; all frames have slice 0 from the start."""
        return (update - 1) % len(self), 1 + (update - 1) // len(self)

    def _last_slice(self, frame: int, num_updates: int) -> int:
        """The newest slice of a frame after so many updates."""
        return (num_updates + len(self) - 1 - frame) // len(self)

    def _fill(self, frame: int, index: int) -> None:
        """Draw slice ``index`` of a frame and put it where the oldest one lies."""
        rng = np.random.default_rng([self.seed % (1 << 63), frame, index])
        near_size, uniform_size = (self._pools[name].shape[2] for name in ("near", "uniform"))
        near = self._surface_points(frame, near_size, rng)
        near = near + rng.normal(0.0, self.config.near_surface_std, near.shape)
        points = np.concatenate([near, rng.uniform(-1.0, 1.0, (uniform_size, 3))]).astype(np.float32)
        mesh = self.meshes[frame]
        # Built anew each time: it takes a fraction of the search, and all frames' trees may not fit into memory.
        search = MeshSignedDistance(mesh.vertices, mesh.faces, self._sign_rule(frame), mesh.name)
        self._checked.add(frame)
        signed_distance = search(points)
        filled = torch.from_numpy(np.concatenate([points, signed_distance[:, None]], axis=1).astype(np.float32))
        slot = index % self.num_slices
        self._pools["near"][frame, slot] = filled[:near_size].to(self.device)
        self._pools["uniform"][frame, slot] = filled[near_size:].to(self.device)

    def _sign_rule(self, frame: int) -> SignRule:
        """The rule at the first look at a frame; a mesh that has been found closed is not checked again."""
        return "winding" if frame in self._checked else self.sign

    def _surface_points(self, frame: int, count: int, rng: np.random.Generator) -> np.ndarray:
        mesh = self.meshes[frame]
        vertices = mesh.vertices.astype(np.float64)
        return sample_surface(ColouredMesh(vertices, mesh.faces, vertices), count, rng)


class SurfaceSampler:
    """Draws points from the surfaces of several meshes, uniformly by area, all meshes in one go.

    Args:
        meshes: One per frame.
        device: Where to draw.
    """

    def __init__(self, meshes: Sequence[Mesh], device: torch.device) -> None:
        self.device = device
        most_faces = max(len(mesh.faces) for mesh in meshes)
        # Single precision where there is no double (mps): the last bits of a face's share are lost.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._shares = torch.ones(len(meshes), most_faces, dtype=dtype)
        self._faces = torch.zeros(len(meshes), most_faces, 3, dtype=torch.int32)
        first_vertex = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
        for frame, mesh in enumerate(meshes):
            corners = mesh.vertices.astype(np.float64)[mesh.faces]
            areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
            if not areas.sum() > 0:
                raise InputError(f"{mesh.name} has no area, expected a surface.")
            self._shares[frame, : len(areas)] = torch.from_numpy(np.cumsum(areas) / areas.sum()).to(dtype)
            self._shares[frame, len(areas) - 1 :] = 1
            self._faces[frame, : len(areas)] = torch.from_numpy(mesh.faces + int(first_vertex[frame]))
            self._faces[frame, len(areas) :] = self._faces[frame, len(areas) - 1]
        self._vertices = torch.from_numpy(np.concatenate([mesh.vertices for mesh in meshes])).to(device)
        self._shares, self._faces = self._shares.to(device), self._faces.to(device)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points ``(T, count, 3)``."""
        num_meshes = len(self._shares)
        unit = torch.rand(num_meshes, count, generator=generator, device=self.device, dtype=self._shares.dtype)
        chosen = torch.searchsorted(self._shares, unit, right=True).clamp(max=self._shares.shape[1] - 1)
        corners = self._vertices[torch.gather(self._faces, 1, chosen[..., None].expand(-1, -1, 3)).long()]
        first, second = torch.rand(2, num_meshes, count, 1, generator=generator, device=self.device)
        # Reflecting the far half of the unit square gives uniform barycentric coordinates.
        outside = first + second > 1
        first, second = torch.where(outside, 1 - first, first), torch.where(outside, 1 - second, second)
        a, b, c = corners.unbind(2)
        return a + first * (b - a) + second * (c - a)


def points_per_frame(points_per_step: int, num_frames: int) -> int:
    """Equal share of each frame, a multiple of 8.

    Raises:
        InputError: There is not one such share for every frame.
    """
    share = points_per_step // num_frames // SMALLEST_SHARE * SMALLEST_SHARE
    if share == 0:
        raise InputError(
            f"points-per-step is {points_per_step} for {num_frames} training frames, expected at least "
            f"{SMALLEST_SHARE * num_frames}: {SMALLEST_SHARE} points per frame."
        )
    return share


def _check_config(config: MeshPointSamplerConfig) -> None:
    if config.refresh_size < 4 or config.pool_size < config.refresh_size or config.refresh_interval < 0:
        raise InputError(
            f"pool-size {config.pool_size}, refresh-size {config.refresh_size} and refresh-interval "
            f"{config.refresh_interval} do not fit together, expected 4 <= refresh-size <= pool-size and 0 or more."
        )
    if config.near_surface_std < 0 or (config.clip_sdf is not None and config.clip_sdf <= 0):
        raise InputError(
            f"near-surface-std is {config.near_surface_std} and clip-sdf {config.clip_sdf}, expected 0 or more and a "
            "positive number or none."
        )
