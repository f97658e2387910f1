"""A pipeline without training over the scan of the standing ball: the model knows the ball in closed form."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ball_scan
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dataparsers.dtu import DTUDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset


class StillBall:
    """Signed distance and colour of the ball, and of a speck beside it."""

    def __init__(self, radius: float = ball_scan.RADIUS) -> None:
        self.radius = radius
        self.bounds = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])

    def signed_distance(self, points: Tensor) -> Tensor:
        speck = (points - torch.tensor([0.5, 0.5, 0.5])).norm(dim=-1, keepdim=True) - 0.1
        return torch.minimum(points.norm(dim=-1, keepdim=True) - self.radius, speck)

    def color(self, points: Tensor) -> Tensor:
        return 0.5 + 0.45 * torch.nn.functional.normalize(points, dim=-1)


class StillBallModel(torch.nn.Module):
    """Renders the ball on white, ``offset`` too bright; may have learnt training poses, and another radius."""

    def __init__(self, offset: float = 0.0, learnt_poses: Tensor | None = None) -> None:
        super().__init__()
        self.radius = ball_scan.RADIUS
        self.offset = torch.nn.Parameter(torch.tensor(offset))
        self.learnt_poses = learnt_poses

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        assert not self.training
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        half_b = (rays.directions * rays.origins).sum(-1, keepdim=True)
        discriminant = half_b.square() - rays.origins.square().sum(-1, keepdim=True) + self.radius**2
        hit = (discriminant > 0).float()
        depth = (-half_b - discriminant.clamp(min=0).sqrt()) * hit
        colour = 0.5 + 0.45 * (rays.origins + depth * rays.directions) / self.radius + self.offset
        return {"rgb": colour * hit + 1.0 - hit, "accumulation": hit, "depth": depth}

    def refined_cameras(self, cameras: Cameras) -> Cameras:
        if self.learnt_poses is None:
            return cameras
        refined = cameras[torch.arange(len(cameras))]
        refined.camera_to_worlds = self.learnt_poses.clone()
        return refined

    def surface_at(self, time: float = 0.0) -> StillBall:
        return StillBall(self.radius)


class StillBallPipeline(torch.nn.Module):
    """What evaluation and export read of a nerfstudio pipeline."""

    def __init__(self, scan: Path, offset: float = 0.0, *, knows_poses: bool = False, **options: Any) -> None:
        super().__init__()
        parser = DTUDataParserConfig(data=scan, **options).setup()
        train, test = (DynamicDataset(parser.get_dataparser_outputs(split=split)) for split in ("train", "test"))
        self.model = StillBallModel(offset, train.metadata["true_camera_to_worlds"] if knows_poses else None)
        self.datamanager = SimpleNamespace(
            train_dataset=train, eval_dataset=test, test_split="test", config=SimpleNamespace(data=scan)
        )

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


def still_ball_config(scan: Path) -> Any:
    datamanager = SimpleNamespace(data=scan, dataparser=SimpleNamespace(downscale_factor=1))
    return SimpleNamespace(
        method_name="still-ball",
        experiment_name="unit",
        max_num_iterations=100,
        machine=SimpleNamespace(seed=42),
        pipeline=SimpleNamespace(datamanager=datamanager),
    )
