"""Colours blended from source images of a scene whose colour at every point is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.fields.blended_appearance import BlendedAppearance, BlendedAppearanceConfig
from nf_plugins.model_components.source_batch import SourceBatch

SIZE, FOCAL = 32, 40.0
INTRINSICS = torch.tensor([[FOCAL, 0, 15.5], [0, FOCAL, 15.5], [0, 0, 1]])
CENTERS = torch.tensor([[-0.2, 0.0, -2.0], [0.2, 0.1, -2.0], [0.0, -0.2, -1.9]])
POINTS = torch.tensor([[0.0, 0.0, 0.0], [0.2, -0.1, 0.0], [-0.15, 0.3, 0.0]])


def colour(xy: Tensor) -> Tensor:
    return 0.5 + 0.4 * torch.stack(
        [torch.sin(3 * xy[..., 0]), torch.cos(2 * xy[..., 1]), torch.sin(xy.sum(-1))], dim=-1
    )


def picture(center: Tensor) -> Tensor:
    """What a camera that looks along z sees of the plane z = 0, ``(3, h, w)``."""
    rows, columns = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    slopes = (torch.stack([columns, rows], dim=-1) - 15.5) / FOCAL
    return colour(center[:2] - center[2] * slopes).permute(2, 0, 1)


def batch(groups: int = 1, sources: int = 3, tint: float = 0.0) -> SourceBatch:
    images = torch.stack([picture(center) for center in CENTERS[:sources]])
    images[0] = (images[0] + tint).clamp(0, 1)
    poses = torch.cat([torch.eye(3).expand(sources, 3, 3), -CENTERS[:sources, :, None]], dim=-1)
    shape = (groups, sources)
    return SourceBatch(
        images.expand(groups, *images.shape), torch.ones(*shape, 1, SIZE, SIZE), INTRINSICS.expand(*shape, 3, 3),
        poses.expand(groups, *poses.shape), tuple(tuple(range(sources)) for _ in range(groups)),
    )  # fmt: skip


def appearance(**options: object) -> BlendedAppearance:
    torch.manual_seed(0)
    return BlendedAppearanceConfig(**options).setup()  # type: ignore[arg-type]


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_points_have_the_colour_that_all_sources_show(sources: int) -> None:
    model = appearance()
    features = model.features(batch(sources=sources))[0]
    colors = model.colors(POINTS, torch.tensor([0.0, 0.0, -2.0]), features)
    torch.testing.assert_close(colors, colour(POINTS[:, :2]), atol=2e-3, rtol=0)


def test_features_of_targets_are_those_of_each_alone() -> None:
    model = appearance()
    both = batch(groups=2)
    second = model.features(both)[1]
    alone = model.features(both.group(1))[0]
    torch.testing.assert_close(second.maps, alone.maps, atol=1e-5, rtol=0)
    torch.testing.assert_close(second.centers, CENTERS)
    assert second.ids == (0, 1, 2)
    assert second.num_bytes == 4 * 3 * SIZE * SIZE * (3 + 8 + 1)


def test_every_trained_parameter_has_a_gradient() -> None:
    model = appearance()
    colors, weights = model.colors_and_weights(POINTS, CENTERS[1], model.features(batch(tint=0.3))[0])
    (colors * torch.arange(3.0)).sum().backward()
    missing = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert missing == []
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert frozen == ["pyramid.smooth1.weight", "pyramid.smooth1.bias"]
    assert 0 <= float(model.entropy(weights)) <= 1


def test_points_carry_gradients() -> None:
    model = appearance()
    points = POINTS.clone().requires_grad_()
    model.colors(points, CENTERS[1], model.features(batch())[0]).sum().backward()
    assert points.grad is not None and points.grad.isfinite().all() and bool(points.grad.any())


def test_with_masks_only_views_that_show_the_subject_count() -> None:
    model, ignoring = appearance(visibility="mask"), appearance()
    sources = batch(tint=0.4)
    sources.masks[0, 0] = 0
    colors = model.colors(POINTS, CENTERS[1], model.features(sources)[0])
    torch.testing.assert_close(colors, colour(POINTS[:, :2]), atol=2e-3, rtol=0)
    tinted = ignoring.colors(POINTS, CENTERS[1], ignoring.features(sources)[0])
    assert float((tinted - colour(POINTS[:, :2])).abs().max()) > 0.02
    # Where no view shows a point all count, so that colours stay defined.
    sources.masks[:] = 0
    assert model.colors(POINTS, CENTERS[1], model.features(sources)[0]).isfinite().all()


def test_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in appearance().parameters()) == 37_136 + 8_946
