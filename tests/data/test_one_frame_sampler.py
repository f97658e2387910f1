from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nf_plugins.data.one_frame_sampler import OneFramePixelSampler, OneFramePixelSamplerConfig
from nf_plugins.errors import InputError


class Store:
    """Two images of different sizes; the first has 6 moving pixels, the second none."""

    def __init__(self, with_masks: bool = True) -> None:
        self.image_sizes = torch.tensor([[6, 8], [5, 7]])
        self.keys = ("image", "motion_mask") if with_masks else ("image",)

    def __len__(self) -> int:
        return 2

    def image(self, key: str, index: int) -> Tensor:
        mask = torch.zeros(*self.image_sizes[index].tolist(), 1)
        if index == 0:
            mask[2:4, 1:4] = 1
        return mask


def sampler(num_rays: int = 20, with_masks: bool = True, **options: Any) -> OneFramePixelSampler:
    config = OneFramePixelSamplerConfig(**options)
    return config.setup(store=Store(with_masks), frame_ids=torch.arange(2), num_rays_per_batch=num_rays)


def drawn_of_image(draws: OneFramePixelSampler, image: int, step: int | None) -> Tensor:
    while True:
        indices = draws.sample_indices(step)
        if int(indices[0, 0]) == image:
            return indices


def test_a_batch_is_one_frame_of_distinct_pixels() -> None:
    draws = sampler()
    frames = set()
    for _ in range(20):
        indices = draws.sample_indices()
        assert indices.shape == (20, 3) and len(torch.unique(indices, dim=0)) == 20
        assert len(indices[:, 0].unique()) == 1
        height, width = draws.image_sizes[indices[0, 0]].tolist()
        assert indices[:, 1].max() < height and indices[:, 2].max() < width
        frames.add(int(indices[0, 0]))
    assert frames == {0, 1}


def test_all_pixels_of_the_frame_are_equally_likely() -> None:
    torch.manual_seed(0)
    draws = sampler(num_rays=12)
    counts = torch.zeros(6, 8)
    for _ in range(400):
        _, rows, columns = drawn_of_image(draws, 0, None).T
        counts[rows, columns] += 1
    assert counts.min() > 60 and counts.max() < 145  # expected 100


def test_moving_pixels_come_on_top_and_last_while_they_are_mined() -> None:
    draws = sampler(num_extra_rays=4, hard_mining_steps=100)
    indices = drawn_of_image(draws, 0, 99)
    extra = indices[20:]
    assert len(indices) == 24 and draws.num_uniform_rays(indices) == 20
    assert len(torch.unique(extra, dim=0)) == 4
    assert ((extra[:, 1] >= 2) & (extra[:, 1] < 4) & (extra[:, 2] >= 1) & (extra[:, 2] < 4)).all()
    assert len(drawn_of_image(sampler(num_extra_rays=40, hard_mining_steps=100), 0, 0)) == 26  # all there are
    assert len(drawn_of_image(draws, 0, 100)) == 20
    assert len(drawn_of_image(draws, 0, None)) == 20
    assert len(drawn_of_image(draws, 1, 0)) == 20  # an empty mask


def test_nothing_is_mined_without_masks_and_small_images_are_taken_whole() -> None:
    indices = drawn_of_image(sampler(num_rays=1000, with_masks=False), 1, 0)
    assert len(indices) == 35 == len(torch.unique(indices, dim=0))
    assert sampler(num_rays=1000).num_uniform_rays(indices) == 35


def test_left_alone_it_mines_a_thousand_steps_per_frame() -> None:
    assert sampler().hard_mining_steps == 2000
    assert sampler(hard_mining_steps=7).hard_mining_steps == 7


def test_the_same_random_state_gives_the_same_batches() -> None:
    draws = sampler()
    draws.sample_indices(0)
    state = torch.random.get_rng_state()
    first = [draws.sample_indices(step) for step in range(5)]
    torch.random.set_rng_state(state)
    resumed = sampler()
    assert all(torch.equal(a, resumed.sample_indices(step)) for step, a in enumerate(first))


@pytest.mark.parametrize("name", ["num_extra_rays", "hard_mining_steps"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--pipeline.datamanager.pixel-sampler.{name.replace('_', '-')} is -1"):
        sampler(**{name: -1})
