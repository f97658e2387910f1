"""Encodings of IDR on one DTU scan with equal steps, and the refinement of noisy cameras.

python scripts/bench/dtu_comparison.py --scan SCAN --output-dir RUNS

Runs that are already there are not repeated, so the command can be interrupted. Writes two JSON tables.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro
from cached_runs import cached_run

from nf_plugins.atomic_files import write_json

METHODS = ("idr-tiny", "idr-hash-tiny", "idr-nffb-tiny", "idr-stylemod-nffb-tiny")
PUBLISHED_EPOCHS = 2001
ALPHA_EPOCHS = (250, 500, 750, 1000, 1250)
REFINED = ("--pipeline.model.camera-optimizer.mode", "SO3xR3")


@dataclass
class Options:
    """What to compare."""

    scan: Path
    """A DTU scan in the layout of IDR or NeuS."""
    output_dir: Path
    """Folder of the runs."""
    result_dir: Path = Path("docs/results")
    """Folder of the tables."""
    methods: tuple[str, ...] = METHODS
    """Methods of the first table."""
    camera_method: str = "idr-tiny"
    """Method of the second table; none leaves it out."""
    steps: int = 2500
    """Training steps of every run."""
    rays: int = 512
    """Rays of a batch."""
    downscale_factor: int = 2
    """Reduction of the images."""
    eval_interval: int = 8
    """Every n-th view is held out."""
    pose_noise_degrees: float = 1.0
    """Standard deviation of the added rotations."""
    pose_noise_translation: float = 5.0
    """Standard deviation of the added shifts along each axis, millimetres."""
    camera_learning_rate: float = 1e-3
    """Of the cameras, where they are refined."""
    mesh_resolution: int = 96
    """Grid points along the shortest side of the object's box."""
    seed: int = 42
    """Seed of all runs."""
    parallel: int = 2
    """Runs at a time, one thread each."""
    notes: tuple[str, ...] = ()
    """Sentences to add below the first table."""
    camera_notes: tuple[str, ...] = ()
    """Sentences to add below the second table."""


@dataclass(frozen=True)
class Job:
    """One run."""

    name: str
    """Name of its folder."""
    method: str
    """Method name."""
    model_flags: tuple[str, ...] = ()
    """Further options of the method."""
    data_flags: tuple[str, ...] = field(default=())
    """Further options of the dataparser."""


def train_command(options: Options, job: Job) -> list[str]:
    """The training command: the published schedules, compressed to the number of steps."""
    alpha = [str(options.steps * epoch // PUBLISHED_EPOCHS) for epoch in ALPHA_EPOCHS]
    decay = [str(options.steps * epoch // PUBLISHED_EPOCHS) for epoch in (1000, 1500)]
    if "neus" in job.method:
        schedules = [
            "--optimizers.fields.scheduler.max-steps", str(options.steps),
            "--optimizers.encodings.scheduler.max-steps", str(options.steps),
        ]  # fmt: skip
    else:
        schedules = [
            "--pipeline.model.mask-alpha-milestones", *alpha,
            "--optimizers.fields.scheduler.milestones", *decay, "--optimizers.encodings.scheduler.milestones", *decay,
        ]  # fmt: skip
    return [
        "ns-train", job.method, "--data", str(options.scan), "--output-dir", str(options.output_dir),
        "--experiment-name", job.name, "--timestamp", "run", "--resume", "--vis", "tensorboard",
        "--machine.seed", str(options.seed), "--max-num-iterations", str(options.steps), "--steps-per-save", "500",
        "--steps-per-eval-batch", "1000000", "--steps-per-eval-image", "1000000",
        "--steps-per-eval-all-images", "1000000", "--evaluate-after-training", "False",
        "--pipeline.datamanager.train-num-rays-per-batch", str(options.rays), *schedules,
        "--optimizers.camera-opt.optimizer.lr", str(options.camera_learning_rate), *job.model_flags,
        "dtu-data", "--downscale-factor", str(options.downscale_factor), "--eval-mode", "interval",
        "--eval-interval", str(options.eval_interval), *job.data_flags,
    ]  # fmt: skip


def evaluate_command(options: Options, folder: Path) -> list[str]:
    """The command that measures a run."""
    return [
        "nf-eval", "dtu", "--load-config", str(folder / "config.yml"), "--no-lpips",
        "--mesh-resolution", str(options.mesh_resolution),
    ]  # fmt: skip


def run(options: Options, job: Job) -> dict[str, Any]:
    """Trains and evaluates, unless the same commands did it before."""
    folder = options.output_dir / job.name / job.method / "run"
    commands = [train_command(options, job), evaluate_command(options, folder)]
    return cached_run(folder, commands, folder / "evaluation" / "dtu.json", f"{job.name}, {job.method}")


def encoding_row(method: str, result: dict[str, Any]) -> list[str]:
    """A row of the first table."""
    trained, held_out = result["train_views"]["mean"], result["held_out_views"]["mean"]
    return [
        method,
        f"{result['num_parameters'] / 1e3:.0f}",
        f"{trained['psnr_fg']:.2f}",
        f"{held_out['psnr_fg']:.2f}",
        f"{held_out['ssim_fg']:.3f}",
        f"{held_out['mask_iou']:.3f}",
        f"{result['mesh']['num_faces'] / 1e3:.0f}" if result["mesh"] else "-",
        f"{result['training']['seconds']:.0f}",
    ]


def camera_row(name: str, result: dict[str, Any]) -> list[str]:
    """A row of the second table."""
    errors = result["camera_accuracy"]
    before, after = errors["before"], errors["after"]
    return [
        name,
        *(
            f"{side[kind][statistic]:.{digits}f}"
            for kind, digits in (("rotation_degrees", 3), ("translation_world_units", 2))
            for statistic in ("mean", "median")
            for side in (before, after)
        ),
        f"{result['train_views']['mean']['psnr_fg']:.2f}",
        f"{result['held_out_views']['mean']['psnr_fg']:.2f}",
    ]


def camera_jobs(options: Options) -> list[Job]:
    """Noisy cameras as they are and refined; the scan's own inaccurate cameras likewise, where it has them."""
    noise = (
        "--pose-noise-degrees", str(options.pose_noise_degrees),
        "--pose-noise-translation", str(options.pose_noise_translation),
    )  # fmt: skip
    jobs = [
        Job("noise, fixed", options.camera_method, (), noise),
        Job("noise, refined", options.camera_method, REFINED, noise),
    ]
    if (options.scan / "cameras_linear_init.npz").is_file():
        linear = ("--camera-file", "cameras_linear_init.npz")
        jobs += [
            Job("linear init, fixed", options.camera_method, (), linear),
            Job("linear init, refined", options.camera_method, REFINED, linear),
        ]
    return jobs


def table(options: Options, title: str, block: dict[str, Any], **content: Any) -> dict[str, Any]:
    """A results file."""
    hidden = ("notes", "camera_notes", "methods")
    settings = {
        key: value for key, value in asdict(options).items() if key not in hidden and not isinstance(value, Path)
    }
    return {
        "title": title,
        "command": "python scripts/bench/dtu_comparison.py --scan SCAN --output-dir RUNS",
        "protocol": {
            "scan": options.scan.name,
            "split": f"training views, and every {options.eval_interval}th view held out",
            "resolution": "x".join(str(side) for side in block["resolution"]),
            "background": block["background"],
            "mask": block["mask_source"],
            "machine": block["machine"],
            "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
            **settings,
        },
        **content,
    }


def main(options: Options) -> None:
    """Runs everything and writes the tables."""
    encodings = [Job("encodings", method) for method in options.methods]
    cameras = [] if options.camera_method == "none" else camera_jobs(options)
    with ThreadPoolExecutor(options.parallel) as pool:
        results = list(pool.map(lambda job: run(options, job), encodings + cameras))
    first, second = results[: len(encodings)], results[len(encodings) :]
    if first:
        content = {
            "columns": [
                "method", "thousand parameters", "masked PSNR, training views (dB)", "masked PSNR, held-out views (dB)",
                "masked SSIM, held-out", "mask IoU, held-out", "thousand faces", "training seconds",
            ],
            "rows": [encoding_row(*pair) for pair in zip(options.methods, first, strict=True)],
            "notes": list(options.notes),
        }  # fmt: skip
        title = "Encodings of IDR on a DTU scan, equal steps"
        write_json(options.result_dir / "dtu_encodings.json", table(options, title, first[0]["protocol"], **content))
    if second:
        content = {
            "columns": [
                "cameras", "rotation mean before (deg)", "after", "median before", "after",
                "translation mean before (mm)", "after", "median before", "after",
                "masked PSNR, training views (dB)", "held-out views (dB)",
            ],
            "rows": [camera_row(job.name, result) for job, result in zip(cameras, second, strict=True)],
            "notes": list(options.camera_notes),
        }  # fmt: skip
        title = "Refinement of inaccurate cameras on a DTU scan"
        write_json(options.result_dir / "dtu_cameras.json", table(options, title, second[0]["protocol"], **content))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
