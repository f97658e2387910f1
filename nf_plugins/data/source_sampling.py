"""What a training batch of an image-based method holds, as a function of the step: images, pixels, sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nf_plugins.data.source_views import SourceViews
from nf_plugins.errors import InputError
from nf_plugins.model_components.image_depth_range import box_within_limits
from nf_plugins.model_components.projected_box import box_pixels
from nf_plugins.model_components.source_ranking import rank_by_distance, training_sources

MAX_DRAWS = 1000
"""Images that are tried before it is said that none sees the subject."""


@dataclass
class SourceSamplingOptions:
    """How batches are drawn; part of the datamanager's options."""

    images_per_batch: int = 2
    """Random training images of a batch, with repetition."""
    pixels_per_image: int = 3072
    """Random pixels of each of them, with repetition."""
    pixels_from: Literal["box", "foreground_balanced", "everywhere"] = "box"
    """Where pixels lie: in the picture of the subject's box at that frame; a fixed share on the foreground and the rest
    in that box; or anywhere in the image."""
    foreground_fraction: float = 0.5
    """With pixels-from foreground_balanced: share of the pixels on the foreground."""
    train_source_counts: tuple[int, ...] = (2, 3, 4, 5)
    """How many source images the targets of a batch may have in training; empty for methods without sources."""
    train_source_probabilities: tuple[float, ...] = (0.1, 0.35, 0.45, 0.1)
    """How often each of these numbers is taken."""
    self_source_probability: float = 0.05
    """How often the target itself is among the candidates for its sources."""
    extra_source_candidates: int = 2
    """Sources are drawn from so many more of the nearest images than are taken."""
    skip_nearest_source: bool = False
    """Never take the nearest image, as published, even where it is not the target: loses the best source of new
    views."""


@dataclass(frozen=True)
class SourceBatchPlan:
    """A batch of B targets with N pixels and S sources each; numbers of images are those of the views."""

    images: Tensor
    """int64 ``(B,)``."""
    pixels: Tensor
    """int64 ``(B * N, 3)``: image, row, column; target by target."""
    source_groups: tuple[tuple[int, ...], ...]
    """``(B)(S)``; empty groups for methods without sources."""
    step: int
    """What it is for."""


def plan_batch(step: int, seed: int, views: SourceViews, options: SourceSamplingOptions) -> SourceBatchPlan:
    """Draws the batch of a training step; the same for the same step, seed, views and options.

    All its images are of one scene, and scenes come in proportion to their images. All targets have equally many
    sources. Images that do not see the subject's box are passed over, with one line.

    Raises:
        InputError: No image sees its box.
    """
    generator = torch.Generator().manual_seed(mixed_seed(seed, step))
    scene = int(views.scene_ids[torch.randint(len(views), (), generator=generator)])
    targets = draw_targets(views, scene, options, generator)
    count = _draw_count(options, generator)
    return SourceBatchPlan(
        images=torch.tensor([index for index, _ in targets]),
        pixels=torch.cat([pixels for _, pixels in targets]),
        source_groups=tuple(_sources(views, index, count, options, generator) for index, _ in targets),
        step=step,
    )


def plan_evaluation(
    step: int,
    seed: int,
    held_out: SourceViews,
    views: SourceViews,
    options: SourceSamplingOptions,
    *,
    source_count: int,
) -> SourceBatchPlan:
    """As :func:`plan_batch` with held-out images as targets, which have the sources of a rendered view.

    Args:
        step: What it is for.
        seed: Seed of all steps.
        held_out: The evaluation images.
        views: The training images, their sources.
        options: Numbers of images and pixels, and where pixels lie.
        source_count: Sources wanted; where a frame has fewer, all targets have fewer.
    """
    generator = torch.Generator().manual_seed(mixed_seed(seed, step))
    targets = draw_targets(held_out, 0, options, generator)
    groups = [
        views.rendering_ids(
            held_out.centers[index],
            float(held_out.times[index]),
            source_count,
            skip_nearest=options.skip_nearest_source,
        )
        for index, _ in targets
        if options.train_source_counts
    ]
    fewest = min((len(group) for group in groups), default=0)
    return SourceBatchPlan(
        images=torch.tensor([index for index, _ in targets]),
        pixels=torch.cat([pixels for _, pixels in targets]),
        source_groups=tuple(group[:fewest] for group in groups) or ((),) * len(targets),
        step=step,
    )


def draw_targets(
    views: SourceViews, scene: int, options: SourceSamplingOptions, generator: torch.Generator
) -> list[tuple[int, Tensor]]:
    """Random images of a scene with random pixels of each, int64 ``(N, 3)``: image, row, column."""
    targets: list[tuple[int, Tensor]] = []
    first, count = views.first_ids[scene], views.num_images_of_scene[scene]
    for _ in range(MAX_DRAWS):
        index = first + int(torch.randint(count, (), generator=generator))
        pixels = draw_pixels(views, index, options, generator)
        if pixels is None:
            views.say_once(
                "image without pixels", f"{views.name_of(index)} and perhaps others do not see the box; passed over."
            )
            continue
        targets.append((index, pixels))
        if len(targets) == options.images_per_batch:
            return targets
    raise InputError(
        f"None of {MAX_DRAWS} random images sees the box of its frame (first tried: {views.name_of(first)}), expected "
        "all to: give the subject's box with the dataparser's --scene-box, or check the poses of the cameras."
    )


def draw_pixels(
    views: SourceViews, index: int, options: SourceSamplingOptions, generator: torch.Generator
) -> Tensor | None:
    """Random pixels of an image, int64 ``(N, 3)``: image, row, column; None where there is none to draw from."""
    height, width = views.sizes[index].tolist()
    allowed = views.may_be_sampled(index)
    if options.pixels_from != "everywhere":
        box, pose = views.box_of(index), views.world_to_cameras[index]
        if not box_within_limits(pose, box):
            return None
        in_box = box_pixels(pose, views.intrinsics[index], (height, width), box)
        allowed = in_box if allowed is None else allowed & in_box
    count = options.pixels_per_image
    if options.pixels_from == "foreground_balanced":
        assert allowed is not None
        chosen = _balanced(allowed, views.image(index)[1] > 127, count, options.foreground_fraction, generator)
    elif allowed is None:
        chosen = torch.randint(height * width, (count,), generator=generator)
    else:
        chosen = _draw(allowed, count, generator)
    if chosen is None:
        return None
    return torch.stack([torch.full_like(chosen, index), chosen // width, chosen % width], dim=-1)


def mixed_seed(*numbers: int) -> int:
    """A seed of 32 bits; tuples of numbers that differ in one place give seeds that have nothing in common."""
    entropy = [number % 2**64 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])


def require_source_options(views: SourceViews, options: SourceSamplingOptions) -> None:
    """The options fit each other and the data.

    Raises:
        InputError: They do not, or a frame has fewer images than may be asked for.
    """
    prefix = "--pipeline.datamanager."
    counts, probabilities = options.train_source_counts, options.train_source_probabilities
    for name in ("images_per_batch", "pixels_per_image"):
        if getattr(options, name) < 1:
            raise InputError(f"{prefix}{name.replace('_', '-')} is {getattr(options, name)}, expected at least 1.")
    if not counts:
        return
    if min(counts) < 1:
        raise InputError(f"{prefix}train-source-counts holds {min(counts)}, expected at least one source.")
    if len(counts) != len(probabilities) or min(probabilities) < 0 or sum(probabilities) <= 0:
        raise InputError(
            f"{prefix}train-source-probabilities is {probabilities}, expected a share for each of the numbers "
            f"{counts} of {prefix}train-source-counts."
        )
    for scene, dataset in enumerate(views.datasets):
        others = views.fewest_of_a_frame(scene) - 1
        if max(counts) > others:
            where = dataset.image_filenames[0].parent
            raise InputError(
                f"{prefix}train-source-counts asks for up to {max(counts)} source images of a frame, but a frame of "
                f"the scene at {where} has {others + 1} training images, {max(others, 0)} besides the target: ask for "
                "at most so many (and give as many --pipeline.datamanager.train-source-probabilities), or train on "
                "more cameras."
            )


def _draw_count(options: SourceSamplingOptions, generator: torch.Generator) -> int:
    if not options.train_source_counts:
        return 0
    shares = torch.tensor(options.train_source_probabilities, dtype=torch.float64)
    return options.train_source_counts[int(torch.multinomial(shares, 1, generator=generator))]


def _sources(
    views: SourceViews, index: int, count: int, options: SourceSamplingOptions, generator: torch.Generator
) -> tuple[int, ...]:
    if count == 0:
        return ()
    ids = views.of_frame(int(views.frame_ids[index]), int(views.scene_ids[index]))
    chosen = training_sources(
        rank_by_distance(views.centers[index], views.centers[ids]),
        ids == index,
        count,
        extra=options.extra_source_candidates,
        self_probability=options.self_source_probability,
        skip_nearest=options.skip_nearest_source,
        generator=generator,
    )
    return tuple(ids[chosen].tolist())


def _balanced(
    allowed: Tensor, foreground: Tensor, count: int, fraction: float, generator: torch.Generator
) -> Tensor | None:
    num_foreground = round(fraction * count)
    inside = _draw(allowed & foreground, num_foreground, generator)
    outside = _draw(allowed & ~foreground, count if inside is None else count - num_foreground, generator)
    if outside is None:
        return _draw(allowed, count, generator)
    return outside if inside is None else torch.cat([inside, outside])


def _draw(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor | None:
    """Random pixels, row * width + column, of those in bool ``(H, W)``; None where it holds none."""
    places = candidates.flatten().nonzero()[:, 0]
    return places[torch.randint(len(places), (count,), generator=generator)] if len(places) else None
