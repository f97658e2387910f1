"""Batches of a few images, each with the images that its colours are blended from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor

from nf_plugins.data.box_checks import require_subject_in_box
from nf_plugins.data.dynamic_datamanager import DynamicDataManager, DynamicDataManagerConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.pixel_samplers import DynamicPixelSamplerConfig
from nf_plugins.data.scene_collection import extra_scene_datasets
from nf_plugins.data.source_prefetch import Prefetcher
from nf_plugins.data.source_sampling import (
    SourceBatchPlan,
    SourceSamplingOptions,
    mixed_seed,
    plan_batch,
    plan_evaluation,
    require_source_options,
)
from nf_plugins.data.source_views import SourceViews

EVALUATION = 1
"""Evaluation has a stream of randomness of its own."""


@dataclass
class SourceViewDataManagerConfig(SourceSamplingOptions, DynamicDataManagerConfig):
    """Batches of pixels of a few images with their source images."""

    _target: type = field(default_factory=lambda: SourceViewDataManager)
    """Target class to instantiate."""
    test_source_count: int = 4
    """Source images of a held-out target in evaluation during training."""
    crop_sources: bool = True
    """Cut source images to their foreground before anything is computed from them."""
    prefetch_batches: int = 1
    """How many batches are prepared ahead, in a thread; 0 prepares none."""
    extra_scenes: tuple[Path, ...] = ()
    """Further scenes of the same layout to train on, for methods that learn to render scenes they have not seen."""
    data_seed: int | None = None
    """Seed of the batches; None takes the machine's."""
    train_num_rays_per_batch: tyro.conf.Suppress[int] = 0
    """Always the product of images-per-batch and pixels-per-image."""
    pixel_sampler: tyro.conf.Suppress[DynamicPixelSamplerConfig] = field(  # type: ignore[assignment]
        default_factory=lambda: DynamicPixelSamplerConfig(strategy="uniform")
    )
    """For nerfstudio's tools that look for one; batches do not use it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.train_num_rays_per_batch = self.images_per_batch * self.pixels_per_image


class SourceViewDataManager(DynamicDataManager):
    """:class:`DynamicDataManager` whose batches hold few images, and which hands the model its source images.

    The training images become a :class:`SourceViews` in the training dataset's ``metadata["source_views"]``, which the
    model is built with. A batch is a function of seed, rank and step: it can be prepared ahead, a resumed run repeats
    what it would have drawn, and processes that train together draw different ones.
    """

    config: SourceViewDataManagerConfig  # type: ignore[assignment]
    source_views: SourceViews

    def create_train_dataset(self) -> DynamicDataset:
        """The training dataset with its ``source_views``; further scenes are read where there is training."""
        dataset = super().create_train_dataset()
        folders = self.config.extra_scenes if self.test_mode == "val" else ()
        others = extra_scene_datasets(self.dataparser_config, folders, self._dataset_of)
        self.source_views = SourceViews(
            [dataset, *others], crop=self.config.crop_sources, pinholes=bool(self.config.train_source_counts)
        )
        dataset.metadata["source_views"] = self.source_views
        return dataset

    def setup_train(self) -> None:
        """Prepares ray generation and sampling; images follow at the first batch.

        Raises:
            InputError: The options ask for more than there is.
        """
        require_source_options(self.source_views, self.config)
        super().setup_train()
        self._ray_generators = [
            self.train_ray_generator,
            *(RayGenerator(dataset.cameras.to(self.device)) for dataset in self.source_views.datasets[1:]),
        ]
        self._seed = self._seed_of_process()
        self._last_step, self._repetition = None, 0
        self._prefetcher = Prefetcher(self._prepared_plan, self.config.prefetch_batches)

    def setup_eval(self) -> None:
        """Prepares whole evaluation images, ray generation and the evaluation images as targets."""
        super().setup_eval()
        self._held_out = SourceViews([self.eval_dataset], pinholes=False)
        self._evaluation_seed = self._seed_of_process(EVALUATION)

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays and pixels of a step's images.

        Returns:
            Rays ``(R,)``, target by target, equally many each. Their metadata: ``target_ids`` (R, 1) and ``source_ids``
            (R, S), int64, numbers of the source views; ``z_range`` (R, 2), nearest and farthest depth of the box of the
            target's frame; ``picture_uv`` (R, 2), column and row. And the batch: ``image`` (R, 3), ``fg_mask`` (R, 1),
            ``indices`` (R, 3) with the images' numbers in the source views.
        """
        self.train_count += 1
        stores = self._training_stores
        plan = self._plan(step)
        views = self.source_views
        scene = int(views.scene_ids[plan.images[0]])
        ray_bundle, batch = self._rays_of(plan, views, scene, stores[scene], self._ray_generators[scene])
        ray_bundle.metadata["target_ids"] = plan.pixels[:, :1].to(self.device)
        return ray_bundle, batch

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """As :meth:`next_train` without ``target_ids``, from the evaluation images with the sources of a rendered
        view."""
        self.eval_count += 1
        store = self.eval_sampler_and_store[1]
        self._held_out.attach(store)
        views, options = self.source_views, self._evaluation_options
        plan = plan_evaluation(
            step, self._evaluation_seed, self._held_out, views, options, source_count=self.config.test_source_count
        )
        return self._rays_of(plan, self._held_out, 0, store, self.eval_ray_generator)

    @cached_property
    def _evaluation_options(self) -> SourceSamplingOptions:
        ours = {name: getattr(self.config, name) for name in SourceSamplingOptions.__dataclass_fields__}
        per_image = max(1, self.config.eval_num_rays_per_batch // self.config.images_per_batch)
        return SourceSamplingOptions(**{**ours, "pixels_per_image": per_image})

    @cached_property
    def _training_stores(self) -> list[ImageStore]:
        """Images of all scenes, loaded at the first batch, when it is also seen whether boxes hold the subject."""
        views, stores = self.source_views, [self.train_sampler_and_store[1]]
        for dataset in views.datasets[1:]:
            stores.append(ImageStore(dataset, device=stores[0].device, name="further training"))
        for scene, store in enumerate(stores):
            views.attach(store, scene)
        require_subject_in_box(views)
        return stores

    def _dataset_of(self, outputs: Any) -> DynamicDataset:
        return self.dataset_type(dataparser_outputs=outputs, scale_factor=self.config.camera_res_scale_factor)

    def _seed_of_process(self, stream: int = 0) -> int:
        """Differs between processes that train together, also on several machines."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if distributed else self.local_rank
        given = torch.initial_seed() if self.config.data_seed is None else self.config.data_seed
        return mixed_seed(given, rank, stream)

    def _plan(self, step: int) -> SourceBatchPlan:
        if step != self._last_step:
            self._last_step, self._repetition = step, 0
            return self._prefetcher.get(step)
        # nerfstudio's tools ask for step 0 again and again, and want other rays each time.
        self._repetition += 1
        return plan_batch(step, mixed_seed(self._seed, self._repetition), self.source_views, self.config)

    def _prepared_plan(self, step: int) -> SourceBatchPlan:
        plan = plan_batch(step, self._seed, self.source_views, self.config)
        self.source_views.prepare(sorted({index for group in plan.source_groups for index in group}))
        return plan

    def _rays_of(
        self, plan: SourceBatchPlan, views: SourceViews, scene: int, store: ImageStore, generator: RayGenerator
    ) -> tuple[RayBundle, dict[str, Tensor]]:
        local = plan.pixels - torch.tensor([views.first_ids[scene], 0, 0])
        ray_bundle, batch = self._batch_at(local, store, generator)
        batch["indices"] = plan.pixels
        per_image = len(plan.pixels) // len(plan.images)
        z_ranges = torch.stack([views.target(index).z_range for index in plan.images.tolist()])
        ray_bundle.metadata["z_range"] = z_ranges.repeat_interleave(per_image, dim=0).to(self.device)
        ray_bundle.metadata["picture_uv"] = plan.pixels[:, [2, 1]].float().to(self.device)
        if plan.source_groups[0]:
            sources = torch.tensor(plan.source_groups).repeat_interleave(per_image, dim=0)
            ray_bundle.metadata["source_ids"] = sources.to(self.device)
        return ray_bundle, batch
