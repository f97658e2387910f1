"""The same images rendered with and without occupancy caches, in one run: what is lost and what is gained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.evaluation.dataset_images import Split, dataset_for_split, image_identity, truth_of
from nf_plugins.evaluation.image_metrics import psnr
from nf_plugins.exporters.occupancy_files import frame_times_of
from nf_plugins.field_components.frame_times import frame_coordinates
from nf_plugins.model_components.occupancy_cache import SAME_FRAME, OccupancyCache, RenderingCounts

COLUMNS = (
    "cache", "cells", "raw threshold", "occupied %", "PSNR", "PSNR lost", "PSNR to uncached", "seconds an image",
    "speed-up", "samples a ray", "shaded a ray", "cache KiB a frame",
)  # fmt: skip
WARM_UP_FACTOR = 1 / 8
"""Size of the image that is rendered before the first measurement, so that images are decoded by then."""


@dataclass
class ComparedCache:
    """One way of rendering all images."""

    name: str
    """What it is called in the table."""
    psnr: list[float] = field(default_factory=list)
    """Against the truth, by image."""
    psnr_to_uncached: list[float] = field(default_factory=list)
    """Against the images without a cache."""
    seconds: list[float] = field(default_factory=list)
    """By image, everything that a first rendering of it takes."""
    resolution: tuple[int, int, int] | None = None
    raw_threshold: float | None = None
    occupied: float | None = None
    """Share of the cells of the frames at hand."""
    bytes_per_frame: int | None = None
    counts: RenderingCounts | None = None
    """What rendering took; None without a cache."""


@dataclass
class CacheComparison:
    """Images and how they were rendered; the first way is without a cache."""

    images: list[dict[str, Any]]
    ways: list[ComparedCache]

    def rows(self) -> list[list[Any]]:
        """A row of :data:`COLUMNS` for each way."""
        base = self.ways[0]
        rows = []
        for way in self.ways:
            cached, counts = way.counts is not None, way.counts or RenderingCounts()
            rays = max(counts.rays, 1)
            rows.append([
                way.name,
                None if way.resolution is None else " x ".join(map(str, way.resolution)),
                way.raw_threshold,
                None if way.occupied is None else 100 * way.occupied,
                mean(way.psnr),
                mean(base.psnr) - mean(way.psnr) if cached else None,
                mean(way.psnr_to_uncached) if cached else None,
                mean(way.seconds),
                mean(base.seconds) / mean(way.seconds),
                counts.samples / rays if cached else None,
                counts.shaded / rays if cached and counts.shaded else None,
                None if way.bytes_per_frame is None else way.bytes_per_frame / 1024,
            ])  # fmt: skip
        return rows

    def result(self, title: str, command: str, protocol: dict[str, Any]) -> dict[str, Any]:
        """What ``scripts/update_readme.py`` makes a page of."""
        notes = [
            "PSNR lost is that of the images without a cache less that with it, both against the truth.",
            "seconds an image hold everything that a first look at it takes; source images are decoded before.",
        ]
        return {
            "title": title, "command": command, "protocol": protocol, "columns": list(COLUMNS), "rows": self.rows(),
            "notes": notes, "images": self.images,
            "per_image": {
                way.name: {"psnr": way.psnr, "psnr_to_uncached": way.psnr_to_uncached, "seconds": way.seconds}
                for way in self.ways
            },
        }  # fmt: skip


def mean(values: Sequence[float]) -> float:
    """Of at least one number."""
    return sum(values) / len(values)


def spread_indices(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` of ``count`` images, evenly spread, the first and the last among them."""
    wanted = min(wanted, count)
    if wanted == 1:
        return [0]
    return [round(index * (count - 1) / (wanted - 1)) for index in range(wanted)]


def frames_of_images(model: Any, cameras: Cameras) -> list[int]:
    """Training frames that a cache needs to render cameras: of each time the frame, or the two around it."""
    if cameras.times is None:
        return [0]
    coordinates = frame_coordinates(cameras.times.flatten().cpu(), frame_times_of(model))
    nearest = coordinates.round()
    coordinates = torch.where((coordinates - nearest).abs() < SAME_FRAME, nearest, coordinates)
    return sorted({*coordinates.floor().long().tolist(), *coordinates.ceil().long().tolist()})


class CacheComparer:
    """Renders images of a split again and again.

    Args:
        pipeline: In evaluation mode.
        split: Whose images.
        num_images: How many, evenly spread.
    """

    def __init__(self, pipeline: Any, split: Split, num_images: int) -> None:
        self.pipeline = pipeline
        self.dataset = dataset_for_split(pipeline.datamanager, split)
        self.indices = spread_indices(len(self.dataset), num_images)
        self.truths = [truth_of(self.dataset, index, pipeline).clamp(0, 1) for index in self.indices]
        self.uncached: list[Tensor] = []
        self.comparison = CacheComparison([dict(image_identity(self.dataset, index)) for index in self.indices], [])

    @property
    def frames(self) -> list[int]:
        """Training frames that a cache of these images needs."""
        return frames_of_images(self.pipeline.model, self.dataset.cameras[torch.tensor(self.indices)])

    def camera(self, index: int) -> Cameras:
        """The camera of an image."""
        return self.dataset.cameras[index : index + 1].to(self.pipeline.device)

    def warm_up(self) -> None:
        """Renders every image small, so that source images are decoded and kernels compiled."""
        for index in self.indices:
            camera = self.camera(index)
            camera.rescale_output_resolution(WARM_UP_FACTOR)
            self._render(camera)

    def add(
        self,
        name: str,
        cache: OccupancyCache | None,
        raw_threshold: float | None = None,
        on_image: Callable[[], None] | None = None,
    ) -> ComparedCache:
        """Renders all images in one way, and measures it. The first has to be without a cache.

        Raises:
            InputError: The cache lacks a frame, or the method can use none.
        """
        way = ComparedCache(name, raw_threshold=raw_threshold)
        if cache is not None:
            shares = [float(cache.grid(frame).float().mean()) for frame in self.frames]
            way.resolution, way.occupied = cache.resolution, mean(shares)
            way.bytes_per_frame = cache.num_bytes // len(cache)
            cache.counts = way.counts = RenderingCounts()
        self.pipeline.model.use_occupancy_cache(cache)
        try:
            for position, index in enumerate(self.indices):
                image, seconds = self._timed(self.camera(index))
                if cache is None and len(self.uncached) <= position:
                    self.uncached.append(image)
                way.seconds.append(seconds)
                way.psnr.append(psnr(image, self.truths[position]))
                way.psnr_to_uncached.append(psnr(image, self.uncached[position]))
                if on_image is not None:
                    on_image()
        finally:
            self.pipeline.model.use_occupancy_cache(None)
        self.comparison.ways.append(way)
        return way

    def _timed(self, camera: Cameras) -> tuple[Tensor, float]:
        # Features of source images are forgotten, or the second way would find those of the first.
        self.pipeline.model.train()
        self.pipeline.model.eval()
        _synchronise()
        started = time.perf_counter()
        image = self._render(camera)
        _synchronise()
        return image, time.perf_counter() - started

    @torch.no_grad()
    def _render(self, camera: Cameras) -> Tensor:
        return self.pipeline.model.get_outputs_for_camera(camera)["rgb"][..., :3].clamp(0, 1)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
