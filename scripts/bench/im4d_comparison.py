"""Im4D, its K-Planes and ENeRF on a synthetic rig with fine texture: views of a camera that was not trained on.

nf-synth --layout zju --mesh-sequence MESHES --num-frames 30 --num-train-cameras 10 --resolution 192 \\
    --supersampling 3 --texture fine --output-dir SCENE
python scripts/bench/im4d_comparison.py --scene SCENE --output-dir RUNS

Runs that are already there are not repeated, so the command can be interrupted.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from cached_runs import cached_run

from nf_plugins.atomic_files import write_json

METHODS = ("im4d-tiny", "im4d-kplanes-tiny", "enerf-tiny")
METRICS = {
    "psnr": ("PSNR (dB)", 2),
    "psnr_box": ("PSNR in the box (dB)", 2),
    "psnr_fg": ("foreground PSNR (dB)", 2),
    "ssim_range1_box": ("SSIM in the box", 3),
    "detail_psnr": ("PSNR of fine texture (dB)", 2),
    "detail_energy": ("contrast of fine texture (1 = true)", 2),
}


@dataclass
class Options:
    """What to compare."""

    scene: Path
    """A scene in ZJU-MoCap's layout whose last camera is held out."""
    output_dir: Path
    """Folder of the runs."""
    result: Path = Path("docs/results/im4d.json")
    """The table."""
    methods: tuple[str, ...] = METHODS
    """Methods."""
    seeds: tuple[int, ...] = (42,)
    """Seeds of all runs."""
    steps: int = 3000
    """Training steps of the methods with planes."""
    enerf_steps: int = 2000
    """Training steps of enerf-tiny."""
    pixels: int = 256
    """Pixels of each of the two images of a batch."""
    scales: tuple[int, ...] = (32, 64, 128)
    """Cells of the planes along each axis."""
    proposal_scale: int = 64
    """Cells of the proposal's planes."""
    proposal_samples: int = 48
    """Intervals in which the proposal is asked."""
    samples: int = 24
    """Intervals that are rendered."""
    image_stride: int = 5
    """Evaluate every n-th held-out image."""
    parallel: int = 2
    """Runs at a time, one thread each."""
    notes: tuple[str, ...] = ()
    """Sentences to add below the table."""


def train_command(options: Options, method: str, seed: int) -> list[str]:
    """The training command of a run."""
    is_enerf = method.startswith("enerf")
    steps = str(options.enerf_steps if is_enerf else options.steps)
    groups = {"im4d-tiny": ("planes", "networks", "features"), "enerf-tiny": ("networks",)}.get(method, ("fields",))
    schedules = [word for group in groups for word in (f"--optimizers.{group}.scheduler.max-steps", steps)]
    sizes = [
        "--pipeline.model.density.scales", *map(str, options.scales),
        "--pipeline.model.proposal.scales", str(options.proposal_scale), "--pipeline.model.proposal.channels", "8",
        "--pipeline.model.num-proposal-samples", str(options.proposal_samples),
        "--pipeline.model.num-samples", str(options.samples),
        "--pipeline.datamanager.pixels-per-image", str(options.pixels),
    ]  # fmt: skip
    return [
        "ns-train", method, "--data", str(options.scene), "--output-dir", str(options.output_dir),
        "--experiment-name", f"seed-{seed}", "--timestamp", "run", "--resume", "--vis", "tensorboard",
        "--machine.seed", str(seed), "--max-num-iterations", steps, "--steps-per-save", "500",
        "--steps-per-eval-batch", "1000000", "--steps-per-eval-image", "1000000",
        "--steps-per-eval-all-images", "1000000", "--evaluate-after-training", "False",
        *([] if is_enerf else sizes), *schedules, "zju-mocap-data",
    ]  # fmt: skip


def run(options: Options, method: str, seed: int) -> dict[str, Any]:
    """Trains and evaluates, unless the same commands did it before."""
    folder = options.output_dir / f"seed-{seed}" / method / "run"
    result = folder / "evaluation" / "comparison.json"
    evaluate = [
        "nf-eval", "multiview", "--load-config", str(folder / "config.yml"), "--output-path", str(result),
        "--no-lpips", "--image-stride", str(options.image_stride),
    ]  # fmt: skip
    return cached_run(folder, [train_command(options, method, seed), evaluate], result, f"{method}, seed {seed}")


def row(method: str, seed: int, result: dict[str, Any]) -> list[Any]:
    """A row of the table."""
    means = result["mean"]
    cells = [f"{means[name]:.{digits}f}" for name, (_, digits) in METRICS.items()]
    return [method, seed, result["protocol"]["step"], *cells, f"{result['num_parameters'] / 1e3:.0f}"]


def main(options: Options) -> None:
    """Runs everything and writes the table."""
    jobs = [(method, seed) for seed in options.seeds for method in options.methods]
    with ThreadPoolExecutor(options.parallel) as pool:
        results = list(pool.map(lambda job: run(options, *job), jobs))
    block = results[0]["protocol"]
    settings = {
        name: value for name, value in asdict(options).items() if name != "notes" and not isinstance(value, Path)
    }
    write_json(
        options.result,
        {
            "title": "Im4D, its K-Planes and ENeRF on a rig of ten cameras, an eleventh held out",
            "command": "python scripts/bench/im4d_comparison.py --scene SCENE --output-dir RUNS",
            "protocol": {
                "scene": options.scene.name,
                "split": block["protocol_note"],
                "images": results[0]["num_images"],
                "resolution": "x".join(str(side) for side in block["resolution"]),
                "background": block["background"],
                "mask": block["mask_source"],
                "machine": block["machine"],
                "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
                **settings,
            },
            "columns": ["method", "seed", "last step", *(heading for heading, _ in METRICS.values()),
                        "thousand parameters"],
            "rows": [row(*job, result) for job, result in zip(jobs, results, strict=True)],
            "notes": [
                "Fine texture: both images without their Gaussian blur of two pixels, inside the mask, away from its "
                "edge.",
                *options.notes,
            ],
        },
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
