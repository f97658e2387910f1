"""NSFF with and without depth and flow, and a static NeRF, on a synthetic monocular video with known truth.

python scripts/bench/monocular_comparison.py --output-dir RUNS

Writes the scene first. Runs that are already there are not repeated, so the command can be interrupted. Measures views
of cameras that stand where the video's camera never was, at all times, and what optical flow the scene flow amounts to
against the true one.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from cached_runs import cached_run

from nf_plugins.atomic_files import write_json

METHOD = "nsff-tiny"
KINDS = ("static", "without priors", "nsff")


@dataclass
class Options:
    """What to compare."""

    output_dir: Path
    """Folder of the scene and the runs."""
    result: Path = Path("docs/results/monocular.json")
    """The table."""
    kinds: tuple[str, ...] = KINDS
    """nsff = nsff-tiny; without priors = the same without the losses of depth and flow; static = its static network
    alone, a NeRF to which all images show one time."""
    seeds: tuple[int, ...] = (42, 43)
    """Seeds of all runs."""
    frames: int = 16
    """Frames of the video."""
    resolution: int = 96
    """Rows of its images."""
    steps: int = 6000
    """Training steps."""
    steps_per_decay: int = 75
    """A stage has 25 times as many steps."""
    image_stride: int = 1
    """Evaluate every n-th image."""
    parallel: int = 2
    """Runs at a time, one thread each."""
    notes: tuple[str, ...] = ()
    """Sentences to add below the table."""


def scene_command(options: Options) -> list[str]:
    """The command that writes the scene; it does nothing where the same scene is."""
    return [
        "nf-synth", "--layout", "nsff", "--num-frames", str(options.frames), "--resolution", str(options.resolution),
        "--output-dir", str(options.output_dir / "scene"),
    ]  # fmt: skip


def train_command(options: Options, kind: str, seed: int) -> list[str]:
    """The training command of a run."""
    off = [f"--pipeline.model.loss-coefficients.{name}" for name in ("depth", "flow")]
    flags = {
        "static": ["--pipeline.model.field.static-only", "True"],
        "without priors": [word for option in off for word in (option, "0")],
        "nsff": [],
    }
    return [
        "ns-train", METHOD, "--data", str(options.output_dir / "scene"), "--output-dir", str(options.output_dir),
        "--experiment-name", f"{kind.replace(' ', '-')}-{seed}", "--timestamp", "run", "--resume",
        "--vis", "tensorboard", "--machine.seed", str(seed), "--max-num-iterations", str(options.steps),
        "--steps-per-save", "1000", "--steps-per-eval-batch", "1000000", "--steps-per-eval-image", "1000000",
        "--steps-per-eval-all-images", "1000000", "--evaluate-after-training", "False",
        "--pipeline.model.steps-per-decay", str(options.steps_per_decay),
        "--optimizers.fields.scheduler.decay-steps", str(3 * options.steps), *flags[kind], "nsff-data",
    ]  # fmt: skip


def run(options: Options, kind: str, seed: int) -> dict[str, Any]:
    """Trains and evaluates, unless the same commands did it before."""
    train = train_command(options, kind, seed)
    folder = options.output_dir / f"{kind.replace(' ', '-')}-{seed}" / METHOD / "run"
    evaluate = [
        "nf-eval", "monocular", "--load-config", str(folder / "config.yml"), "--no-lpips",
        "--image-stride", str(options.image_stride),
    ]  # fmt: skip
    result = folder / "evaluation" / "monocular_nsff.json"
    return cached_run(folder, [train, evaluate], result, f"{kind}, seed {seed}")


COLUMNS = (
    "method", "seed", "PSNR (dB)", "PSNR, what moves (dB)", "SSIM", "SSIM, what moves",
    "flow error (px)", "flow error, what moves (px)", "thousand parameters",
)  # fmt: skip


def row(kind: str, seed: int, result: dict[str, Any]) -> list[Any]:
    """A row of the table."""
    mean, flow = result["mean"], result["optical_flow"]
    flow_errors = (None, None) if flow is None else (flow["mean"]["epe"], flow["mean"]["epe_dynamic"])
    return [
        kind,
        seed,
        *(f"{mean[name]:.2f}" for name in ("psnr", "psnr_dynamic")),
        *(f"{mean[name]:.3f}" for name in ("ssim_range1", "ssim_range1_dynamic")),
        *("-" if error is None else f"{error:.2f}" for error in flow_errors),
        f"{result['num_parameters'] / 1e3:.0f}",
    ]


def main(options: Options) -> None:
    """Runs everything and writes the table."""
    subprocess.run(scene_command(options), check=True)
    jobs = [(kind, seed) for seed in options.seeds for kind in options.kinds]
    with ThreadPoolExecutor(options.parallel) as pool:
        results = list(pool.map(lambda job: run(options, *job), jobs))
    block = results[0]["protocol"]
    settings = {
        name: value
        for name, value in asdict(options).items()
        if name not in ("notes", "resolution") and not isinstance(value, Path)
    }
    write_json(
        options.result,
        {
            "title": "A synthetic monocular video, seen by cameras that it was not filmed with",
            "command": "python scripts/bench/monocular_comparison.py --output-dir RUNS",
            "protocol": {
                "scene": " ".join(scene_command(options)[:-2]),
                "name": block["name"],
                "split": block["protocol_note"],
                "images": results[0]["num_images"],
                "resolution": "x".join(str(side) for side in block["resolution"]),
                "background": block["background"],
                "mask": block["mask_source"],
                "machine": block["machine"],
                "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
                **settings,
            },
            "columns": list(COLUMNS),
            "rows": [row(*job, result) for job, result in zip(jobs, results, strict=True)],
            "notes": [
                "Flow error: mean distance between the optical flow that the scene flow amounts to, at the frames of "
                "the video to both neighbours, and the true one, where that is defined.",
                *options.notes,
            ],
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
