"""The six dynamic methods with and without residual layers, on one scene, for the same number of steps.

nf-synth --mesh-sequence MESHES --num-frames 100 --resample-frames --num-train-cameras 4 --output-dir SCENE
python scripts/bench/dynamic_nerf_comparison.py --scene SCENE --output-dir runs

Runs that are already there are not repeated, so the command can be interrupted. Writes a JSON table.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from nf_plugins.atomic_files import write_json

KINDS = ("tnerf", "dynerf", "dnerf", "nerfies", "hypernerf", "ndr")
COLUMNS = {
    "psnr": ("PSNR (dB)", 2),
    "psnr_fg": ("foreground PSNR (dB)", 2),
    "ssim": ("SSIM", 3),
    "mask_iou": ("mask IoU", 3),
    "chamfer_l1_sum": ("Chamfer (paper, x1000)", 1),
    "chamfer_l2_mean": ("Chamfer (mean L2, x1000)", 1),
}


@dataclass
class Options:
    """What to compare."""

    scene: Path
    """A scene of nf-synth in the Owlii layout, with true meshes."""
    output_dir: Path
    """Folder of the runs."""
    result: Path = Path("docs/results/dynamic_nerf.json")
    """The table."""
    kinds: tuple[str, ...] = KINDS
    """Methods."""
    seeds: tuple[int, ...] = (42, 43, 44)
    """Seeds; all of them for --seeded-kind, only the first for the other methods."""
    seeded_kind: str = "tnerf"
    """The method that is run with every seed."""
    steps: int = 500
    """Training steps of every run."""
    rays: int = 500
    """Rays of a batch."""
    samples: int = 12
    """Samples of a ray."""
    learning_rate: float = 2e-3
    """Starting learning rate; falls to a tenth of it."""
    mesh_frames: tuple[int, ...] = (0, 50, 99)
    """Frames whose meshes are compared with the true ones."""
    image_stride: int = 5
    """Evaluate every n-th test image."""
    parallel: int = 2
    """Runs at a time, one thread each."""


def train_command(options: Options, method: str, seed: int) -> list[str]:
    """The training command of a run."""
    return [
        "ns-train", method, "--data", str(options.scene), "--output-dir", str(options.output_dir),
        "--experiment-name", f"seed-{seed}", "--timestamp", "run", "--resume", "--vis", "tensorboard",
        "--machine.seed", str(seed), "--max-num-iterations", str(options.steps),
        "--steps-per-save", "400", "--steps-per-eval-batch", "100000", "--steps-per-eval-image", "100000",
        "--steps-per-eval-all-images", "100000", "--evaluate-after-training", "False",
        "--pipeline.datamanager.train-num-rays-per-batch", str(options.rays),
        "--optimizers.fields.optimizer.lr", str(options.learning_rate),
        "--optimizers.fields.scheduler.lr-final", str(options.learning_rate / 10),
        "--optimizers.fields.scheduler.max-steps", str(options.steps),
        "--pipeline.model.num-samples", str(options.samples), "--pipeline.model.num-eval-samples", "32",
        "--pipeline.model.encoding-annealing-steps", str(options.steps // 8),
        "--pipeline.model.loss-coefficients.mask", "0.3", "--pipeline.model.sdf-field.initial-beta", "0.05",
        "--pipeline.model.occupancy.start-step", "300",
    ]  # fmt: skip


def run(options: Options, method: str, seed: int) -> dict[str, Any]:
    """Trains and evaluates one method, unless that was done before."""
    folder = options.output_dir / f"seed-{seed}" / method / "run"
    evaluation = folder / "evaluation" / "comparison.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if not evaluation.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        started = time.time()
        evaluate = [
            "nf-eval", "--load-config", str(folder / "config.yml"), "--output-path", str(evaluation),
            "--mesh-frames", *map(str, options.mesh_frames), "--mesh-resolution", "96", "--mesh-samples", "20000",
            "--no-lpips", "--image-stride", str(options.image_stride),
        ]  # fmt: skip
        with (folder / "log.txt").open("a") as log:
            for command in (train_command(options, method, seed), evaluate):
                subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
        print(f"{method}, seed {seed}: {time.time() - started:.0f} s", flush=True)
    result = json.loads(evaluation.read_text())
    return {"method": method, "seed": seed, "folder": folder, "result": result}


def num_parameters(folder: Path) -> int:
    """Trained numbers of a run's newest checkpoint."""
    import torch

    checkpoint = sorted((folder / "nerfstudio_models").glob("step-*.ckpt"))[-1]
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["optimizers"]["fields"]["state"]
    return sum(entry["exp_avg"].numel() for entry in state.values())


def table_row(run_of: dict[str, Any]) -> list[Any]:
    """One row of the table."""
    from results_table import training_seconds  # the script beside this one

    result = run_of["result"]
    values = result["mean"] | result["geometry"]["mean"]
    cells = []
    for name, (_, digits) in COLUMNS.items():
        value = values[name] * (1000 if name.startswith("chamfer") else 1)
        cells.append(f"{value:.{digits}f}")
    folder = run_of["folder"]
    return [
        run_of["method"], run_of["seed"], *cells, f"{num_parameters(folder) / 1e3:.0f}",
        f"{training_seconds(folder):.0f}",
    ]  # fmt: skip


def main(options: Options) -> None:
    """Runs everything and writes the table."""
    jobs = [
        (f"{prefix}{kind}{suffix}", seed)
        for seed in options.seeds
        for kind in options.kinds
        if seed == options.seeds[0] or kind == options.seeded_kind
        for prefix, suffix in (("", "-sdf"), ("resfields-", ""))
    ]
    with ThreadPoolExecutor(options.parallel) as pool:
        runs = list(pool.map(lambda job: run(options, *job), jobs))
    block = runs[0]["result"]["protocol"]
    settings = {name: value for name, value in asdict(options).items() if not isinstance(value, (Path, tuple))}
    write_json(
        options.result,
        {
            "title": "Six dynamic methods with and without residual layers",
            "command": "python scripts/bench/dynamic_nerf_comparison.py --scene SCENE --output-dir RUNS",
            "protocol": {
                "scene": options.scene.name,
                "split": block["split"],
                "images": len(runs[0]["result"]["images"]),
                "resolution": "x".join(str(side) for side in block["resolution"]),
                "background": block["background"],
                "mask": block["mask_source"],
                "machine": block["machine"],
                "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
                **settings,
            },
            "columns": [
                "method", "seed", *(heading for heading, _ in COLUMNS.values()), "thousand parameters",
                "training seconds",
            ],
            "rows": [table_row(run_of) for run_of in runs],
            "notes": [],
        },
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
