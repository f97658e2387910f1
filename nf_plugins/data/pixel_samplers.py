"""Which pixels a training batch holds: uniform, balanced between foreground and background, balanced between frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.data.image_store import ImageStore

REJECTION_ROUNDS = 16


@dataclass
class DynamicPixelSamplerConfig(PixelSamplerConfig):
    """Pixel sampling that knows frames and foreground."""

    _target: type = field(default_factory=lambda: DynamicPixelSampler)
    """Target class to instantiate."""
    strategy: Literal["uniform", "foreground_balanced", "frame_balanced"] = "frame_balanced"
    """Uniform over all pixels; a fixed share of foreground pixels; or that and equally many rays for every frame."""
    foreground_fraction: float = 0.5
    """Share of rays through foreground pixels, for both balanced strategies; the rest goes through the background."""
    silhouette_fraction: float = 0.0
    """Share of the background rays that pass close to the foreground, where they say most about the shape."""
    silhouette_width: float = 0.04
    """How close that is, as a fraction of the image's larger side."""
    max_frames_per_batch: int | None = 100
    """Frames that a batch holds at most; of a longer sequence each batch takes a random choice, so that a step costs
    the same however long it is (residual layers compose weights for every frame of a batch). None takes all frames."""


class DynamicPixelSampler(PixelSampler):
    """Draws pixel indices from an :class:`~nf_plugins.data.image_store.ImageStore`.

    Randomness comes from torch's global generator alone, so a resumed run continues the same sequence.

    Args:
        config: Strategy and shares.
        store: The images.
        frame_ids: Frame of each image, int64 ``(N,)``.
        num_rays_per_batch: Rays of a batch.

    Raises:
        InputError: A balanced strategy without foreground masks, or batches of no frame.
    """

    config: DynamicPixelSamplerConfig

    def __init__(
        self, config: DynamicPixelSamplerConfig, store: ImageStore, frame_ids: Tensor, num_rays_per_batch: int
    ) -> None:
        self.config = config
        self.store = store
        # Indices are drawn on the CPU, wherever the pixels lie.
        self.image_sizes = store.image_sizes.cpu()
        self.set_num_rays_per_batch(num_rays_per_batch)
        self.order = torch.argsort(frame_ids, stable=True)
        frames, images_per_frame = torch.unique(frame_ids, return_counts=True)
        self.num_frames = len(frames)
        self.images_per_frame = images_per_frame
        self.first_image = images_per_frame.cumsum(0) - images_per_frame
        if config.max_frames_per_batch is not None and config.max_frames_per_batch < 1:
            raise InputError(
                f"--pipeline.datamanager.pixel-sampler.max-frames-per-batch is {config.max_frames_per_batch}, expected "
                "at least 1, or None for all frames."
            )
        if config.strategy == "uniform":
            return
        if not len(store.foreground_offsets):
            raise InputError(
                f"Pixel sampling '{config.strategy}' needs foreground masks, and this data has none; "
                "use --pipeline.datamanager.pixel-sampler.strategy uniform."
            )
        self.foreground_flat = store.foreground_flat.cpu()
        self.foreground_offsets = store.foreground_offsets.cpu()
        self.foreground_counts = self.foreground_offsets.diff()
        self.foreground_end = self.foreground_counts[self.order].cumsum(0)
        last_image = self.first_image + images_per_frame - 1
        self.frame_end = self.foreground_end[last_image]
        self.frame_start = torch.cat([self.frame_end.new_zeros(1), self.frame_end[:-1]])

    def sample_indices(self) -> Tensor:
        """Pixel indices of one batch.

        Returns:
            int64 ``(num_rays_per_batch, 3)``: image, row, column; ordered by frame with ``frame_balanced``.
        """
        num_rays = self.num_rays_per_batch
        chosen = self._chosen_frames()
        if self.config.strategy == "uniform":
            return self._uniform(self._random_frames(num_rays, chosen))
        num_foreground = round(self.config.foreground_fraction * num_rays)
        if self.config.strategy == "foreground_balanced":
            background_frames = self._random_frames(num_rays - num_foreground, chosen)
            foreground_frames = self._frames_by_foreground(num_foreground, chosen)
            foreground = self._foreground(foreground_frames, num_foreground)
            return torch.cat([foreground, self._background(background_frames)])
        frames = self._balanced_frames(num_rays, chosen)
        # A frame's rays alternate between foreground and background in the wanted proportion.
        position = torch.arange(num_rays)
        fraction = self.config.foreground_fraction
        phase = torch.rand(())
        is_foreground = ((position + 1) * fraction + phase).floor() > (position * fraction + phase).floor()
        indices = torch.empty(num_rays, 3, dtype=torch.long)
        indices[is_foreground] = self._foreground(frames[is_foreground], int(is_foreground.sum()))
        indices[~is_foreground] = self._background(frames[~is_foreground])
        return indices

    def _chosen_frames(self) -> Tensor | None:
        """Frames of this batch in order, a new choice for every batch; None for all of them."""
        limit = self.config.max_frames_per_batch
        if limit is None or limit >= self.num_frames:
            return None
        return torch.randperm(self.num_frames)[:limit].sort().values

    def _random_frames(self, count: int, chosen: Tensor | None = None) -> Tensor:
        """Frames in proportion to their images, of all frames or of the chosen ones."""
        if chosen is not None:
            return draw_by_weight(chosen, self.images_per_frame[chosen], count)
        images = torch.randint(len(self.order), (count,))
        return torch.searchsorted(self.first_image, images, right=True) - 1

    def _frames_by_foreground(self, count: int, chosen: Tensor | None) -> Tensor | None:
        """Chosen frames in proportion to their foreground; None where all frames are meant."""
        if chosen is None:
            return None
        weights = (self.frame_end - self.frame_start)[chosen]
        return draw_by_weight(chosen, weights if bool(weights.any()) else torch.ones_like(weights), count)

    def _balanced_frames(self, count: int, chosen: Tensor | None) -> Tensor:
        """Every frame equally often, in order; a random choice of frames receives what does not divide."""
        frames = torch.arange(self.num_frames) if chosen is None else chosen
        repeats = torch.full((len(frames),), count // len(frames))
        repeats[torch.randperm(len(frames))[: count % len(frames)]] += 1
        return torch.repeat_interleave(frames, repeats)

    def _uniform(self, frames: Tensor) -> Tensor:
        """A uniform pixel of a random image of each given frame, by rejection of those that must not be sampled."""
        indices = self._anywhere(frames)
        rejected = torch.arange(len(frames) if "mask" in self.store.keys else 0)
        for _ in range(REJECTION_ROUNDS):
            rejected = rejected[~self._may_be_sampled(indices[rejected])]
            if not len(rejected):
                break
            indices[rejected] = self._anywhere(frames[rejected])
        return indices

    def _may_be_sampled(self, indices: Tensor) -> Tensor:
        """Which pixels nerfstudio's masks leave in, bool (R,); all where there are none."""
        if "mask" not in self.store.keys:
            return torch.ones(len(indices), dtype=torch.bool)
        return self.store.gather(indices, keys=("mask",))["mask"][:, 0].cpu() > 0.5

    def _anywhere(self, frames: Tensor) -> Tensor:
        """A uniform pixel of a random image of each given frame."""
        offset = (torch.rand(len(frames)) * self.images_per_frame[frames]).long()
        images = self.order[self.first_image[frames] + offset]
        pixels = (torch.rand(len(frames), 2) * self.image_sizes[images]).long()
        return torch.cat([images[:, None], pixels], dim=-1)

    def _foreground(self, frames: Tensor | None, count: int) -> Tensor:
        """A uniform foreground pixel of each given frame (of all, when None); uniform pixels where there is none."""
        if frames is None:
            start, end = torch.zeros(count, dtype=torch.long), self.foreground_end[-1].expand(count)
        else:
            start, end = self.frame_start[frames], self.frame_end[frames]
        position = start + (torch.rand(count, dtype=torch.float64) * (end - start)).long()
        slot = torch.searchsorted(self.foreground_end, position, right=True).clamp(max=len(self.order) - 1)
        images = self.order[slot]
        within = position - (self.foreground_end[slot] - self.foreground_counts[images])
        flat = self.foreground_flat[
            (self.foreground_offsets[images] + within).clamp(max=max(len(self.foreground_flat) - 1, 0))
        ].long()
        widths = self.image_sizes[images, 1]
        indices = torch.stack([images, flat // widths, flat % widths], dim=-1)
        empty = end <= start
        if bool(empty.any()):
            indices[empty] = self._uniform(self._random_frames(int(empty.sum())) if frames is None else frames[empty])
        return indices

    def _background(self, frames: Tensor) -> Tensor:
        """A background pixel of each given frame, by rejection; any pixel where a frame has hardly any.

        The wanted share lies near the silhouette, the rest anywhere.
        """
        near = torch.rand(len(frames)) < self.config.silhouette_fraction
        indices = torch.empty(len(frames), 3, dtype=torch.long)
        rejected = torch.arange(len(frames))
        for _ in range(REJECTION_ROUNDS):
            is_near = near[rejected]
            indices[rejected[is_near]] = self._near_foreground(frames[rejected[is_near]])
            indices[rejected[~is_near]] = self._uniform(frames[rejected[~is_near]])
            mask = self.store.gather(indices[rejected], keys=("fg_mask",))["fg_mask"][:, 0]
            is_foreground = mask.to(rejected.device) > 0.5
            rejected = rejected[is_foreground | ~self._may_be_sampled(indices[rejected])]
            if not len(rejected):
                break
        unknown = rejected[~self._may_be_sampled(indices[rejected])]
        indices[unknown] = self._uniform(frames[unknown])
        return indices

    def _near_foreground(self, frames: Tensor) -> Tensor:
        """A foreground pixel of each given frame, moved by up to the silhouette width along both axes."""
        indices = self._foreground(frames, len(frames))
        sizes = self.image_sizes[indices[:, 0]]
        reach = (self.config.silhouette_width * sizes.amax(1, keepdim=True)).ceil()
        offsets = ((torch.rand(len(frames), 2) * 2 - 1) * (reach + 0.5)).round().long()
        indices[:, 1:] = (indices[:, 1:] + offsets).clamp(min=0).minimum(sizes - 1)
        return indices


def draw_by_weight(values: Tensor, weights: Tensor, count: int) -> Tensor:
    """Draws ``count`` of the values ``(N,)`` with replacement, in proportion to integer weights ``(N,)``."""
    ends = weights.cumsum(0)
    return values[torch.searchsorted(ends, torch.randint(int(ends[-1]), (count,)), right=True)]
