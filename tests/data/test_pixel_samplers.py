import math
from pathlib import Path

import pytest
import torch

from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.pixel_samplers import DynamicPixelSampler, DynamicPixelSamplerConfig, draw_by_weight
from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_times import frame_ids_from_times


@pytest.fixture(scope="module")
def images(tiny_owlii_scene: Path) -> tuple[ImageStore, torch.Tensor]:
    outputs = OwliiDataParserConfig(data=tiny_owlii_scene).setup().get_dataparser_outputs("train")
    dataset = DynamicDataset(outputs)
    return ImageStore(dataset), frame_ids_from_times(outputs.cameras.times[:, 0], outputs.metadata["frame_times"])


def sample(images: tuple[ImageStore, torch.Tensor], num_rays: int, **config) -> torch.Tensor:
    torch.manual_seed(0)
    store, frame_ids = images
    return DynamicPixelSampler(DynamicPixelSamplerConfig(**config), store, frame_ids, num_rays).sample_indices()


@pytest.mark.parametrize("strategy", ["uniform", "foreground_balanced", "frame_balanced"])
def test_indices_are_valid_pixels_and_every_image_is_reached(images, strategy: str) -> None:
    store, _ = images
    indices = sample(images, 4000, strategy=strategy)
    assert indices.shape == (4000, 3) and (indices >= 0).all()
    assert (indices[:, 1:] < store.image_sizes[indices[:, 0]]).all()
    assert set(indices[:, 0].tolist()) == set(range(len(store)))


def test_uniform_has_the_foreground_share_of_the_images(images) -> None:
    store, _ = images
    share = store.gather(sample(images, 20000, strategy="uniform"))["fg_mask"].mean()
    true_share = len(store.foreground_flat) / store.image_sizes.prod(1).sum()
    assert share.item() == pytest.approx(true_share.item(), abs=0.02)


@pytest.mark.parametrize("strategy", ["foreground_balanced", "frame_balanced"])
@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
def test_balanced_strategies_hold_the_wanted_share(images, strategy: str, fraction: float) -> None:
    store, _ = images
    indices = sample(images, 1200, strategy=strategy, foreground_fraction=fraction)
    assert store.gather(indices)["fg_mask"].round().mean().item() == pytest.approx(fraction, abs=0.01)


@pytest.mark.parametrize("num_rays", [6, 60, 61, 65])
def test_frame_balanced_gives_every_frame_its_rays_in_order(images, num_rays: int) -> None:
    _, frame_ids = images
    frames = frame_ids[sample(images, num_rays, strategy="frame_balanced")[:, 0]]
    assert (frames.diff() >= 0).all()
    counts = torch.bincount(frames, minlength=6)
    assert counts.max() - counts.min() <= (num_rays % 6 > 0)


def test_every_camera_of_a_frame_contributes_foreground_and_background(images) -> None:
    store, frame_ids = images
    indices = sample(images, 6000, strategy="frame_balanced")
    foreground = store.gather(indices)["fg_mask"][:, 0] > 0.5
    for image in range(len(frame_ids)):
        mine = indices[:, 0] == image
        assert (mine & foreground).any() and (mine & ~foreground).any()


def test_silhouette_rays_are_background_close_to_foreground(images) -> None:
    store, _ = images
    indices = sample(images, 600, foreground_fraction=0.0, silhouette_fraction=1.0, silhouette_width=0.1)
    reach = math.ceil(0.1 * 24)
    close = 0
    for image, row, column in indices.tolist():
        mask = store.image("fg_mask", image)[..., 0] > 0.5
        window = mask[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        close += int(not mask[row, column] and bool(window.any()))
    assert close > 0.98 * len(indices), "a few may still be foreground when the rejection rounds end"


def test_the_sequence_follows_the_global_generator_alone(images) -> None:
    assert torch.equal(sample(images, 50), sample(images, 50))


def test_balanced_strategies_need_masks(images) -> None:
    store, frame_ids = images

    class Maskless:
        foreground_offsets = torch.zeros(0, dtype=torch.long)
        image_sizes = store.image_sizes

    with pytest.raises(InputError, match="pixel-sampler.strategy uniform"):
        DynamicPixelSampler(DynamicPixelSamplerConfig(), Maskless(), frame_ids, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, 6, 100])
@pytest.mark.parametrize("strategy", ["uniform", "foreground_balanced", "frame_balanced"])
def test_a_limit_that_all_frames_meet_changes_no_batch(images, strategy: str, limit: int | None) -> None:
    default = sample(images, 60, strategy=strategy)
    assert torch.equal(sample(images, 60, strategy=strategy, max_frames_per_batch=limit), default)
    assert DynamicPixelSamplerConfig().max_frames_per_batch == 100


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("strategy", ["uniform", "foreground_balanced", "frame_balanced"])
def test_batches_of_long_sequences_hold_a_random_choice_of_frames(images, strategy: str, limit: int) -> None:
    store, frame_ids = images
    torch.manual_seed(0)
    config = DynamicPixelSamplerConfig(strategy=strategy, max_frames_per_batch=limit)
    sampler = DynamicPixelSampler(config, store, frame_ids, 200)
    seen = torch.zeros(6, dtype=torch.long)
    for _ in range(60):
        indices = sampler.sample_indices()
        counts = torch.bincount(frame_ids[indices[:, 0]], minlength=6)
        assert (counts > 0).sum() == limit
        if strategy == "frame_balanced":
            assert counts.max() - counts[counts > 0].min() <= (200 % limit > 0)
            assert (frame_ids[indices[:, 0]].diff() >= 0).all()
        if strategy != "uniform":
            assert store.gather(indices)["fg_mask"].round().mean().item() == pytest.approx(0.5, abs=0.02)
        seen += counts > 0
    expected = 60 * limit / 6
    assert ((seen - expected).abs() < 5 * math.sqrt(expected)).all(), "every frame has its turn"


def test_chosen_frames_are_drawn_in_proportion_to_their_weight() -> None:
    torch.manual_seed(0)
    drawn = draw_by_weight(torch.tensor([3, 7, 9]), torch.tensor([1, 0, 3]), 4000)
    assert set(drawn.tolist()) == {3, 9}
    assert (drawn == 9).float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_batches_of_no_frame_are_refused(images) -> None:
    with pytest.raises(InputError, match="max-frames-per-batch is 0"):
        sample(images, 10, max_frames_per_batch=0)
