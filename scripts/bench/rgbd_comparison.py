"""What the depth of noisy RGB-D cameras adds: the surface error of one method with and without the depth loss.

    python scripts/bench/rgbd_comparison.py --meshes ../shared/data/meshes/samba --output-dir runs/rgbd

nf-synth photographs the mesh sequence with three RGB-D cameras; every variant trains for the same number of steps on
the same images and masks; nf-eval compares the meshes of some frames with the true ones. Takes about eight minutes on
two cores. Runs that are already there are not repeated, so the command can be interrupted. Writes a JSON table and its
page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from nf_plugins.atomic_files import atomic_path, write_json

METHOD = "resfields-tnerf"
VARIANTS = {
    "colour and mask": {},
    "and depth": {"depth": 0.1},
    "and depth and sparsity": {"depth": 0.1, "sparsity": 0.1},
}
"""Loss weights on top of the method's own; those of the published RGB-D runs."""
SPARSITY_START = 70_000 / 400_000
"""Published part of the schedule after which the sparsity loss counts."""
COLUMNS = {
    "chamfer_l2_mean": ("Chamfer (mean L2, x1000)", 1000, 2),
    "accuracy": ("accuracy (x1000)", 1000, 2),
    "completeness": ("completeness (x1000)", 1000, 2),
    "normal_distance": ("normal distance", 1, 3),
    "psnr_fg": ("foreground PSNR (dB)", 1, 2),
    "psnr": ("PSNR (dB)", 1, 2),
    "mask_iou": ("mask IoU", 1, 3),
}
"""Metric -> heading, factor, digits."""


@dataclass
class Options:
    """What to compare."""

    meshes: Path
    """Folder of a mesh sequence of constant topology."""
    output_dir: Path
    """Folder of the scene and the runs."""
    result: Path = Path("docs/results/rgbd.json")
    """The table; its page is written beside it."""
    up_axis: str = "y"
    """Axis of the meshes that points up."""
    cameras: int = 3
    """Number of RGB-D cameras."""
    num_frames: int = 24
    """Frames, resampled from the sequence."""
    resolution: int = 128
    """Width and height of the images, pixels."""
    depth_noise: float = 0.0015
    """Standard deviation of the depth at one metre, metres."""
    seeds: tuple[int, ...] = (42,)
    """Seeds of every variant."""
    steps: int = 800
    """Training steps of every run."""
    rays: int = 500
    """Rays of a batch."""
    samples: int = 12
    """Samples of a ray."""
    learning_rate: float = 2e-3
    """Starting learning rate; falls to a tenth of it."""
    mesh_frames: tuple[int, ...] = (0, 6, 12, 18, 23)
    """Frames whose meshes are compared with the true ones."""
    parallel: int = 2
    """Runs at a time, one thread each."""


def scene_command(options: Options) -> list[str]:
    """The command that photographs the meshes."""
    return [
        "nf-synth", "--mesh-sequence", str(options.meshes), "--up-axis", options.up_axis, "--resample-frames",
        "--num-frames", str(options.num_frames), "--num-train-cameras", str(options.cameras), "--rgbd",
        "--depth-noise", str(options.depth_noise), "--resolution", str(options.resolution),
        "--output-dir", str(options.output_dir / "scene"),
    ]  # fmt: skip


def train_command(options: Options, variant: str, seed: int) -> list[str]:
    """The training command of a run."""
    command = [
        "ns-train", METHOD, "--data", str(options.output_dir / "scene"), "--output-dir", str(options.output_dir),
        "--experiment-name", variant.replace(" ", "-"), "--timestamp", f"seed-{seed}", "--resume",
        "--vis", "tensorboard", "--machine.seed", str(seed), "--max-num-iterations", str(options.steps),
        "--steps-per-save", "400", "--steps-per-eval-batch", "100000", "--steps-per-eval-image", "100000",
        "--steps-per-eval-all-images", "100000", "--evaluate-after-training", "False",
        "--pipeline.datamanager.train-num-rays-per-batch", str(options.rays),
        "--optimizers.fields.optimizer.lr", str(options.learning_rate),
        "--optimizers.fields.scheduler.lr-final", str(options.learning_rate / 10),
        "--optimizers.fields.scheduler.max-steps", str(options.steps),
        "--pipeline.model.num-samples", str(options.samples), "--pipeline.model.num-eval-samples", "32",
        "--pipeline.model.encoding-annealing-steps", str(options.steps // 8),
        "--pipeline.model.sdf-field.initial-beta", "0.05", "--pipeline.model.occupancy.start-step", "300",
        "--pipeline.model.loss-start-steps.sparsity", str(round(SPARSITY_START * options.steps)),
    ]  # fmt: skip
    for loss, weight in VARIANTS[variant].items():
        command += [f"--pipeline.model.loss-coefficients.{loss}", str(weight)]
    return command


def run(options: Options, variant: str, seed: int) -> dict[str, Any]:
    """Trains and evaluates one variant, unless that was done before."""
    folder = options.output_dir / variant.replace(" ", "-") / METHOD / f"seed-{seed}"
    evaluation = folder / "evaluation" / "comparison.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if not evaluation.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        started = time.time()
        evaluate = [
            "nf-eval", "--load-config", str(folder / "config.yml"), "--output-path", str(evaluation),
            "--mesh-frames", *map(str, options.mesh_frames), "--mesh-resolution", "128", "--mesh-samples", "20000",
            "--no-lpips",
        ]  # fmt: skip
        with (folder / "log.txt").open("a") as log:
            for command in (train_command(options, variant, seed), evaluate):
                subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
        print(f"{variant}, seed {seed}: {time.time() - started:.0f} s", flush=True)
    return {"variant": variant, "seed": seed, "folder": folder, "result": json.loads(evaluation.read_text())}


def table_row(run_of: dict[str, Any]) -> list[Any]:
    """One row of the table."""
    from results_table import training_seconds  # the script beside this one

    values = run_of["result"]["mean"] | run_of["result"]["geometry"]["mean"]
    cells = [round(factor * values[name], digits) for name, (_, factor, digits) in COLUMNS.items()]
    return [run_of["variant"], run_of["seed"], *cells, round(training_seconds(run_of["folder"]))]


def write_table(options: Options, runs: list[dict[str, Any]]) -> None:
    """The JSON table and its page."""
    block = runs[0]["result"]["protocol"]
    geometry = runs[0]["result"]["geometry"]
    result = {
        "title": f"{options.cameras} noisy RGB-D cameras: with and without the depth loss",
        "command": "python scripts/bench/rgbd_comparison.py --meshes MESHES --output-dir RUNS",
        "protocol": {
            "method": METHOD,
            "scene": f"{options.meshes.name}, {options.num_frames} frames resampled in time, {options.cameras} RGB-D "
            "cameras of nf-synth",
            "depth noise": f"standard deviation {options.depth_noise:g} z^2 metres (z in metres), rounded to "
            "millimetres; half of the pixels at edges and those at grazing angles have none",
            "losses": "; ".join(f"{name}: {weights or 'defaults'}" for name, weights in VARIANTS.items())
            + f"; sparsity from step {round(SPARSITY_START * options.steps)}",
            "training": f"{options.steps} steps of {options.rays} rays of {options.samples} samples, learning rate "
            f"{options.learning_rate:g} with a cosine to a tenth",
            "geometry": f"frames {', '.join(map(str, options.mesh_frames))}; {geometry['num_samples']} samples, "
            f"{geometry['resolution']} cells, {geometry['units']} units (the subject fits the unit sphere)",
            "split": f"{block['split']} (cam_test, {block['num_images']} images)",
            "resolution": f"{options.resolution}x{options.resolution}",
            "background": block["background"],
            "mask": block["mask_source"],
            "machine": block["machine"],
            "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
        },
        "columns": ["losses", "seed", *(heading for heading, _, _ in COLUMNS.values()), "training seconds"],
        "rows": [table_row(run_of) for run_of in runs],
        "notes": [
            "accuracy is the mean distance from the extracted to the true surface, completeness the other way; lower "
            "is better in all columns but PSNR and IoU.",
            "All variants have the same masks, whose visual hull carves the grid; depth adds what silhouettes of "
            f"{options.cameras} cameras cannot tell.",
        ],
    }
    write_json(options.result, result)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from update_readme import results_page

    with atomic_path(options.result.with_suffix(".md")) as temporary:
        temporary.write_text(results_page(result), encoding="utf-8")


def main(options: Options) -> None:
    """Photographs, trains, evaluates and writes the table."""
    options.output_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(scene_command(options), check=True)
    jobs = [(variant, seed) for seed in options.seeds for variant in VARIANTS]
    with ThreadPoolExecutor(options.parallel) as pool:
        runs = list(pool.map(lambda job: run(options, *job), jobs))
    write_table(options, runs)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
