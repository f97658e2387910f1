"""Rays find the image that they belong to."""

from __future__ import annotations

import torch
from nerfstudio.cameras.rays import RayBundle

from nf_plugins.model_components.ray_groups import group_rays
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.target_view import TargetView


def bundle(origins: torch.Tensor, **metadata: torch.Tensor) -> RayBundle:
    count = len(origins)
    return RayBundle(
        origins=origins, directions=torch.eye(3)[2].expand(count, 3), pixel_area=torch.ones(count, 1), metadata=metadata
    )


def test_training_rays_are_grouped_by_target_and_carry_their_sources() -> None:
    rays = bundle(
        torch.zeros(4, 3),
        target_ids=torch.tensor([[7], [2], [7], [2]]),
        source_ids=torch.tensor([[3, 4, -1], [5, 6, 8], [3, 4, -1], [5, 6, 8]]),
    )
    first, second = group_rays(rays, torch.tensor([0.5, 0.25, 0.5, 0.25]))
    assert (first.target_id, first.source_ids, first.time, first.rows.tolist()) == (7, (3, 4), 0.5, [0, 2])
    assert (second.target_id, second.source_ids, second.time, second.rows.tolist()) == (2, (5, 6, 8), 0.25, [1, 3])


def test_rays_of_evaluation_are_grouped_by_camera_and_time() -> None:
    origins = torch.tensor([[0.0, 0, 1], [1.0, 0, 0], [0, 0, 1.0 + 1e-8], [0, 0, 1]])
    groups = group_rays(bundle(origins), torch.tensor([[0.0], [0.0], [0.0], [1.0]]))
    assert [group.rows.tolist() for group in groups] == [[0, 2], [1], [3]]
    assert all(group.target_id == -1 and group.source_ids == () for group in groups)


def test_camera_centres_invert_the_extrinsics() -> None:
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    center = torch.tensor([0.3, -1.0, 2.0])
    pose = torch.cat([rotation, -(rotation @ center)[:, None]], dim=1)
    view = TargetView(torch.eye(3), pose, (4, 5), torch.tensor([1.0, 2.0]), 0.0)
    torch.testing.assert_close(view.center, center)
    sources = SourceBatch(
        torch.zeros(1, 2, 3, 8, 8), torch.ones(1, 2, 1, 8, 8), torch.eye(3).expand(1, 2, 3, 3),
        pose.expand(1, 2, 3, 4), ((0, 1),),
    )  # fmt: skip
    torch.testing.assert_close(sources.centers, center.expand(1, 2, 3))
    assert sources.group(0).to("cpu").ids == ((0, 1),)
