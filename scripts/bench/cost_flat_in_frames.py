"""What a training step costs for 1000 frames and for 100: the T-NeRF field and the SIREN of the video task.

A step draws a batch, goes forward and backward and lets Adam update all parameters. All variants of a network are in
one process and take turns, so that a machine whose speed drifts is fair to each. Of a sequence longer than the limit on
the frames of a batch each batch holds a random choice; the rows without a limit show why.

    python scripts/bench/cost_flat_in_frames.py --output-path docs/results/cost_flat_in_frames.json
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from nf_plugins.atomic_files import write_json
from nf_plugins.data.pixel_samplers import DynamicPixelSampler, DynamicPixelSamplerConfig
from nf_plugins.engine.devices import best_device_type
from nf_plugins.field_components.coordinate_network import CoordinateNetwork
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows
from nf_plugins.field_components.hyper_coordinates import EncodedTime
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.fields.temporal_sdf_field import TemporalSDFFieldConfig

IMAGE_SIDE = 64
MEMORY_STEPS = 2
"""Steps after which a variant has touched all memory that it ever will: the second has the optimiser's state."""


@dataclass
class Options:
    """Sizes of the measurement; the defaults are the ones that the project's claim is about."""

    frames: tuple[int, int] = (100, 1000)
    """The two lengths T to compare."""
    rays: int = 1100
    """Rays of a batch of the field."""
    samples: int = 24
    """Samples of a ray."""
    pixels: int = 200_000
    """Pixels of a batch of the video network."""
    video_width: int = 256
    """Width of the video network."""
    video_frames_per_batch: int = 100
    """Limit on the frames of a batch of the video network (its max-frames-per-batch; without one, as by default, a
    batch holds all frames)."""
    rank: int = 10
    """Rank R."""
    rounds: int = 7
    """Times that each variant is measured, after one warm-up."""
    memory: bool = True
    """Measure peak memory too, on a CPU in a process of its own for each variant."""
    device: Literal["cpu", "cuda", "mps"] = best_device_type()
    """Where to measure."""
    output_path: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    workload: str
    """A key of :data:`WORKLOADS`."""
    num_frames: int
    limit: int | None
    """Frames of a batch at most; None for all of them."""

    @property
    def frames_per_batch(self) -> int:
        return self.num_frames if self.limit is None else min(self.limit, self.num_frames)


class DiscImages:
    """Stands in for an image store: one small image per frame, with a disc as foreground."""

    keys = ("fg_mask",)

    def __init__(self, num_frames: int) -> None:
        rows, columns = torch.meshgrid(*[torch.arange(IMAGE_SIDE) - IMAGE_SIDE / 2] * 2, indexing="ij")
        inside = (torch.hypot(rows, columns) < IMAGE_SIDE / 3).flatten()
        places = inside.nonzero()[:, 0].int()
        self.mask = inside.float()
        self.image_sizes = torch.full((num_frames, 2), IMAGE_SIDE)
        self.foreground_flat = places.repeat(num_frames)
        self.foreground_offsets = torch.arange(num_frames + 1) * len(places)

    def gather(self, indices: Tensor, keys: tuple[str, ...]) -> dict[str, Tensor]:
        """The mask ``(R, 1)`` at pixels ``(R, 3)``."""
        return {"fg_mask": self.mask[indices[:, 1] * IMAGE_SIDE + indices[:, 2], None]}


def field_step(variant: Variant, options: Options) -> tuple[nn.Module, Callable[[], None]]:
    """The published T-NeRF field, and its loss on rays that the frame-balanced sampler drew, with the eikonal term."""
    torch.manual_seed(0)
    times = torch.linspace(0, 1, variant.num_frames)
    config = TemporalSDFFieldConfig(residual_rank=options.rank)
    field = config.setup(frame_times=times, hyper=EncodedTime(variant.num_frames, 6)).to(options.device)
    optimizer = torch.optim.Adam(field.parameters(), 5e-4)
    sampler = DynamicPixelSampler(
        DynamicPixelSamplerConfig(max_frames_per_batch=variant.limit),
        DiscImages(variant.num_frames),  # type: ignore[arg-type]
        torch.arange(variant.num_frames),
        options.rays,
    )

    def step() -> None:
        ray_times = times[sampler.sample_indices()[:, 0]].to(options.device)
        groups = group_rows(ray_times, options.samples)
        frames = FrameBatch.from_times(groups.keys, field.frame_times)
        rays = torch.rand(options.rays, options.samples, 3, device=options.device) * 2 - 1
        points = groups.split(rays).flatten(1, 2)
        signed_distance, feature = field.geometry(points, frames)
        eikonal_points = torch.rand(len(points), max(4, points.shape[1] // 5), 3, device=options.device)
        _, _, gradient = field.geometry_with_gradient(eikonal_points, frames, create_graph=True)
        eikonal = (gradient.norm(dim=-1) - 1).square().mean()
        loss = field.color(feature).mean() + field.density(signed_distance).mean() + 0.1 * eikonal
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return field, step


def video_step(variant: Variant, options: Options) -> tuple[nn.Module, Callable[[], None]]:
    """The SIREN of the video task, and its loss on equally many pixels of each frame of the batch."""
    torch.manual_seed(0)
    network = CoordinateNetwork(
        3,
        3,
        hidden_dim=options.video_width,
        residual_layers=(1, 2, 3),
        num_frames=variant.num_frames,
        residual_rank=options.rank,
    ).to(options.device)
    optimizer = torch.optim.Adam(network.parameters(), 5e-5)

    def step() -> None:
        chosen = torch.randperm(variant.num_frames)[: variant.frames_per_batch].sort().values.to(options.device)
        shape = len(chosen), options.pixels // len(chosen)
        coordinates = torch.rand(*shape, 3, device=options.device) * 2 - 1
        target = torch.rand(*shape, 3, device=options.device)
        loss = 1000 * (network(coordinates, FrameBatch.from_ids(chosen)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return network, step


WORKLOADS = {"T-NeRF field": field_step, "video SIREN": video_step}


def build(variant: Variant, options: Options) -> tuple[nn.Module, Callable[[], None]]:
    """The network of a variant and its training step."""
    return WORKLOADS[variant.workload](variant, options)


def composed_megabytes(module: nn.Module, num_frames: int) -> float:
    """Size of the weights that a step composes for so many frames."""
    layers = [layer for layer in module.modules() if isinstance(layer, ResFieldLinear)]
    return sum(layer.weight.numel() * layer.weight.element_size() for layer in layers) * num_frames / 1e6


def peak_megabytes(variant: Variant, options: Options) -> float | None:
    """Memory that building and training a variant adds at its peak: of the GPU, or of a fresh process (Linux)."""
    if options.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _train_briefly(variant, options)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    if not Path("/proc/self/clear_refs").exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(_resident_megabytes, variant, options).result()


def _resident_megabytes(variant: Variant, options: Options) -> float:
    def read(key: str) -> float:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split(f"{key}:")[1].split()[0]) * 1024 / 1e6

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # The peak restarts at what is held now.
    before = read("VmRSS")
    _train_briefly(variant, options)
    return read("VmHWM") - before


def _train_briefly(variant: Variant, options: Options) -> None:
    _, step = build(variant, options)
    for _ in range(MEMORY_STEPS):
        step()


def seconds_of(step: Callable[[], None], device: str) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(variants: list[Variant], options: Options) -> list[list[Any]]:
    """A row for each variant, the first of which all are compared with."""
    peaks = [peak_megabytes(variant, options) if options.memory else None for variant in variants]
    built = [build(variant, options) for variant in variants]
    seconds: list[list[float]] = [[] for _ in variants]
    for round_index in range(options.rounds + 1):
        for (_, step), values in zip(built, seconds, strict=True):
            elapsed = seconds_of(step, options.device)
            if round_index:
                values.append(elapsed)
    rows = []
    for variant, peak, (module, _), values in zip(variants, peaks, built, seconds, strict=True):
        ratio = statistics.median(a / b for a, b in zip(values, seconds[0], strict=True))
        parameters = sum(parameter.numel() for parameter in module.parameters())
        rows.append(
            [
                variant.workload,
                variant.num_frames,
                variant.frames_per_batch,
                f"{statistics.median(values):.3f}",
                f"{ratio:.2f}",
                f"{parameters:,}".replace(",", " "),
                f"{composed_megabytes(module, variant.frames_per_batch):.0f}",
                None if peak is None else f"{peak:.0f}",
            ]
        )
    return rows


def main(options: Options) -> None:
    """Measures both workloads and writes the table."""
    short, long = options.frames
    limits = DynamicPixelSamplerConfig().max_frames_per_batch, options.video_frames_per_batch
    rows = []
    for workload, limit in zip(WORKLOADS, limits, strict=True):
        variants = [Variant(workload, short, limit), Variant(workload, long, limit), Variant(workload, long, None)]
        rows += measure(variants, options)
    result = {
        "title": "Cost of a step and the number of frames",
        "command": "python scripts/bench/cost_flat_in_frames.py",
        "protocol": {
            "what": "draw a batch, forward, backward, Adam step; medians of alternating repetitions",
            "T-NeRF field": f"{options.rays} rays x {options.samples} samples, eikonal term at a tenth of the samples "
            "and as many points around, residual layers 1-7 of 128",
            "video SIREN": f"{options.pixels} pixels, residual layers 1-3 of {options.video_width}",
            "rank": options.rank,
            "rounds": options.rounds,
            "machine": f"{options.device}, {platform.machine()}, {torch.get_num_threads()} threads",
            "torch": torch.__version__.split("+")[0],
        },
        "columns": [
            "network", "frames", "frames in a batch", "median seconds", f"median ratio to {short} frames", "parameters",
            "composed weights (MB)", "peak memory (MB)",
        ],
        "rows": rows,
        "notes": [
            "A batch with all frames composes the weights of all frames: that, not the length of the tables, is what "
            "grows. The photograph methods therefore limit the frames of a batch to 100 by default; video methods have "
            "the same option, off by default, as published.",
            "Peak memory is what building the network and training it adds to the process, Adam's state included.",
        ],
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if options.output_path is not None:
        write_json(options.output_path, result)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
