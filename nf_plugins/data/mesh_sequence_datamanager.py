"""Batches of points with signed distances for training, drawn pictures for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor

from nf_plugins.data.mesh_point_sampler import MeshPointSampler, MeshPointSamplerConfig, points_per_frame
from nf_plugins.data.mesh_sequence_dataset import MeshSequenceDataset, mesh_sequence_of
from nf_plugins.data.point_bundle import point_bundle

EVALUATION_STREAM = 1
"""Keeps the points of evaluation batches apart from those of training steps."""


@dataclass
class MeshSequenceDataManagerConfig(VanillaDataManagerConfig):
    """Points around the meshes of a sequence; the options for rays and pixels of images mean nothing here."""

    _target: type = field(default_factory=lambda: MeshSequenceDataManager)
    """Target class to instantiate."""
    point_sampler: MeshPointSamplerConfig = field(default_factory=MeshPointSamplerConfig)
    """Which points a step receives."""


class MeshSequenceDataManager(VanillaDataManager[MeshSequenceDataset]):
    """Gives points of all training frames at every step.

    Nothing is searched before training begins, so tools that only render wait for nothing.
    """

    config: MeshSequenceDataManagerConfig

    def setup_train(self) -> None:
        """Prepares ray generation, for tools that render training cameras."""
        self.train_ray_generator = RayGenerator(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        """Prepares whole evaluation images."""
        self.eval_ray_generator = RayGenerator(self.eval_dataset.cameras.to(self.device))
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(
            input_dataset=self.eval_dataset, device=self.device
        )
        self.eval_dataloader = RandIndicesEvalDataloader(input_dataset=self.eval_dataset, device=self.device)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Searches the first points before step 0, so that a mesh without an inside stops the run there."""
        self.train_point_sampler.prepare()
        return []

    @cached_property
    def train_point_sampler(self) -> MeshPointSampler:
        """The sampler over the training frames."""
        return self._sampler(self.config.point_sampler, held_out=False)

    @cached_property
    def eval_point_sampler(self) -> MeshPointSampler:
        """The sampler over the held-out frames, its points searched once; that of training where none is held out."""
        if not self._frames(held_out=True):
            return self.train_point_sampler
        return self._sampler(replace(self.config.point_sampler, refresh_interval=0), held_out=True)

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Points of all training frames, ordered by frame, equally many of each, and ``signed_distance`` (N, 1)."""
        self.train_count += 1
        return self._batch(self.train_point_sampler, step, held_out=False)

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """As :meth:`next_train`, of the held-out frames where there are any."""
        self.eval_count += 1
        if self.eval_point_sampler is self.train_point_sampler:
            return self._batch(self.train_point_sampler, step, held_out=False, stream=EVALUATION_STREAM)
        return self._batch(self.eval_point_sampler, step, held_out=True)

    def get_train_rays_per_batch(self) -> int:
        """Points of a training step."""
        frames = self._frames(held_out=False)
        return len(frames) * points_per_frame(self.config.point_sampler.points_per_step, len(frames))

    def get_eval_rays_per_batch(self) -> int:
        """Points of an evaluation batch."""
        frames = self._frames(held_out=True) or self._frames(held_out=False)
        return len(frames) * points_per_frame(self.config.point_sampler.points_per_step, len(frames))

    def _batch(
        self, sampler: MeshPointSampler, step: int, held_out: bool, stream: int = 0
    ) -> tuple[RayBundle, dict[str, Tensor]]:
        points, signed_distance = sampler.sample(step, stream)
        times = torch.from_numpy(mesh_sequence_of(self.train_dataset.metadata).times).to(points)
        of_frame = times[self._frames(held_out)]
        bundle = point_bundle(points.flatten(0, 1), of_frame.repeat_interleave(points.shape[1])[:, None])
        return bundle, {"signed_distance": signed_distance.flatten(0, 1)}

    def _frames(self, held_out: bool) -> list[int]:
        return mesh_sequence_of(self.train_dataset.metadata).frames(held_out)

    def _sampler(self, config: MeshPointSamplerConfig, held_out: bool) -> MeshPointSampler:
        sequence = mesh_sequence_of(self.train_dataset.metadata)
        meshes = [sequence.meshes[frame] for frame in sequence.frames(held_out)]
        # The process's own seed: machine.seed plus the rank, the same again in a resumed run.
        return config.setup(meshes=meshes, sign=sequence.sign, seed=torch.initial_seed(), device=self.device)
