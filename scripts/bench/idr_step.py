"""What a training step of IDR costs, and what two savings save, in turns in one process.

python scripts/bench/idr_step.py

Rays towards the sphere that training starts from; no data are needed. Also writes how many points a ray costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from method_configs import surfaces
from nf_plugins.atomic_files import write_json
from nf_plugins.evaluation.protocol import package_versions
from nf_plugins.models.idr import IDRModel
from nf_plugins.run_facts import machine_name


@dataclass
class Options:
    """What to measure."""

    output_path: Path = Path("docs/results/idr_step.json")
    """Where the table goes."""
    rays: int = 512
    """Rays of a step."""
    repetitions: int = 15
    """Measurements of each; the median counts."""


def small_model() -> IDRModel:
    """idr-tiny at its start."""
    torch.manual_seed(0)
    config: Any = surfaces.idr_tiny.config
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    model = config.pipeline.model.setup(
        scene_box=SceneBox(aabb=box), num_train_data=1, metadata={"scene_aabb": box, "fg_mask_filenames": ["mask.png"]}
    )
    return model.train()


def bundle_and_batch(num_rays: int) -> tuple[RayBundle, dict[str, Tensor]]:
    """Rays from distance 3 that pass the origin within 1; those within a half are in the mask."""
    origins = 3 * torch.nn.functional.normalize(torch.randn(num_rays, 3), dim=-1)
    offset = torch.rand(num_rays, 1)
    sideways = torch.linalg.cross(origins, torch.randn(num_rays, 3))
    targets = offset * torch.nn.functional.normalize(sideways, dim=-1)
    mask = (offset < 0.5).float()
    bundle = RayBundle(
        origins=origins,
        directions=torch.nn.functional.normalize(targets - origins, dim=-1),
        pixel_area=torch.ones(num_rays, 1),
        camera_indices=torch.zeros(num_rays, 1, dtype=torch.long),
        metadata={"fg_mask": mask},
    )
    return bundle, {"image": torch.rand(num_rays, 3), "fg_mask": mask}


def step(model: IDRModel, bundle: RayBundle, batch: dict[str, Tensor], second_pass: bool) -> None:
    """A step without the optimiser; with ``second_pass`` the distances of the rays are evaluated once more."""
    outputs = model(bundle)
    losses = list(model.get_loss_dict(outputs, batch).values())
    if second_pass:
        points = bundle.origins + outputs["depth"].detach() * bundle.directions
        losses.append(0 * model.field.signed_distance(points).sum())
    torch.stack(losses).sum().backward()


def medians(works: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median milliseconds of each work, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for repetition in range(repetitions + 2):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if repetition >= 2:
                times[name].append(1e3 * (time.perf_counter() - started))
    return {name: median(values) for name, values in times.items()}


def main(options: Options) -> None:
    """Measures and writes the table."""
    model = small_model()
    bundle, batch = bundle_and_batch(options.rays)
    in_mask = batch["fg_mask"][:, 0] > 0.5
    traced = model.trace(bundle.origins, bundle.directions, in_mask)
    cached = model.field.cached_weights

    def trace(with_cache: bool) -> None:
        model.field.cached_weights = cached if with_cache else nullcontext  # type: ignore[method-assign]
        model.trace(bundle.origins, bundle.directions, in_mask)
        model.field.cached_weights = cached  # type: ignore[method-assign]

    results = medians(
        {
            "step": lambda: step(model, bundle, batch, False),
            "step, distances of the rays evaluated once more": lambda: step(model, bundle, batch, True),
            "tracing alone": lambda: trace(True),
            "tracing alone, weights normalised at every evaluation": lambda: trace(False),
        },
        options.repetitions,
    )
    write_json(
        options.output_path,
        {
            "title": "A training step of IDR",
            "command": "python scripts/bench/idr_step.py",
            "protocol": {
                "method": "idr-tiny at its start",
                "rays": options.rays,
                "repetitions": f"{options.repetitions}, in turns, medians",
                "threads": torch.get_num_threads(),
                "machine": machine_name(torch.device("cpu")),
                "versions": ", ".join(f"{name} {version}" for name, version in package_versions().items()),
            },
            "columns": ["what", "milliseconds"],
            "rows": [[name, f"{value:.1f}"] for name, value in results.items()],
            "notes": [
                f"Tracing evaluates the distance at {traced.num_evaluations / options.rays:.1f} points a ray, without "
                "gradients; the losses look at 1.5 points a ray and at the surface points once more, with them."
            ],
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
