"""What residual layers cost: the published network with and without them, and with gathered weights per ray.

Seven layers of 128, T = 100 frames, rank 10, 1100 rays x 64 samples, forward and backward with the eikonal term, all
three variants in one process, turn by turn, so that a machine whose speed drifts is fair to each.

    python scripts/bench/residual_layer_overhead.py --output-path docs/results/residual_layer_overhead.json
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from nf_plugins.engine.devices import best_device_type
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows
from nf_plugins.field_components.hyper_coordinates import EncodedTime
from nf_plugins.field_components.residual_factors import compose_weights
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.fields.temporal_sdf_field import TemporalSDFField, TemporalSDFFieldConfig


class GatheredResFieldLinear(ResFieldLinear):
    """The layer as a first implementation would have it: all frames composed, one copied weight for every ray."""

    def forward(self, input: Tensor, frames: FrameBatch | None = None) -> Tensor:
        assert frames is not None
        bank = compose_weights(self.weight, self.basis, self.coefficients)
        return torch.bmm(input, bank[frames.frame_ids].transpose(1, 2)) + self.bias


@dataclass
class Options:
    """Sizes of the measurement; the defaults are the ones that the project's claim is about."""

    frames: int = 100
    """Frames T."""
    rank: int = 10
    """Rank R."""
    rays: int = 1100
    """Rays of a batch."""
    samples: int = 64
    """Samples of a ray."""
    rounds: int = 7
    """Times that each variant is measured, after one warm-up."""
    device: Literal["cpu", "cuda", "mps"] = best_device_type()
    """Where to measure."""
    output_path: Path | None = None
    """JSON file for the figures."""


def make_field(options: Options, layer: type[nn.Linear]) -> TemporalSDFField:
    """The published T-NeRF field whose layers 1 to 7 are of the given kind."""
    torch.manual_seed(0)
    residual = () if layer is nn.Linear else (1, 2, 3, 4, 5, 6, 7)
    config = TemporalSDFFieldConfig(residual_layers=residual, residual_rank=options.rank)
    frame_times = torch.linspace(0, 1, options.frames)
    field = config.setup(frame_times=frame_times, hyper=EncodedTime(options.frames, 6))
    for module in field.modules():
        if type(module) is ResFieldLinear and layer is GatheredResFieldLinear:
            module.__class__ = GatheredResFieldLinear
    return field.to(options.device)


def training_pass(field: TemporalSDFField, points: Tensor, frames: FrameBatch) -> Callable[[], None]:
    """Forward and backward of colour, density and the eikonal term at every point."""

    def run() -> None:
        fresh = FrameBatch(frames.frame_ids, frames.coordinates)
        signed_distance, feature, gradient = field.geometry_with_gradient(points.clone(), fresh, create_graph=True)
        eikonal = ((gradient.norm(dim=-1) - 1) ** 2).mean()
        loss = field.color(feature).mean() + field.density(signed_distance).mean() + 0.1 * eikonal
        field.zero_grad()
        loss.backward()

    return run


def measure(run: Callable[[], None], device: str) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main(options: Options) -> None:
    """Measures the three variants and prints medians and pairwise ratios."""
    generator = torch.Generator().manual_seed(0)
    ray_frames = torch.arange(options.rays) % options.frames
    ray_frames = ray_frames.sort().values
    points = (torch.rand(options.rays, options.samples, 3, generator=generator) * 2 - 1).to(options.device)
    groups = group_rows(ray_frames.to(options.device), options.samples)
    grouped = groups.split(points).flatten(1, 2)
    runs = {
        "plain": training_pass(make_field(options, nn.Linear), grouped, FrameBatch.from_ids(groups.keys)),
        "residual": training_pass(make_field(options, ResFieldLinear), grouped, FrameBatch.from_ids(groups.keys)),
        "gathered_per_ray": training_pass(
            make_field(options, GatheredResFieldLinear),
            points,
            FrameBatch.from_ids(ray_frames.to(options.device)),
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_index in range(options.rounds + 1):
        for name, run in runs.items():
            elapsed = measure(run, options.device)
            if round_index:
                seconds[name].append(elapsed)
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, seconds["plain"], strict=True))
        for name, values in seconds.items()
    }
    result = {
        "title": "Cost of residual layers",
        "command": "python scripts/bench/residual_layer_overhead.py",
        "protocol": {
            "what": "forward and backward of the published T-NeRF field, eikonal term at every sample",
            "frames": options.frames,
            "rank": options.rank,
            "rays x samples": f"{options.rays} x {options.samples}",
            "rounds": options.rounds,
            "machine": f"{options.device}, {platform.machine()}, {torch.get_num_threads()} threads",
            "torch": torch.__version__.split("+")[0],
        },
        "columns": ["layers 1-7", "median seconds", "median ratio to plain"],
        "rows": [
            [name.replace("_", " "), f"{statistics.median(values):.3f}", f"{ratios[name]:.2f}"]
            for name, values in seconds.items()
        ],
        "notes": ["'gathered per ray' composes all frames and copies one weight for every ray."],
    }
    print(json.dumps(result, indent=2))
    if options.output_path is not None:
        options.output_path.parent.mkdir(parents=True, exist_ok=True)
        options.output_path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
