"""A pipeline without training: a ball moves along x, dataset and model know it in closed form."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.exporters.trajectories import look_at_pose

NUM_FRAMES = 4
SIZE = 24
RADIUS = 0.45


def ball_centre(time: float) -> Tensor:
    return torch.tensor([0.6 * (time - 0.5), 0.0, 0.0])


def ball_cameras(num_cameras: int = 2, num_frames: int = NUM_FRAMES) -> Cameras:
    up, poses, times, ids = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), [], [], []
    for camera in range(num_cameras):
        angle = 2.1 * camera - math.pi / 2
        position = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 0.6], dtype=torch.float64)
        for frame in range(num_frames):
            poses.append(look_at_pose(position, torch.zeros(3, dtype=torch.float64), up))
            times.append(frame / (num_frames - 1))
            ids.append(camera)
    return Cameras(
        camera_to_worlds=torch.stack(poses).float(),
        fx=40.0,
        fy=40.0,
        cx=SIZE / 2,
        cy=SIZE / 2,
        width=SIZE,
        height=SIZE,
        times=torch.tensor(times)[:, None],
        metadata={"camera_id": torch.tensor(ids)[:, None]},
    )


def ball_outputs(camera: Cameras) -> dict[str, Tensor]:
    """Closed-form image outputs (H, W, C) on a white background."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    assert rays.times is not None
    offset = rays.origins - ball_centre(float(rays.times.flatten()[0]))
    half_b = (rays.directions * offset).sum(-1, keepdim=True)
    discriminant = half_b.square() - offset.square().sum(-1, keepdim=True) + RADIUS**2
    hit = (discriminant > 0).float()
    depth = (-half_b - discriminant.clamp(min=0).sqrt()) * hit
    normal = (offset + depth * rays.directions) / RADIUS * hit
    return {
        "rgb": (0.5 + 0.4 * normal) * hit + 1.0 - hit,
        "accumulation": hit,
        "depth": depth,
        "normal": normal,
        "normal_rgb": 0.5 + 0.5 * normal,
    }


class BallSurface:
    """SurfaceAtTime of the ball."""

    def __init__(self, time: float) -> None:
        self.centre = ball_centre(time)
        self.bounds = torch.tensor([[-1.0, -0.8, -0.8], [1.0, 0.8, 0.8]])

    def signed_distance(self, points: Tensor) -> Tensor:
        return (points - self.centre).norm(dim=-1, keepdim=True) - RADIUS

    def color(self, points: Tensor) -> Tensor:
        return 0.5 + 0.4 * torch.nn.functional.normalize(points - self.centre, dim=-1)


class BallModel(torch.nn.Module):
    """Renders the ball, ``offset`` too bright."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = torch.nn.Parameter(torch.tensor(offset))
        self.was_in_training_mode: list[bool] = []

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        self.was_in_training_mode.append(self.training)
        outputs = ball_outputs(camera)
        return {**outputs, "rgb": outputs["rgb"] + self.offset * outputs["accumulation"]}

    def surface_at(self, time: float) -> BallSurface:
        return BallSurface(time)


class BallDataset:
    """What the evaluation reads of a nerfstudio dataset."""

    def __init__(self, cameras: Cameras, split: str, with_masks: bool = True) -> None:
        self.cameras = cameras
        self.image_filenames = [Path(f"/scene/{split}/rgb/{index:06d}.png") for index in range(len(cameras))]
        world_from_scene = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
        world_from_scene[:3, 3] = torch.tensor([5.0, 0.0, -1.0])
        self.metadata: dict[str, Any] = {
            "frame_times": torch.linspace(0, 1, NUM_FRAMES),
            "world_from_scene": world_from_scene,
            "background_color": torch.ones(3),
            "dataparser_name": "ball-data",
            "protocol_note": "made of thin air",
        }
        if with_masks:
            self.metadata["fg_mask_filenames"] = self.image_filenames
            self.metadata["fg_mask_source"] = "alpha"

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: int) -> dict[str, Any]:
        outputs = ball_outputs(self.cameras[index : index + 1])
        batch = {"image_idx": index, "image": outputs["rgb"]}
        return {**batch, "fg_mask": outputs["accumulation"]} if "fg_mask_filenames" in self.metadata else batch


class BallPipeline(torch.nn.Module):
    """What evaluation, rendering and export read of a nerfstudio pipeline."""

    def __init__(self, offset: float = 0.0, with_masks: bool = True) -> None:
        super().__init__()
        self.model = BallModel(offset)
        train = BallDataset(ball_cameras(), "train", with_masks)
        test = BallDataset(ball_cameras(num_cameras=1), "test", with_masks)
        self.datamanager = SimpleNamespace(
            train_dataset=train, eval_dataset=test, test_split="test", config=SimpleNamespace(data=Path("/scene"))
        )

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


def ball_config() -> Any:
    datamanager = SimpleNamespace(data=Path("/scene"), dataparser=SimpleNamespace(downscale_factor=2))
    return SimpleNamespace(
        method_name="ball",
        experiment_name="unit",
        max_num_iterations=100,
        machine=SimpleNamespace(seed=42),
        pipeline=SimpleNamespace(datamanager=datamanager),
    )
