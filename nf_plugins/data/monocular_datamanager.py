"""The datamanager of methods that learn from a monocular video, one frame per step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nf_plugins.data.dynamic_datamanager import DynamicDataManager, DynamicDataManagerConfig
from nf_plugins.data.monocular_dataset import MonocularDataset
from nf_plugins.data.one_frame_sampler import OneFramePixelSampler, OneFramePixelSamplerConfig


@dataclass
class MonocularDataManagerConfig(DynamicDataManagerConfig):
    """Batches of rays of one frame of a video, with depth, flow and motion masks where there are any."""

    _target: type = field(default_factory=lambda: MonocularDataManager)
    """Target class to instantiate."""
    train_num_rays_per_batch: int = 1024
    """Uniform rays of a training batch; those through moving parts come on top."""
    eval_num_rays_per_batch: int = 1024
    """Rays of the batch that the evaluation loss is taken over."""
    pixel_sampler: OneFramePixelSamplerConfig = field(  # type: ignore[assignment]
        default_factory=OneFramePixelSamplerConfig
    )
    """Which pixels a batch holds."""


class MonocularDataManager(DynamicDataManager):
    """:class:`DynamicDataManager` over a :class:`MonocularDataset`, whose sampler knows the step."""

    config: MonocularDataManagerConfig  # type: ignore[assignment]
    _steps_of_method: int | None = None

    @property
    def dataset_type(self) -> type[MonocularDataset]:  # type: ignore[override]
        """What nerfstudio makes datasets of."""
        return MonocularDataset

    def set_hard_mining_steps(self, steps: int) -> None:
        """For the method: mine moving parts before this step, unless the config says how long."""
        self._steps_of_method = steps

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays ``(R,)`` of one frame and their pixels: the dataset's keys ``(R, C)``, ``indices`` (R, 3), and
        ``hard_mined`` (R, 1), bool: rays on top of the uniform ones, which are the last."""
        self.train_count += 1
        return self._one_frame_batch(step, train=True)

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """As :meth:`next_train`, from the evaluation images, uniform rays alone."""
        self.eval_count += 1
        return self._one_frame_batch(None, train=False)

    def _one_frame_batch(self, step: int | None, train: bool) -> tuple[RayBundle, dict[str, Tensor]]:
        store = (self.train_sampler_and_store if train else self.eval_sampler_and_store)[1]
        sampler = self._one_frame_sampler(train)
        if self._steps_of_method is not None and self.config.pixel_sampler.hard_mining_steps is None:
            sampler.hard_mining_steps = self._steps_of_method
        indices = sampler.sample_indices(step)
        ray_generator = self.train_ray_generator if train else self.eval_ray_generator
        ray_bundle, batch = self._batch_at(indices, store, ray_generator)
        is_extra = torch.arange(len(indices)) >= sampler.num_uniform_rays(indices)
        batch["hard_mined"] = is_extra[:, None].to(self.device)
        return ray_bundle, batch

    def _one_frame_sampler(self, train: bool) -> OneFramePixelSampler:
        sampler: Any = (self.train_sampler_and_store if train else self.eval_sampler_and_store)[0]
        return cast(OneFramePixelSampler, sampler)
