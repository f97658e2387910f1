"""The ball of ball_capture.py as training images with a box for every frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ball_capture import FPS, RADIUS, centre_at, write_capture
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from dataparsers.nerfstudio_time import NerfstudioTimeDataParser, NerfstudioTimeDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset

PADDING = 0.05


@dataclass
class BallRigConfig(NerfstudioTimeDataParserConfig):
    _target: type = field(default_factory=lambda: BallRig)
    box_shift: float = 0.0
    """Moves all boxes along x, world units."""


class BallRig(NerfstudioTimeDataParser):
    """nerfstudio-time-data that knows the ball's box at each frame."""

    config: BallRigConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        outputs = super()._generate_dataparser_outputs(split, **kwargs)
        reach = np.full(3, RADIUS + PADDING)
        shift = np.array([self.config.box_shift, 0.0, 0.0])
        boxes = []
        for frame in range(len(outputs.metadata["frame_times"])):
            centre = centre_at(frame / FPS) + shift
            corners = [in_scene(outputs, corner) for corner in (centre - reach, centre + reach)]
            boxes.append(torch.stack([torch.minimum(*corners), torch.maximum(*corners)]))
        outputs.metadata["frame_boxes"] = torch.stack(boxes)
        return outputs


def in_scene(outputs: DataparserOutputs | DynamicDataset, point: Any) -> torch.Tensor:
    """A point of the world in scene units, float32 ``(3,)``."""
    scene_from_world = torch.linalg.inv(outputs.metadata["world_from_scene"].double())
    moved = scene_from_world @ torch.cat([torch.as_tensor(point, dtype=torch.float64), torch.ones(1).double()])
    return moved[:3].float()


def rig_config(folder: Path, **options: Any) -> BallRigConfig:
    return BallRigConfig(data=folder, orientation_method="none", **options)


def write_rig(folder: Path, num_cameras: int = 6, num_frames: int = 4) -> Path:
    return write_capture(folder, num_cameras=num_cameras, num_frames=num_frames, mask=True)


def training_dataset(folder: Path, **options: Any) -> DynamicDataset:
    return DynamicDataset(rig_config(folder, **options).setup().get_dataparser_outputs("train"))
