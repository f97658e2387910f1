"""Batches of pixels of one random frame, with more of what moves at the beginning of training (NSFF's hard mining)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.loss_stages import LossStages

if TYPE_CHECKING:
    from nf_plugins.data.image_store import ImageStore


@dataclass
class OneFramePixelSamplerConfig(PixelSamplerConfig):
    """Pixels of one frame per step, as depth and flow of a frame belong together."""

    _target: type = field(default_factory=lambda: OneFramePixelSampler)
    """Target class to instantiate."""
    num_extra_rays: int = 512
    """Rays that a batch gets on top, through pixels of the motion mask, while moving parts are mined."""
    hard_mining_steps: int | None = None
    """Steps during which they are mined, 0 for never; None leaves it to the method, which mines in its first stage."""


class OneFramePixelSampler(PixelSampler):
    """Draws pixel indices from an :class:`~nf_plugins.data.image_store.ImageStore`.

    Randomness comes from torch's global generator on the CPU alone, so a resumed run continues the same sequence.

    Args:
        config: How many, and how long.
        store: The images, with ``motion_mask`` where moving parts are to be mined.
        frame_ids: Frame of each image, int64 ``(N,)``.
        num_rays_per_batch: Uniform rays of a batch. Of a smaller image all pixels are taken.

    Attributes:
        hard_mining_steps: Where neither the config nor the method says it, 1000 per frame, for up to 250 frames.

    Raises:
        InputError: A negative number of rays or steps.
    """

    config: OneFramePixelSamplerConfig

    def __init__(
        self, config: OneFramePixelSamplerConfig, store: ImageStore, frame_ids: Tensor, num_rays_per_batch: int
    ) -> None:
        for name in ("num_extra_rays", "hard_mining_steps"):
            value = getattr(config, name)
            if value is not None and value < 0:
                raise InputError(
                    f"--pipeline.datamanager.pixel-sampler.{name.replace('_', '-')} is {value}, expected at least 0."
                )
        self.config = config
        self.store = store
        self.image_sizes = store.image_sizes.cpu()
        self.set_num_rays_per_batch(num_rays_per_batch)
        steps = config.hard_mining_steps
        self.hard_mining_steps = LossStages.of(0, len(torch.unique(frame_ids))).length if steps is None else steps

    def sample_indices(self, step: int | None = None) -> Tensor:
        """Pixel indices of one batch.

        Args:
            step: Of training; None mines nothing.

        Returns:
            int64 ``(R, 3)``: image, row, column. All of one image: first distinct uniform pixels, then distinct ones of
            its motion mask (some of which may be among the first, too).
        """
        image = int(torch.randint(len(self.store), ()))
        width = int(self.image_sizes[image, 1])
        pixels = torch.randperm(int(self.image_sizes[image].prod()))[: self.num_rays_per_batch]
        if step is not None and step < self.hard_mining_steps and self.moving_pixels is not None:
            moving = self.moving_pixels[image]
            pixels = torch.cat([pixels, moving[torch.randperm(len(moving))[: self.config.num_extra_rays]]])
        return torch.stack([torch.full_like(pixels, image), pixels // width, pixels % width], dim=-1)

    def num_uniform_rays(self, indices: Tensor) -> int:
        """How many of a batch's indices ``(R, 3)`` are uniform: the first ones."""
        return min(self.num_rays_per_batch, int(self.image_sizes[indices[0, 0]].prod()))

    @cached_property
    def moving_pixels(self) -> list[Tensor] | None:
        """row * width + column, int64, of the pixels of every image's motion mask; None without masks."""
        if "motion_mask" not in self.store.keys:
            return None
        masks = (self.store.image("motion_mask", image).cpu() for image in range(len(self.store)))
        return [torch.nonzero(mask.flatten() > 0.5)[:, 0] for mask in masks]
