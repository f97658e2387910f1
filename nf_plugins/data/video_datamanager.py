"""Batches of a video: in every step equally many random training pixels of every frame."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from torch import Tensor

from nf_plugins.data.held_out import HeldOut
from nf_plugins.data.video_dataset import VideoDataset
from nf_plugins.errors import InputError
from nf_plugins.model_components.picture_plane import PicturePlane

# As in dynamic_datamanager.py: nerfstudio 1.1.5 indexes its cameras with lists, which torch complains about.
warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning, r"nerfstudio\.cameras\.cameras$")


@dataclass
class VideoDataManagerConfig(VanillaDataManagerConfig):
    """Batches of pixels of all frames of a video."""

    _target: type = field(default_factory=lambda: VideoDataManager)
    """Target class to instantiate."""
    train_num_rays_per_batch: int = 200_000
    """Pixels of a training batch; every training frame gets this divided by their number, rounded down."""
    eval_num_rays_per_batch: int = 200_000
    """Pixels of the batch that the evaluation loss is taken over, held-out ones."""
    max_frames_per_batch: int | None = None
    """Training frames that a batch holds at most, a random choice each time; None takes all, as published. With a limit
    a step costs the same however long the clip is."""
    pixel_sampler: tyro.conf.Suppress[PixelSamplerConfig] = field(default_factory=PixelSamplerConfig)
    """Not used: how pixels are drawn is part of the method."""


class VideoPixelSampler:
    """Draws pixels, with replacement and in order of frames, from those that are trained on or from the held-out ones.

    Randomness comes from torch's global generator on the CPU alone, so a resumed run continues the same sequence.

    Args:
        held_out: Which pixels are which.
        num_rays_per_batch: Pixels of a batch, rounded down to a multiple of the frames.
        test: Draw held-out pixels; training pixels where nothing is held out.
        device: Where pixel numbers are made.
        max_frames: Frames of a batch at most; None takes all.

    Raises:
        InputError: A batch is smaller than the number of its frames, or may hold none.
    """

    def __init__(
        self,
        held_out: HeldOut,
        num_rays_per_batch: int,
        *,
        test: bool = False,
        device: torch.device | str = "cpu",
        max_frames: int | None = None,
    ) -> None:
        if max_frames is not None and max_frames < 1:
            raise InputError(
                f"--pipeline.datamanager.max-frames-per-batch is {max_frames}, expected at least 1, or None for all."
            )
        self.held_out = held_out
        self.device = torch.device(device)
        self.test = test and held_out.protocol != "none"
        self.frames = held_out.test_frames if self.test else held_out.training_frames
        self.num_frames = min(len(self.frames), max_frames or len(self.frames))
        self.set_num_rays_per_batch(num_rays_per_batch)

    def set_num_rays_per_batch(self, num_rays_per_batch: int) -> None:
        """Changes the size of the batches."""
        if num_rays_per_batch < self.num_frames:
            split = "eval" if self.test else "train"
            raise InputError(
                f"--pipeline.datamanager.{split}-num-rays-per-batch is {num_rays_per_batch}, expected at least one for "
                f"each of the {self.num_frames} frames of a batch: raise it, load fewer frames, or lower "
                "--pipeline.datamanager.max-frames-per-batch."
            )
        self.num_rays_per_batch = num_rays_per_batch

    def sample(self) -> tuple[Tensor, Tensor]:
        """Frames of the clip ``(F,)`` and pixel numbers ``row * W + column`` in each, ``(F, S)``, both int64."""
        shape, held_out = (self.num_frames, self.num_rays_per_batch // self.num_frames), self.held_out
        rows = None
        if self.num_frames < len(self.frames):
            rows = torch.randperm(len(self.frames))[: self.num_frames].sort().values
        frames = (self.frames if rows is None else self.frames[rows]).to(self.device)
        if not self.test:
            ranks = torch.randint(held_out.num_training_pixels, shape, dtype=torch.int32).to(self.device)
            return frames, held_out.training_pixels(ranks, rows)
        if held_out.protocol == "frames":
            return frames, torch.randint(held_out.num_pixels, shape).to(self.device)
        chosen = torch.randint(held_out.pixels.shape[1], shape)
        pixels = held_out.pixels if rows is None else held_out.pixels[rows]
        return frames, pixels.gather(1, chosen).long().to(self.device)


class VideoDataManager(VanillaDataManager[VideoDataset]):
    """Pixels straight from the decoded clip, with the rays that meet the picture plane there.

    The pixels stay where they were decoded, or go to the device with ``images-on-gpu``.
    """

    config: VideoDataManagerConfig

    def setup_train(self) -> None:
        """Prepares sampling."""
        held_out = self.train_dataset.held_out
        self.train_pixels = VideoPixelSampler(
            held_out,
            self.config.train_num_rays_per_batch,
            device=self._pixel_device,
            max_frames=self.config.max_frames_per_batch,
        )

    def setup_eval(self) -> None:
        """Prepares sampling and whole evaluation images."""
        held_out = self.eval_dataset.held_out
        self.eval_pixels = VideoPixelSampler(
            held_out,
            self.config.eval_num_rays_per_batch,
            test=True,
            device=self._pixel_device,
            max_frames=self.config.max_frames_per_batch,
        )
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(
            input_dataset=self.eval_dataset, device=self.device
        )
        self.eval_dataloader = RandIndicesEvalDataloader(input_dataset=self.eval_dataset, device=self.device)

    @property
    def _pixel_device(self) -> torch.device:
        return torch.device(self.device if self.config.images_on_gpu else "cpu")

    @cached_property
    def _pixels(self) -> Tensor:
        """All pixels ``(T * H * W, 3)``, uint8."""
        return self.train_dataset.clip.frames.flatten(0, 2).to(self._pixel_device)

    def _next_batch(self, sampler: VideoPixelSampler) -> tuple[RayBundle, dict[str, Tensor]]:
        clip = self.train_dataset.clip
        height, width = clip.size
        frames, pixels = sampler.sample()
        numbers = (frames[:, None] * (height * width) + pixels).flatten()
        image = self._pixels.index_select(0, numbers).to(self.device).float() / 255
        frames = frames.repeat_interleave(pixels.shape[1]).to(self.device)
        pixels = pixels.flatten().to(self.device)
        rows, columns = pixels.div(width, rounding_mode="floor"), pixels % width
        times = self.train_dataset.metadata["frame_times"].to(self.device)[frames, None]
        rays = PicturePlane(height, width).pixel_rays(rows, columns, times)
        return rays, {"image": image, "indices": torch.stack([frames, rows, columns], dim=-1)}

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays ``(R,)`` in order of frames; ``image`` (R, 3) and ``indices`` (R, 3): frame of the clip, row, column."""
        self.train_count += 1
        return self._next_batch(self.train_pixels)

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """As :meth:`next_train`, from held-out pixels; from training pixels where nothing is held out."""
        self.eval_count += 1
        return self._next_batch(self.eval_pixels)

    def get_train_rays_per_batch(self) -> int:
        """Rays of a training batch."""
        return self.config.train_num_rays_per_batch

    def get_eval_rays_per_batch(self) -> int:
        """Rays of an evaluation batch."""
        return self.config.eval_num_rays_per_batch
