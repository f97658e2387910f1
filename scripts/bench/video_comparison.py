"""A video as a SIREN, with and without residual layers, and as a hash grid: PSNR on held-out and on training pixels.

The comparison of ResFields (ICLR 2024) for videos, made small: the plain network of the same width, the plain network
of (nearly) the same number of parameters, which is wider, and a hash grid of the same number, at its own learning rate
and at the published one. All train on the same pixels for the same number of steps.

    python scripts/bench/video_comparison.py --data ../shared/data/video/bikes.mp4

writes docs/results/video_bikes.json and the page beside it.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.video import VideoDataParserConfig
from method_configs.resfields_video import HASH_GRID_LEARNING_RATE, PUBLISHED_LEARNING_RATE, ngp_video, resfields_video
from nf_plugins.atomic_files import atomic_path, check_writable, write_json
from nf_plugins.engine.schedulers import CosineToFinalSchedulerConfig
from nf_plugins.errors import InputError
from nf_plugins.evaluation.contact_sheet import SheetRow, contact_sheet
from nf_plugins.evaluation.protocol import package_versions
from nf_plugins.fields.coordinate_field import CoordinateFieldConfig
from nf_plugins.models.video import VideoModel
from nf_plugins.run_facts import machine_name

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Options:
    """What to compare; the defaults take about ten to twelve minutes on two cores."""

    data: Path = Path("../shared/data/video/bikes.mp4")
    """Video."""
    num_frames: int = 100
    """Its first so many frames."""
    downscale_factor: int = 2
    """Their reduction."""
    width: int = 64
    """Width of the networks with and without residual layers."""
    rank: int = 10
    """Rank of the residuals, on layers 1, 2 and 3."""
    hash_num_levels: int = 8
    """Levels of the hash grid."""
    hash_log2_table_size: int = 13
    """Entries of a level, as a power of two."""
    steps: int = 1500
    """Training steps of every run."""
    rays: int = 16_384
    """Pixels of a batch, over all frames."""
    learning_rate: float = 2e-3
    """Adam's learning rate for the two networks of --width, with the published cosine to a tenth; the published rate is
    for 100 000 steps."""
    wide_learning_rate: float = 5e-4
    """That of the wide network, which diverges at the former. Both are the best of 5e-4, 1e-3 and 2e-3 over the first
    steps."""
    evaluations: int = 8
    """How often the held-out PSNR is measured on the way."""
    seed: int = 42
    """Seed of weights and batches; the held-out pixels have their own."""
    only: tuple[str, ...] = ()
    """Names of the runs to make; all when not given."""
    output_path: Path | None = Path("docs/results/video_bikes.json")
    """JSON file for the figures; its page is written beside it."""
    picture_path: Path | None = None
    """PNG of what the runs show, beside the truth."""


@dataclass
class Run:
    """One network and how it is trained."""

    name: str
    network: CoordinateFieldConfig
    learning_rate: float
    eps: float = 1e-8
    parameters: int = 0
    seconds: float = 0.0
    results: dict[str, float | None] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, training seconds, held-out PSNR."""


def parameter_count(network: CoordinateFieldConfig, num_frames: int) -> int:
    """Parameters of a network."""
    built = network.setup(in_dim=3, out_dim=3, num_frames=num_frames)
    return sum(parameter.numel() for parameter in built.parameters())


def width_for(parameters: int, network: CoordinateFieldConfig, num_frames: int) -> int:
    """The width at which a network comes nearest to a number of parameters."""
    low, high = 1, 1
    while parameter_count(replace(network, hidden_dim=high), num_frames) < parameters:
        low, high = high, 2 * high
    return min(
        range(low, high + 1),
        key=lambda width: abs(parameter_count(replace(network, hidden_dim=width), num_frames) - parameters),
    )


def runs_of(options: Options) -> list[Run]:
    """The contestants."""
    base: CoordinateFieldConfig = resfields_video.config.pipeline.model.field
    residual = replace(base, hidden_dim=options.width, residual_rank=(options.rank,))
    plain = replace(residual, residual_layers=())
    count = parameter_count(residual, options.num_frames)
    wide = replace(plain, hidden_dim=width_for(count, plain, options.num_frames))
    grid = replace(
        ngp_video.config.pipeline.model.field,
        hash_num_levels=options.hash_num_levels,
        hash_log2_table_size=options.hash_log2_table_size,
    )
    rate = options.learning_rate
    runs = [
        Run(f"SIREN-{options.width}", plain, rate),
        Run(f"SIREN-{options.width} + residual layers", residual, rate),
        Run(f"SIREN-{wide.hidden_dim}", wide, options.wide_learning_rate),
        Run("hash grid", grid, HASH_GRID_LEARNING_RATE, eps=1e-15),
        Run("hash grid, published rate", grid, PUBLISHED_LEARNING_RATE, eps=1e-15),
    ]
    for run in runs:
        run.parameters = parameter_count(run.network, options.num_frames)
    names = [run.name for run in runs]
    unknown = [name for name in options.only if name not in names]
    if unknown:
        raise InputError(f"--only names {', '.join(unknown)}, expected some of {', '.join(names)}.")
    return [run for run in runs if not options.only or run.name in options.only]


def build_pipeline(run: Run, options: Options) -> VanillaPipeline:
    """The pipeline of a run, as ns-train would build it."""
    base = resfields_video.config.pipeline
    dataparser = VideoDataParserConfig(
        data=options.data, num_frames=options.num_frames, downscale_factor=options.downscale_factor
    )
    datamanager = replace(base.datamanager, data=None, dataparser=dataparser, train_num_rays_per_batch=options.rays)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = replace(base.model, field=run.network)
    return replace(base, datamanager=datamanager, model=model).setup(device=device, test_mode="test")


def train(run: Run, options: Options) -> VideoModel:
    """Trains and measures a run; time is that of training steps alone."""
    pipeline = build_pipeline(run, options)
    model = pipeline.model
    assert isinstance(model, VideoModel)
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=run.learning_rate, eps=run.eps)
    schedule = CosineToFinalSchedulerConfig(lr_final=run.learning_rate / 10, max_steps=options.steps)
    scheduler = schedule.setup().get_scheduler(optimizer, run.learning_rate)
    marks = {round(options.steps * part / options.evaluations) for part in range(1, options.evaluations + 1)}
    for step in range(options.steps):
        pipeline.train()
        start = time.perf_counter()
        _, loss_dict, _ = pipeline.get_train_loss_dict(step)
        optimizer.zero_grad(set_to_none=True)
        loss_dict["rgb_loss"].backward()
        optimizer.step()
        scheduler.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        run.seconds += time.perf_counter() - start
        if step + 1 in marks:
            pipeline.eval()
            psnr = model.protocol_results(("psnr_test",))["psnr_test"]
            assert psnr is not None
            run.curve.append((step + 1, round(run.seconds, 2), round(psnr, 3)))
            print(f"{run.name}: step {step + 1}, {run.seconds:.0f} s, held-out pixels {psnr:.2f} dB", flush=True)
    run.results = model.protocol_results()
    return model


@torch.no_grad()
def pictures(model: VideoModel, frames: list[int]) -> list[np.ndarray]:
    """What a model shows at frames, uint8 (H, W, 3)."""
    height, width = model.clip.size
    shown = [model.pixel_colors(frame, torch.arange(height * width)).view(height, width, 3) for frame in frames]
    return [(255 * image.clamp(0, 1)).round().to(torch.uint8).cpu().numpy() for image in shown]


def psnr_after(run: Run, seconds: float) -> float | None:
    """Held-out PSNR of a run after so many training seconds, between its evaluations; None before the first one."""
    points = [(0.0, float("nan")), *((at, psnr) for _, at, psnr in run.curve)]
    for (before, low), (after, high) in zip(points[:-1], points[1:], strict=True):
        if before <= seconds <= after:
            value = low + (seconds - before) / (after - before) * (high - low)
            return None if np.isnan(value) else value
    return run.curve[-1][2]


def equal_time_notes(runs: list[Run]) -> list[str]:
    """What slower networks had reached when the one with residual layers was done."""
    reference = next((run for run in runs if run.network.residual_layers and run.network.network == "siren"), None)
    if reference is None:
        return []
    slower = [run for run in runs if run.seconds > 1.2 * reference.seconds]
    reached = {run.name: psnr_after(run, reference.seconds) for run in slower}
    # One that was not measured by then has nothing to tell.
    told = [f"{name} stood at {psnr:.2f} dB" for name, psnr in reached.items() if psnr is not None]
    if not told:
        return []
    return [
        f"At equal training time ({reference.seconds:.0f} s, in the middle of their own schedules) on held-out pixels: "
        f"{'; '.join(told)}; {reference.name} at {reference.curve[-1][2]:.2f} dB."
    ]


def result_of(runs: list[Run], size: tuple[int, int], options: Options) -> dict[str, Any]:
    """The content of the results file."""
    flags = []
    for name, value in vars(options).items():
        if value != getattr(Options(), name) and name not in ("data", "output_path", "picture_path"):
            values = value if isinstance(value, tuple) else (value,)
            flags.append(f"--{name.replace('_', '-')} {shlex.join(map(str, values))}")
    rows = []
    for run in runs:
        test, train_psnr = run.results["psnr_test"], run.results["psnr_train"]
        rows.append(
            [
                run.name,
                run.parameters,
                f"{run.learning_rate:g}",
                f"{test:.2f}",
                f"{train_psnr:.2f}",
                f"{run.seconds:.0f}",
            ]
        )
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return {
        "title": f"Video: {options.data.stem}, with and without residual layers",
        "command": " ".join(["python scripts/bench/video_comparison.py --data", str(options.data), *flags]),
        "protocol": {
            "video": f"{options.data.name}, first {options.num_frames} frames",
            "resolution": f"{size[1]}x{size[0]} (downscale factor {options.downscale_factor})",
            "split": "int(0.1 H W) random pixels of every frame held out, numpy seed 42",
            "metric": "-10 log10 of one mean squared error over all held-out (training) pixels, colours not limited",
            "residual layers": f"1, 2, 3 of rank {options.rank}; 4 hidden layers, omega 30",
            "hash grid": f"{options.hash_num_levels} levels of at most 2^{options.hash_log2_table_size} entries",
            "steps": options.steps,
            "pixels per step": options.num_frames * (options.rays // options.num_frames),
            "optimiser": "Adam, one cosine to a tenth of the learning rate over all steps",
            "seed": options.seed,
            "machine": machine_name("cuda" if torch.cuda.is_available() else "cpu"),
            "versions": versions,
        },
        "columns": [
            "network",
            "parameters",
            "learning rate",
            "PSNR held-out pixels (dB)",
            "PSNR training pixels (dB)",
            "training seconds",
        ],
        "rows": rows,
        "notes": [
            "Equal steps and batches for all. The widest SIREN has the parameters of the one with residual layers.",
            *equal_time_notes(runs),
            "The published runs are 512 wide, at full resolution, with 200 000 pixels a step for 100 000 steps at a "
            "learning rate of 5e-5.",
        ],
        "curves": {run.name: run.curve for run in runs},
    }


def write_page(path: Path, result: dict[str, Any]) -> None:
    """The page of a results file, as scripts/update_readme.py writes it."""
    spec = importlib.util.spec_from_file_location("update_readme", ROOT / "scripts" / "update_readme.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generator
    spec.loader.exec_module(generator)
    with atomic_path(path) as temporary:
        temporary.write_text(generator.results_page(result), encoding="utf-8")


def main(options: Options) -> None:
    """Trains every run, prints and writes the table."""
    paths = [path for path in (options.output_path, options.picture_path) if path is not None]
    for path in paths:
        check_writable(path)
    runs = runs_of(options)
    frames = np.linspace(0, options.num_frames - 1, 3).round().astype(int).tolist()
    columns: list[list[np.ndarray]] = []
    size = (0, 0)
    for run in runs:
        model = train(run, options)
        size = model.clip.size
        if not columns:
            columns.append([model.clip.frames[frame].numpy() for frame in frames])
        columns.append(pictures(model, frames))
    result = result_of(runs, size, options)
    for row in result["rows"]:
        print(dict(zip(result["columns"], row, strict=True)))
    if options.output_path is not None:
        write_json(options.output_path, result)
        write_page(options.output_path.with_suffix(".md"), result)
    if options.picture_path is not None:
        from nf_plugins.exporters.image_files import write_image

        rows = [SheetRow(f"frame {frame}", [column[i] for column in columns]) for i, frame in enumerate(frames)]
        write_image(options.picture_path, contact_sheet(rows, ["true", *(run.name for run in runs)]))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
