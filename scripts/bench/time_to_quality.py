"""Seconds until variants of a method reach the same foreground PSNR on held-out pixels.

All variants train in one process in turns of a few seconds, so that a machine whose speed drifts is fair to each. Time
counts training alone (with carving and occupancy updates), not evaluation. The target is what the first variant (the
default) has reached after ``--reference-seconds``; the others get ``--patience`` times that long.

    python scripts/bench/time_to_quality.py --data data/demo --output-path docs/results/time_to_quality.json
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from dataparsers.owlii import OwliiDataParserConfig
from method_configs.resfields import resfields_tnerf, resfields_tnerf_published
from nf_plugins.engine.schedulers import CosineToFinalSchedulerConfig
from nf_plugins.models.resfields import ResFieldsModelConfig

DEFAULT: ResFieldsModelConfig = resfields_tnerf.config.pipeline.model
PUBLISHED: ResFieldsModelConfig = resfields_tnerf_published.config.pipeline.model


def variants(annealing_steps: int) -> dict[str, tuple[ResFieldsModelConfig, Any]]:
    """Model and pixel sampler of each variant; all else is equal."""
    default_sampler = resfields_tnerf.config.pipeline.datamanager.pixel_sampler
    published_sampler = resfields_tnerf_published.config.pipeline.datamanager.pixel_sampler
    occupancy = replace(DEFAULT.occupancy, start_step=300)
    models = {
        "default": (replace(DEFAULT, occupancy=occupancy), default_sampler),
        "eikonal everywhere": (replace(DEFAULT, occupancy=occupancy, eikonal_fraction=1.0), default_sampler),
        "64 samples in the box": (
            replace(DEFAULT, occupancy=replace(occupancy, enabled=False), num_samples=64),
            default_sampler,
        ),
        "published": (PUBLISHED, published_sampler),
    }
    return {
        name: (replace(model, encoding_annealing_steps=annealing_steps), replace(sampler))
        for name, (model, sampler) in models.items()
    }


@dataclass
class Options:
    """What to compare and for how long."""

    data: Path = Path("data/demo")
    """Scene."""
    dataparser: Literal["owlii-data", "dnerf-rgba-data"] = "owlii-data"
    """Its layout."""
    compare: tuple[str, ...] = ("default", "published")
    """Variants, the reference first: default, 'eikonal everywhere', '64 samples in the box', published."""
    rays: int = 512
    """Rays of a batch, the same for all."""
    learning_rate: float = 2e-3
    """Adam's learning rate, the same for all, with the published cosine over ``schedule_steps``."""
    schedule_steps: int = 4000
    """Length of the cosine."""
    annealing_steps: int = 100
    """Steps over which the encodings fade in."""
    reference_seconds: float = 60.0
    """Training time of the reference that sets the target."""
    patience: float = 6.0
    """The others stop after this many times the reference's time, target reached or not."""
    turn_seconds: float = 10.0
    """Length of a turn."""
    eval_rays: int = 2000
    """Held-out foreground pixels that the PSNR is taken over."""
    seed: int = 42
    """Seed of weights and rays."""
    output_path: Path | None = None
    """JSON file for the figures."""


@dataclass
class Contestant:
    """A variant in training."""

    name: str
    pipeline: VanillaPipeline
    optimizer: torch.optim.Optimizer
    scheduler: Any
    callbacks: list[Any]
    held_out: tuple[Any, dict[str, torch.Tensor]]
    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[float, int, float]] = field(default_factory=list)

    def train_for(self, seconds: float) -> None:
        """Trains for a turn."""
        self.pipeline.train()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for callback in self.callbacks:
                callback.run_callback_at_location(self.step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            _, loss_dict, _ = self.pipeline.get_train_loss_dict(self.step)
            self.optimizer.zero_grad()
            torch.stack(list(loss_dict.values())).sum().backward()
            self.optimizer.step()
            self.scheduler.step()
            self.step += 1
        self.seconds += time.perf_counter() - start

    @torch.no_grad()
    def evaluate(self) -> float:
        """Foreground PSNR over the held-out rays, rendered without background."""
        self.pipeline.eval()
        ray_bundle, batch = self.held_out
        error, weight = 0.0, 0.0
        for start in range(0, len(ray_bundle), 500):
            part = slice(start, start + 500)
            rendered = self.pipeline.model(ray_bundle[part])["rgb"]
            mask = batch["fg_mask"][part]
            error += float((mask * (rendered - batch["image"][part]) ** 2).sum())
            weight += float(3 * mask.sum())
        psnr = -10 * float(np.log10(error / weight))
        self.curve.append((round(self.seconds, 2), self.step, round(psnr, 3)))
        return psnr

    def seconds_to(self, target: float) -> float | None:
        """Training time at which the curve crosses the target, interpolated; None if it never does."""
        previous = (0.0, -np.inf)
        for seconds, _, psnr in self.curve:
            if psnr >= target:
                if not np.isfinite(previous[1]):
                    return seconds
                return previous[0] + (seconds - previous[0]) * (target - previous[1]) / (psnr - previous[1])
            previous = (seconds, psnr)
        return None


def enter(name: str, options: Options) -> Contestant:
    """Builds a variant on the scene."""
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002
    model, sampler = variants(options.annealing_steps)[name]
    parsers = {"owlii-data": OwliiDataParserConfig, "dnerf-rgba-data": DNeRFRGBADataParserConfig}
    base = resfields_tnerf.config.pipeline
    datamanager = replace(
        base.datamanager,
        data=options.data,
        dataparser=parsers[options.dataparser](data=options.data),
        pixel_sampler=sampler,
        train_num_rays_per_batch=options.rays,
        eval_num_rays_per_batch=options.eval_rays,
    )
    pipeline = replace(base, datamanager=datamanager, model=model).setup(device="cpu", test_mode="test")
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=options.learning_rate)
    schedule = CosineToFinalSchedulerConfig(lr_final=options.learning_rate / 10, max_steps=options.schedule_steps)

    class Attributes:
        """What nerfstudio hands to callbacks."""

    Attributes.pipeline = pipeline  # type: ignore[attr-defined]
    eval_sampler, _ = pipeline.datamanager.eval_sampler_and_store
    eval_sampler.config = replace(eval_sampler.config, strategy="frame_balanced", foreground_fraction=1.0)
    if not hasattr(eval_sampler, "frame_start"):
        raise SystemExit("The held-out images have no masks.")
    torch.manual_seed(options.seed)
    held_out = pipeline.datamanager.next_eval(0)
    return Contestant(
        name,
        pipeline,
        optimizer,
        schedule.setup().get_scheduler(optimizer, options.learning_rate),
        pipeline.get_training_callbacks(Attributes),  # type: ignore[arg-type]
        held_out,
    )


def main(options: Options) -> None:
    """Trains the variants in turns and prints when each reached the target."""
    contestants = [enter(name, options) for name in options.compare]
    reference, others = contestants[0], contestants[1:]
    target: float | None = None
    limit = options.patience * options.reference_seconds
    while True:
        running = [reference] if target is None else []
        running += [c for c in others if c.seconds < limit and (target is None or c.seconds_to(target) is None)]
        if not running:
            break
        for contestant in running:
            contestant.train_for(options.turn_seconds)
            psnr = contestant.evaluate()
            print(f"{contestant.name}: {contestant.seconds:.0f} s, {contestant.step} steps, {psnr:.2f} dB", flush=True)
        if target is None and reference.seconds >= options.reference_seconds:
            target = reference.curve[-1][2]
    assert target is not None
    reference_seconds = reference.seconds_to(target)
    assert reference_seconds is not None
    rows = []
    for contestant in contestants:
        reached = contestant.seconds_to(target)
        best = max(psnr for _, _, psnr in contestant.curve)
        factor = (reached or contestant.seconds) / reference_seconds
        rows.append(
            [
                contestant.name,
                f"{reached:.0f}" if reached is not None else f"not in {contestant.seconds:.0f}",
                f"{factor:.1f}" if reached is not None else f"> {factor:.1f}",
                contestant.step,
                f"{best:.2f}",
            ]
        )
    result = {
        "title": "Training time to equal foreground PSNR",
        "command": f"python scripts/bench/time_to_quality.py --data {options.data} --reference-seconds "
        f"{options.reference_seconds:g} --patience {options.patience:g} --turn-seconds {options.turn_seconds:g}",
        "protocol": {
            "scene": options.data.name,
            "target": f"{target:.2f} dB over {options.eval_rays} held-out foreground pixels",
            "rays per batch": options.rays,
            "learning rate": f"{options.learning_rate:g}, cosine over {options.schedule_steps} steps",
            "encodings": f"fade in over {options.annealing_steps} steps; occupancy updates from step 300",
            "seed": options.seed,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "torch": torch.__version__.split("+")[0],
        },
        "columns": ["variant", "seconds to target", "times the default", "steps taken", "best PSNR (dB)"],
        "rows": rows,
        "notes": [
            "All variants train in one process in turns; time is training time alone.",
            "'published' has the published sampling, eikonal term, pixel sampler and background (256 samples in the "
            "whole box, eikonal at all of them), but batch, learning rate and schedule of this table, so that only "
            "what is compared differs; its own preset trains 1100 rays for 400 000 steps.",
        ],
        "curves": {c.name: c.curve for c in contestants},
    }
    print(json.dumps(result, indent=2))
    if options.output_path is not None:
        options.output_path.parent.mkdir(parents=True, exist_ok=True)
        options.output_path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
