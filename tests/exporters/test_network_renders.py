"""Counting network renders leaves the model as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nf_plugins.exporters.network_renders import counted_renders


class Rays(torch.nn.Module):
    """A model that renders rays."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self.between = between

    def get_outputs_for_camera_ray_bundle(self, rays: Any) -> Any:
        return rays

    def get_outputs_for_camera(self, camera: Any) -> Any:
        return self.get_outputs_for_camera_ray_bundle(camera)


def test_images_and_key_times_are_counted_within_the_context() -> None:
    model = Rays(SimpleNamespace(num_renders=3))
    with counted_renders(model) as count:
        assert [model.get_outputs_for_camera(camera) for camera in range(2)] == [0, 1]
        model.between.num_renders += 4
    assert (count.whole_images, count.key_times, count.total) == (2, 4, 6)
    model.get_outputs_for_camera(0)
    assert count.whole_images == 2


def test_the_model_is_restored_after_an_error() -> None:
    model = Rays(SimpleNamespace(num_renders=0))
    with pytest.raises(RuntimeError), counted_renders(model):
        raise RuntimeError
    assert "get_outputs_for_camera_ray_bundle" not in vars(model)


def test_every_image_of_a_model_without_key_times_counts() -> None:
    class Splats(torch.nn.Module):
        def get_outputs_for_camera(self, camera: Any) -> Any:
            return camera

    model = Splats()
    with counted_renders(model) as count:
        model.get_outputs_for_camera(1)
    assert count.total == 1 and "get_outputs_for_camera" not in vars(model)
