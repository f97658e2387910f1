"""A textured plane across the view of a row of cameras, whose images need no files: source views in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.target_view import TargetView

SIZE = (32, 40)
FOCAL = 60.0
PLANE = 0.1
"""Height z of the plane; cameras stand at z = 2 and look down the z axis."""
CAMERA_Z = 2.0
BOX = torch.tensor([[-0.9, -0.9, -0.4], [0.9, 0.9, 0.4]])
POSITIONS = torch.tensor([[-0.3, 0.0], [-0.1, 0.1], [0.15, -0.1], [0.3, 0.05]])


def plane_colour(xy: Tensor) -> Tensor:
    """Colours ``(*batch, 3)`` of the plane's points ``(*batch, 2)``."""
    waves = [torch.sin(9 * xy[..., 0]), torch.cos(8 * xy[..., 1]), torch.sin(6 * xy.sum(-1))]
    return 0.5 + 0.4 * torch.stack(waves, dim=-1)


def camera_at(position: Tensor, time: float | None = 0.0) -> Cameras:
    """A camera over ``(x, y)``, as nerfstudio has it."""
    pose = torch.cat([torch.eye(3), torch.tensor([[*position.tolist(), CAMERA_Z]]).T], dim=1)
    return Cameras(
        pose[None], fx=FOCAL, fy=FOCAL, cx=SIZE[1] / 2, cy=SIZE[0] / 2, width=SIZE[1], height=SIZE[0],
        times=None if time is None else torch.tensor([[time]]),
    )  # fmt: skip


def picture_at(position: Tensor) -> Tensor:
    """What it sees, ``(H, W, 3)``."""
    rays = camera_at(position).generate_rays(camera_indices=0, keep_shape=True)
    distance = (PLANE - CAMERA_Z) / rays.directions[..., 2:]
    return plane_colour((rays.origins + distance * rays.directions)[..., :2])


class PlaneViews:
    """What a model asks source views for; two frames that look the same, four cameras each."""

    def __init__(self) -> None:
        poses = [camera_at(position).camera_to_worlds[0] for position in POSITIONS] * 2
        self.camera_to_worlds = torch.stack(poses)
        flipped = self.camera_to_worlds * torch.tensor([1.0, -1, -1, 1])
        rotations = flipped[..., :3].transpose(1, 2)
        self.centers = self.camera_to_worlds[..., 3]
        self.world_to_cameras = torch.cat([rotations, -rotations @ self.centers[..., None]], dim=-1)
        intrinsics = torch.tensor([[FOCAL, 0, SIZE[1] / 2 - 0.5], [0, FOCAL, SIZE[0] / 2 - 0.5], [0, 0, 1]])
        self.intrinsics = intrinsics.expand(8, 3, 3)
        self.sizes = torch.tensor(SIZE).expand(8, 2)
        self.num_batches = 0

    def rendering_ids(
        self, center: Tensor, time: float, count: int, *, skip_nearest: bool = False, scene: int = 0
    ) -> tuple[int, ...]:
        ids = torch.arange(4) + 4 * round(time)
        distances = (self.centers[ids] - center).norm(dim=-1)
        order = [index for index in distances.argsort().tolist() if float(distances[index]) > 1e-6]
        return tuple(ids[order[int(skip_nearest) :][:count]].tolist())

    def batch(
        self, groups: Sequence[Sequence[int]], *, crop: bool = True, device: torch.device | str = "cpu"
    ) -> SourceBatch:
        self.num_batches += 1
        ids = torch.tensor(groups)
        pictures = torch.stack([picture_at(position) for position in POSITIONS] * 2).permute(0, 3, 1, 2)
        images = pictures[ids]
        return SourceBatch(
            images, torch.ones_like(images[:, :, :1]), self.intrinsics[ids], self.world_to_cameras[ids],
            tuple(tuple(group) for group in groups),
        )  # fmt: skip

    def target(self, index: int, frame_box: Tensor | None = None) -> TargetView:
        z_range = torch.tensor([CAMERA_Z - 0.4, CAMERA_Z + 0.4])
        return TargetView(self.intrinsics[index], self.world_to_cameras[index], SIZE, z_range, float(index >= 4))

    def __deepcopy__(self, memo: dict[int, Any]) -> PlaneViews:
        return self


def plane_model(config: Any, num_frames: int = 2, box: Tensor = BOX, background: float = 1.0) -> Any:
    """A model on this world."""
    metadata = {
        "frame_times": torch.linspace(0, 1, num_frames),
        "scene_aabb": box,
        "background_color": torch.full((3,), background),
        "world_from_scene": torch.eye(4),
        "source_views": PlaneViews(),
    }
    torch.manual_seed(0)
    return config.setup(scene_box=SceneBox(box), num_train_data=8, metadata=metadata)


def training_rays(target: int, sources: Sequence[int], count: int, seed: int = 0) -> tuple[Any, Tensor]:
    """Rays of a training image as the datamanager gives them, and their colours ``(count, 3)``."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, SIZE[0], (count,), generator=generator)
    columns = torch.randint(0, SIZE[1], (count,), generator=generator)
    position = POSITIONS[target % 4]
    rays = camera_at(position, float(target >= 4)).generate_rays(camera_indices=0, keep_shape=True)[rows, columns]
    rays.metadata["target_ids"] = torch.full((count, 1), target)
    rays.metadata["source_ids"] = torch.tensor(list(sources)).expand(count, -1)
    rays.metadata["z_range"] = torch.tensor([CAMERA_Z - 0.4, CAMERA_Z + 0.4]).expand(count, 2)
    rays.metadata["picture_uv"] = torch.stack([columns, rows], dim=-1).float()
    return rays, picture_at(position)[rows, columns]
