"""The six dynamic methods with and without residual layers, on one scene, for the same number of steps.

nf-synth --mesh-sequence MESHES --num-frames 100 --resample-frames --num-train-cameras 4 --output-dir SCENE
python scripts/bench/dynamic_nerf_comparison.py --scene SCENE --output-dir runs

Runs that are already there are not repeated, so the command can be interrupted. Writes a JSON table.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from cached_runs import cached_run

from nf_plugins.atomic_files import write_json

KINDS = ("tnerf", "dynerf", "dnerf", "nerfies", "hypernerf", "ndr")
LEARNING_RATES = {"ndr": 5e-4}
"""Methods with a learning rate of their own: NDR diverges at that of the others."""
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
    seeds: tuple[int, ...] = (42, 43)
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
    notes: tuple[str, ...] = ()
    """Sentences to add below the table."""
    parallel: int = 2
    """Runs at a time, one thread each."""


def train_command(options: Options, method: str, seed: int) -> list[str]:
    """The training command of a run."""
    kind = method.removeprefix("resfields-").removesuffix("-sdf")
    rate = LEARNING_RATES.get(kind, options.learning_rate)
    return [
        "ns-train", method, "--data", str(options.scene), "--output-dir", str(options.output_dir),
        "--experiment-name", f"seed-{seed}", "--timestamp", "run", "--resume", "--vis", "tensorboard",
        "--machine.seed", str(seed), "--max-num-iterations", str(options.steps),
        "--steps-per-save", "400", "--steps-per-eval-batch", "100000", "--steps-per-eval-image", "100000",
        "--steps-per-eval-all-images", "100000", "--evaluate-after-training", "False",
        "--pipeline.datamanager.train-num-rays-per-batch", str(options.rays),
        "--optimizers.fields.optimizer.lr", str(rate),
        "--optimizers.fields.scheduler.lr-final", str(rate / 10),
        "--optimizers.fields.scheduler.max-steps", str(options.steps),
        "--pipeline.model.num-samples", str(options.samples), "--pipeline.model.num-eval-samples", "32",
        "--pipeline.model.encoding-annealing-steps", str(options.steps // 8),
        "--pipeline.model.loss-coefficients.mask", "0.3", "--pipeline.model.sdf-field.initial-beta", "0.05",
        "--pipeline.model.occupancy.start-step", "300",
    ]  # fmt: skip


def evaluate_command(options: Options, folder: Path, output_path: Path) -> list[str]:
    """The command that measures a run."""
    return [
        "nf-eval", "--load-config", str(folder / "config.yml"), "--output-path", str(output_path),
        "--mesh-frames", *map(str, options.mesh_frames), "--mesh-resolution", "96", "--mesh-samples", "20000",
        "--no-lpips", "--image-stride", str(options.image_stride),
    ]  # fmt: skip


def run(options: Options, method: str, seed: int) -> dict[str, Any]:
    """Trains and evaluates one method, unless the same commands did it before."""
    folder = options.output_dir / f"seed-{seed}" / method / "run"
    evaluation = folder / "evaluation" / "comparison.json"
    commands = [train_command(options, method, seed), evaluate_command(options, folder, evaluation)]
    result = cached_run(folder, commands, evaluation, f"{method}, seed {seed}")
    return {"method": method, "seed": seed, "result": result}


def table_row(run_of: dict[str, Any]) -> list[Any]:
    """One row of the table."""
    result = run_of["result"]
    values = result["mean"] | result["geometry"]["mean"]
    cells = []
    for name, (_, digits) in COLUMNS.items():
        value = values[name] * (1000 if name.startswith("chamfer") else 1)
        cells.append(f"{value:.{digits}f}")
    thousands = f"{result['num_parameters'] / 1e3:.0f}"
    return [run_of["method"], run_of["seed"], *cells, thousands, f"{result['training']['seconds']:.0f}"]


def summary_notes(runs: list[dict[str, Any]]) -> list[str]:
    """What the table says of the claim that residual layers lift every method."""

    def psnr_fg(method: str, seed: int) -> float:
        return next(run["result"]["mean"]["psnr_fg"] for run in runs if run["method"] == method and run["seed"] == seed)

    pairs = [(run["method"].removesuffix("-sdf"), run["seed"]) for run in runs if run["method"].endswith("-sdf")]
    gains = {pair: psnr_fg(f"resfields-{pair[0]}", pair[1]) - psnr_fg(f"{pair[0]}-sdf", pair[1]) for pair in pairs}
    first_seed = pairs[0][1]
    text = ", ".join(f"{kind} {gain:+.2f}" for (kind, seed), gain in gains.items() if seed == first_seed)
    notes = [f"Gain in foreground PSNR by residual layers, dB, seed {first_seed}: {text}."]
    repeated = pairs[0][0]
    values = {seed: gain for (kind, seed), gain in gains.items() if kind == repeated}
    if len(values) > 1:
        each = ", ".join(f"{gain:+.2f} (seed {seed})" for seed, gain in values.items())
        notes.append(f"The gain of {repeated} with each seed: {each}.")
    return notes


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
    settings = {
        name: value for name, value in asdict(options).items() if name != "notes" and not isinstance(value, Path)
    }
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
            "notes": [*summary_notes(runs), *options.notes],
        },
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
