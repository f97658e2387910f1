"""A volume-rendered model in closed form, a fuzzy ball that moves along x, and its pipeline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from ball_pipeline import NUM_FRAMES, BallDataset, ball_cameras
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.cached_rendering import render_cached
from nf_plugins.model_components.occupancy_cache import OccupancyCache
from nf_plugins.model_components.ray_levels import RaySpan

BOX = torch.tensor([[-1.0, -0.8, -0.7], [1.0, 0.8, 0.7]])
SCALE = 2.0
"""World units of a scene unit; as BallDataset has it."""


def fuzzy_ball(points: Tensor, times: Tensor) -> Tensor:
    """Density per scene unit ``(N, 1)``."""
    centres = torch.stack([0.6 * (times - 0.5), torch.zeros_like(times), torch.zeros_like(times)], dim=-1)
    return 80 * torch.sigmoid((0.45 - (points - centres).norm(dim=-1, keepdim=True)) / 0.02)


class FuzzyBallModel(torch.nn.Module):
    """Renders with the cache it has, or with one of everything."""

    default_density_threshold: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.brightness = torch.nn.Parameter(torch.tensor(0.9))
        self.frame_times = torch.linspace(0, 1, NUM_FRAMES)
        self.metadata: dict[str, Any] = BallDataset(ball_cameras(), "train").metadata
        self.occupancy_cache: OccupancyCache | None = None
        self.num_points = 0
        everything = torch.ones(NUM_FRAMES, 2, 2, 2, dtype=torch.bool)
        self.everything = OccupancyCache.from_grids(everything, BOX.expand(NUM_FRAMES, 2, 3), range(NUM_FRAMES))

    def density_at(self, points: Tensor, time: float) -> Tensor:
        self.num_points += len(points)
        return fuzzy_ball(points, torch.full_like(points[:, 0], time))

    def frame_box(self, time: float) -> Tensor:
        return BOX

    def use_occupancy_cache(self, cache: OccupancyCache | None) -> None:
        self.occupancy_cache = cache

    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        height, width = rays.origins.shape[:2]
        assert rays.times is not None
        times = rays.times.reshape(-1)
        origins, directions = rays.origins.view(-1, 3), rays.directions.view(-1, 3)
        near, far = intersect_box(origins, directions, BOX)
        cached = self.occupancy_cache is not None
        outputs = render_cached(
            self.occupancy_cache or self.everything, RaySpan(origins, directions, near, far, times),
            frame_coordinates(times, self.frame_times), (far > near)[:, 0], torch.ones_like(near),
            density=fuzzy_ball, color=lambda points, times, rows: self.brightness * torch.sigmoid(3 * points),
            background=torch.ones(3), num_samples=128, weight_threshold=0.01 if cached else 0.0, renormalise=True,
        )  # fmt: skip
        return {name: value.view(height, width, -1) for name, value in outputs.items()}


def fuzzy_ball_pipeline() -> Any:
    """A pipeline of it, with the data of the crisp ball."""
    train, test = (BallDataset(ball_cameras(count), name) for count, name in ((2, "train"), (1, "test")))
    datamanager = SimpleNamespace(
        train_dataset=train, eval_dataset=test, test_split="test",
        train_foreground_mask=lambda index: train[index]["fg_mask"][..., 0] > 0,
    )  # fmt: skip
    return SimpleNamespace(model=FuzzyBallModel().eval(), datamanager=datamanager, device=torch.device("cpu"))
