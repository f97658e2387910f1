"""Images between two key times of NSFF: many planes at once against plane after plane, in turns in one process.

The published loop splats four times a plane: both fields at both key times. Static planes land where they are, so two
are enough; that loop is measured as well. Samples are random, moved by up to a pixel or two.

    python scripts/bench/plane_splatting.py --output-path docs/results/plane_splatting.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import tyro
from torch import Tensor

from nf_plugins.atomic_files import write_json
from nf_plugins.model_components.blended_rendering import TRANSMITTANCE_OFFSET
from nf_plugins.model_components.plane_splatting import DynamicPlanes, StaticPlanes, composite_planes, splat
from nf_plugins.run_facts import machine_name

FRACTION = 0.3


@dataclass
class Options:
    """What to measure."""

    sizes: tuple[tuple[int, int, int], ...] = ((32, 36, 52), (64, 72, 128), (128, 144, 256))
    """Planes, rows and columns of each measurement."""
    repetitions: int = 7
    """Measurements of each; the median counts."""
    device: str = "cpu"
    """Where to compute."""
    output_path: Path | None = None
    """JSON file for the table."""


class Scene(NamedTuple):
    """Samples of both key times and of the static field."""

    first: DynamicPlanes
    second: DynamicPlanes
    static: StaticPlanes
    own_pixels: Tensor
    """Column and row of every pixel's centre, ``(H, W, 2)``."""
    ray_parameters: Tensor


def random_scene(size: tuple[int, int, int], device: str) -> Scene:
    """Opacities up to a twentieth, so that light reaches the last planes."""
    num_planes, height, width = size
    generator = torch.Generator().manual_seed(0)
    columns, rows = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    own_pixels = torch.stack([columns, rows], dim=-1)

    def uniform(*channels: int) -> Tensor:
        return torch.rand(num_planes, height, width, *channels, generator=generator)

    def key() -> DynamicPlanes:
        pixels = own_pixels + 4 * uniform(2) - 2
        return DynamicPlanes(uniform(3).to(device), 0.05 * uniform().to(device), pixels.to(device))

    static = StaticPlanes(uniform(3).to(device), 0.05 * uniform().to(device))
    return Scene(key(), key(), static, own_pixels.to(device), torch.linspace(0, 1, num_planes, device=device))


def splat_plane(rgb: Tensor, opacity: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Colour and opacity of one plane after splatting."""
    values = splat(torch.cat([rgb, opacity[..., None]], dim=-1), pixels).values
    return values[..., :3], values[..., 3]


def plane_after_plane(scene: Scene, splats_static: bool) -> Tensor:
    """The image by a loop from front to back."""
    first, second, static = scene.first, scene.second, scene.static
    rgb = torch.zeros_like(static.rgb[0])
    light = torch.ones_like(static.opacity[0])
    for plane in range(len(static.opacity)):
        color, opacity = torch.zeros_like(rgb), torch.zeros_like(light)
        for key, mix in ((first, 1 - FRACTION), (second, FRACTION)):
            moving_rgb, moving = splat_plane(key.rgb[plane], key.opacity[plane], key.pixels[plane])
            standing_rgb, standing = static.rgb[plane], static.opacity[plane]
            if splats_static:
                standing_rgb, standing = splat_plane(standing_rgb, standing, scene.own_pixels)
            color = color + mix * (moving[..., None] * moving_rgb + standing[..., None] * standing_rgb)
            opacity = opacity + mix * (1 - (1 - moving) * (1 - standing))
        rgb = rgb + light[..., None] * color
        light = light * (1 - opacity + TRANSMITTANCE_OFFSET)
    return rgb


def many_at_once(scene: Scene, planes_per_chunk: int | None = None) -> Tensor:
    """The image by this package."""
    first, second, static, _, ray_parameters = scene
    image = composite_planes(first, second, static, FRACTION, ray_parameters, planes_per_chunk=planes_per_chunk)
    return image.rgb


def seconds(action: Callable[[], Tensor], device: str) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


@torch.no_grad()
def measure(size: tuple[int, int, int], options: Options) -> list[str]:
    """One row of the table."""
    scene = random_scene(size, options.device)
    ways: dict[str, Callable[[], Tensor]] = {
        "loop, static too": lambda: plane_after_plane(scene, True),
        "loop": lambda: plane_after_plane(scene, False),
        "all planes": lambda: many_at_once(scene, size[0]),
        "as many as suit": lambda: many_at_once(scene),
    }
    images = [way() for way in ways.values()]  # also warms up
    difference = max(float((image - images[-1]).abs().max()) for image in images)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repetitions):
        for name, way in ways.items():
            times[name].append(seconds(way, options.device))
    medians = [median(values) for values in times.values()]
    name = " x ".join(map(str, size))
    figures = [f"{1e3 * value:.1f}" for value in medians]
    return [name, *figures, *(f"{slower / medians[-1]:.1f}" for slower in medians[:2]), f"{difference:.1g}"]


def main(options: Options) -> None:
    """Measures all sizes and prints the table."""
    result = {
        "title": "Splatting planes one by one and many at once",
        "command": "python scripts/bench/plane_splatting.py --output-path docs/results/plane_splatting.json",
        "protocol": {
            "repetitions": f"{options.repetitions}, in turns, medians",
            "threads": torch.get_num_threads(),
            "machine": machine_name(options.device),
            "torch": torch.__version__.split("+")[0],
        },
        "columns": [
            "planes x rows x columns", "published loop (ms)", "loop without static splats (ms)", "all at once (ms)",
            "as many as suit the device (ms)", "times faster than published", "than the loop", "largest difference",
        ],
        "rows": [measure(size, options) for size in options.sizes],
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if options.output_path is not None:
        write_json(options.output_path, result)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
