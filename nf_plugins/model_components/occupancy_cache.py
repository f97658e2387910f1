"""Occupied cells of every frame of a scene, a bit each, computed once for a trained model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.bit_packing import pack_bits, unpack_bits
from nf_plugins.model_components.occupied_space import OccupiedSpace

KEPT_GRIDS = 4
SAME_FRAME = 1e-3
"""Frame coordinates closer than this to a frame are that frame."""


@dataclass
class RenderingCounts:
    """What rendering with a cache took, summed over all rays since it was last set to zero."""

    rays: int = 0
    """Rays rendered."""
    samples: int = 0
    """Points at which the density was asked."""
    shaded: int = 0
    """Points at which a colour was computed."""


@dataclass
class OccupancyCache:
    """Occupancy of some training frames over their boxes; between two frames both count.

    The bits stay on the CPU. A frame's cells are unpacked on the device of the rays when they are first asked for, and
    the next frame's bits are then under way to a GPU.
    """

    bits: Tensor
    """uint8 ``(F, ceil(X Y Z / 8))``."""
    resolution: tuple[int, int, int]
    """Cells along x, y and z."""
    boxes: Tensor
    """Lower and upper corner of each frame's box ``(F, 2, 3)``, scene units."""
    frame_ids: Tensor
    """Training frames, rising, int64 ``(F,)``."""
    tag: str = "default"
    """Its name among the caches of a run."""
    density_threshold: float = 0.0
    """Cells are occupied where the density, per scene unit, exceeds this."""
    checkpoint: str = ""
    """Digest of the parameters that it was computed from."""
    counts: RenderingCounts = field(default_factory=RenderingCounts)
    """What rendering took."""

    def __post_init__(self) -> None:
        cells = self.resolution[0] * self.resolution[1] * self.resolution[2]
        if self.bits.shape != (len(self.frame_ids), -(-cells // 8)) or self.boxes.shape != (len(self.frame_ids), 2, 3):
            raise ValueError(
                f"bits {tuple(self.bits.shape)} and boxes {tuple(self.boxes.shape)} do not fit "
                f"{len(self.frame_ids)} frames of {self.resolution} cells"
            )
        if torch.cuda.is_available():
            self.bits = self.bits.pin_memory()
        self._rows = {int(frame): row for row, frame in enumerate(self.frame_ids)}
        self._grids: OrderedDict[tuple[int, torch.device], Tensor] = OrderedDict()
        self._next: tuple[int, Tensor] | None = None

    @classmethod
    def from_grids(
        cls, grids: Tensor, boxes: Tensor, frame_ids: Sequence[int] | Tensor, **facts: str | float
    ) -> OccupancyCache:
        """Packs grids, bool ``(F, X, Y, Z)``; see the attributes."""
        x, y, z = (int(side) for side in grids.shape[1:])
        ids = torch.as_tensor(frame_ids, dtype=torch.long)
        return cls(pack_bits(grids.flatten(1).cpu()), (x, y, z), boxes.float().cpu(), ids, **facts)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.frame_ids)

    @property
    def num_bytes(self) -> int:
        """Memory of the bits."""
        return self.bits.numel()

    def count(self, *, rays: int = 0, samples: int = 0, shaded: int = 0) -> None:
        """Adds to what rendering took."""
        self.counts.rays += rays
        self.counts.samples += samples
        self.counts.shaded += shaded

    def occupied_shares(self) -> list[float]:
        """Share of the cells of each frame that are occupied."""
        return [float(self.grid(int(frame)).float().mean()) for frame in self.frame_ids]

    def row(self, frame_id: int) -> int:
        """Where a training frame is in the cache.

        Raises:
            InputError: It is not in it.
        """
        if frame_id not in self._rows:
            first, last = int(self.frame_ids[0]), int(self.frame_ids[-1])
            raise InputError(
                f"The occupancy cache '{self.tag}' has {len(self)} frames from {first} to {last}, and not frame "
                f"{frame_id}, which is asked for: compute one that has it (nf-cache grid --frames), or render without."
            )
        return self._rows[frame_id]

    def grid(self, frame_id: int, device: torch.device | str = "cpu") -> Tensor:
        """Occupied cells of a training frame, bool ``(X, Y, Z)``.

        Raises:
            InputError: The frame is not in the cache.
        """
        row, device = self.row(frame_id), torch.device(device)
        key = (frame_id, device)
        if key in self._grids:
            self._grids.move_to_end(key)
            return self._grids[key]
        x, y, z = self.resolution
        self._grids[key] = unpack_bits(self._bits_on(row, device), x * y * z).view(x, y, z)
        if len(self._grids) > KEPT_GRIDS:
            self._grids.popitem(last=False)
        return self._grids[key]

    def _bits_on(self, row: int, device: torch.device) -> Tensor:
        if device.type != "cuda":
            return self.bits[row].to(device)
        ready = self._next[1] if self._next is not None and self._next[0] == row else self.bits[row].to(device)
        following = (row + 1) % len(self)
        self._next = following, self.bits[following].to(device, non_blocking=True)
        return ready

    def at(self, coordinate: float, device: torch.device | str = "cpu") -> OccupiedSpace:
        """What is occupied at a fractional frame index; between two frames what is so at either.

        Raises:
            InputError: A frame is not in the cache.
        """
        nearest = round(coordinate)
        if abs(coordinate - nearest) < SAME_FRAME:
            frames = [nearest]
        else:
            frames = [int(coordinate), int(coordinate) + 1]
        boxes = tuple(self.boxes[self.row(frame)].to(device) for frame in frames)
        return OccupiedSpace(boxes, tuple(self.grid(frame, device) for frame in frames))

    def lookup(self, points: Tensor, frame_id: int) -> Tensor:
        """Whether points ``(*batch, 3)`` lie in an occupied cell of a frame, bool ``(*batch)``; outside none does."""
        return self.at(float(frame_id), points.device).lookup(points)

    def segments(
        self,
        origins: Tensor,
        directions: Tensor,
        nears: Tensor,
        fars: Tensor,
        *,
        coordinates: Tensor,
        num_segments: int,
    ) -> Tensor:
        """Which of equal segments of rays are occupied, by their middles, bool ``(R, num_segments)``.

        Args:
            origins: ``(R, 3)``.
            directions: ``(R, 3)``.
            nears: Ray distances ``(R, 1)``.
            fars: Likewise.
            coordinates: Fractional frame index of each ray ``(R,)``.
            num_segments: N.

        Raises:
            InputError: A frame is not in the cache.
        """
        occupied = torch.zeros(len(origins), num_segments, dtype=torch.bool, device=origins.device)
        for coordinate in torch.unique(coordinates).tolist():
            rows = (coordinates == coordinate).nonzero()[:, 0]
            space = self.at(coordinate, origins.device)
            occupied[rows] = space.segments(origins[rows], directions[rows], nears[rows], fars[rows], num_segments)
        return occupied
