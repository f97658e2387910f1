"""The datamanager of all dynamic methods: uint8 images, extra per-pixel keys, sampling by frame."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.pixel_samplers import DynamicPixelSampler, DynamicPixelSamplerConfig
from nf_plugins.field_components.frame_times import frame_ids_from_times

# nerfstudio 1.1.5 indexes its cameras with lists, about which torch says five long lines at every start.
warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning, r"nerfstudio\.cameras\.cameras$")


@dataclass
class DynamicDataManagerConfig(VanillaDataManagerConfig):
    """Batches of rays from images with times, masks and depths."""

    _target: type = field(default_factory=lambda: DynamicDataManager)
    """Target class to instantiate."""
    pixel_sampler: DynamicPixelSamplerConfig = field(default_factory=DynamicPixelSamplerConfig)
    """Which pixels a batch holds."""
    ray_metadata_keys: tuple[str, ...] = ()
    """Batch keys that the model needs in its forward pass; copied into the ray bundle's metadata."""


class DynamicDataManager(VanillaDataManager[DynamicDataset]):
    """Vanilla datamanager over an :class:`~nf_plugins.data.image_store.ImageStore`.

    Images are read at the first batch, so tools that only render read none.
    """

    config: DynamicDataManagerConfig

    def setup_train(self) -> None:
        """Prepares ray generation; images follow at the first batch."""
        self.train_ray_generator = RayGenerator(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        """Prepares whole evaluation images and ray generation."""
        self.eval_ray_generator = RayGenerator(self.eval_dataset.cameras.to(self.device))
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(
            input_dataset=self.eval_dataset, device=self.device
        )
        self.eval_dataloader = RandIndicesEvalDataloader(input_dataset=self.eval_dataset, device=self.device)

    @property
    def train_pixel_sampler(self) -> DynamicPixelSampler:  # type: ignore[override]
        """The training sampler, where nerfstudio's tools (ns-export pointcloud) look for it."""
        return self.train_sampler_and_store[0]

    @cached_property
    def train_sampler_and_store(self) -> tuple[DynamicPixelSampler, ImageStore]:
        """The training images and the sampler over them, loaded at first use."""
        return self._sampler_and_store(self.train_dataset, self.config.train_num_rays_per_batch)

    @cached_property
    def eval_sampler_and_store(self) -> tuple[DynamicPixelSampler, ImageStore]:
        """The evaluation images and the sampler over them, loaded at first use."""
        return self._sampler_and_store(self.eval_dataset, self.config.eval_num_rays_per_batch)

    def train_foreground_mask(self, image_idx: int) -> Tensor:
        """Foreground mask ``(H, W)``, bool: every training pixel that is not known to be pure background."""
        store = self.train_sampler_and_store[1]
        foreground = store.image("fg_mask", image_idx)[..., 0] > 0
        return foreground | (store.image("mask", image_idx)[..., 0] == 0) if "mask" in store.keys else foreground

    def _sampler_and_store(self, dataset: DynamicDataset, num_rays: int) -> tuple[DynamicPixelSampler, ImageStore]:
        device = self.device if self.config.images_on_gpu else "cpu"
        name = "training" if dataset is self.train_dataset else "evaluation"
        store = ImageStore(dataset, device=device, name=name)
        times = dataset.cameras.times
        if times is None:
            # A still scene: what samplers do for each frame they do for each image.
            frame_ids = torch.arange(len(dataset))
        else:
            frame_ids = frame_ids_from_times(times[:, 0].cpu(), dataset.metadata["frame_times"])
        sampler = self.config.pixel_sampler.setup(store=store, frame_ids=frame_ids, num_rays_per_batch=num_rays)
        return sampler, store

    def _next_batch(
        self, sampler: DynamicPixelSampler, store: ImageStore, ray_generator: RayGenerator
    ) -> tuple[RayBundle, dict[str, Tensor]]:
        return self._batch_at(sampler.sample_indices(), store, ray_generator)

    def _batch_at(
        self, indices: Tensor, store: ImageStore, ray_generator: RayGenerator
    ) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays and pixels of indices ``(R, 3)``."""
        batch = {key: value.to(self.device) for key, value in store.gather(indices).items()}
        ray_bundle = ray_generator(indices.to(self.device))
        for key in self.config.ray_metadata_keys:
            ray_bundle.metadata[key] = batch[key]
        batch["indices"] = indices
        return ray_bundle, batch

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays ``(R,)`` and their pixels ``image`` (R, 3), ``fg_mask`` (R, 1), ``depth`` (R, 1), ``indices`` (R, 3)."""
        self.train_count += 1
        return self._next_batch(*self.train_sampler_and_store, self.train_ray_generator)

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """As :meth:`next_train`, from the evaluation images."""
        self.eval_count += 1
        return self._next_batch(*self.eval_sampler_and_store, self.eval_ray_generator)

    def get_train_rays_per_batch(self) -> int:
        """Rays of a training batch."""
        return self.config.train_num_rays_per_batch

    def get_eval_rays_per_batch(self) -> int:
        """Rays of an evaluation batch."""
        return self.config.eval_num_rays_per_batch
