"""A moving mesh as a SIREN, with and without residual layers, and as a hash grid: Chamfer and normal distances.

The comparison of ResFields (ICLR 2024) for temporal signed distances, made small: the plain network of the same width,
the plain network of twice the width, residual layers of a low and of a high rank, and a hash grid. All see the same
points for the same number of steps. Distances are cut off at --clip-sdf, an option of the original, without which the
published loss needs far more steps to learn where nothing is.

    python scripts/bench/temporal_sdf_comparison.py --data ../shared/data/meshes/horse-gallop --output-dir RUNS

trains with ns-train, measures with nf-eval, two runs at a time on one thread each, and writes
docs/results/temporal_sdf.json and the page beside it. A run that is there already is not repeated, so the command can
be interrupted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from nf_plugins.atomic_files import atomic_path, check_writable, write_json
from nf_plugins.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
HASH_GRID_LEARNING_RATE = 1e-2
PUBLISHED_FACTORS = {"chamfer_l1_sum": 1000, "chamfer_l2_mean": 1000, "normal_distance": 100}
HEADINGS = {
    "chamfer_l1_sum": "Chamfer (paper: sum of both, L1) x1000",
    "normal_distance": "normal distance (paper) x100",
    "chamfer_l2_mean": "Chamfer (mean of both, L2) x1000",
}


@dataclass
class Options:
    """What to compare; the defaults take about twelve minutes on two cores."""

    output_dir: Path
    """Folder of the runs."""
    data: Path = Path("../shared/data/meshes/horse-gallop")
    """Mesh sequence: an .anime file or a folder."""
    sign: Literal["closed", "winding"] = "winding"
    """How inside is told from outside; the horse has holes."""
    up_axis: Literal["x", "y", "z"] = "y"
    """Axis of the files that points up."""
    frame_stride: int = 2
    """Take every n-th frame."""
    num_frames: int | None = None
    """Take at most so many frames."""
    test_every: int | None = None
    """Hold every n-th frame out, and measure it beside the others."""
    width: int = 128
    """Width of the networks; one plain network has twice of it."""
    ranks: tuple[int, ...] = (10, 40)
    """Ranks of the residuals, on layers 1, 2 and 3; one run each."""
    hash_num_levels: int = 8
    """Levels of the hash grid."""
    hash_log2_table_size: int = 17
    """Entries of a level, as a power of two."""
    steps: int = 1000
    """Training steps of every run."""
    points: int = 12_000
    """Points of a step, over all frames."""
    clip_sdf: float = 0.1
    """Distances are cut off at plus and minus this, scene units."""
    learning_rate: float = 5e-4
    """Adam's learning rate for the SIRENs, with the published cosine to a tenth; the published rate, 5e-5, is for
    200 000 steps of 250 000 points. The hash grid has its own."""
    mesh_frames: tuple[int, ...] = ()
    """Frames whose meshes are measured; when not given, six evenly chosen ones."""
    mesh_resolution: int = 128
    """Grid cells along a side for these meshes (512 in the paper)."""
    mesh_samples: int = 30_000
    """Random points on each mesh (100 000 in the paper)."""
    seeds: tuple[int, ...] = (42,)
    """Every method is run with each of these seeds."""
    only: tuple[str, ...] = ()
    """Names of the methods to run; all when not given."""
    parallel: int = 2
    """Runs at a time, one thread each."""
    output_path: Path = Path("docs/results/temporal_sdf.json")
    """JSON file of the table; its page is written beside it."""


@dataclass(frozen=True)
class Contestant:
    """One network."""

    name: str
    method: str
    options: tuple[str, ...]
    """Of ns-train, what it has besides its method's defaults."""
    learning_rate: float


def contestants(options: Options) -> list[Contestant]:
    """The networks to compare.

    Raises:
        InputError: ``--only`` names something else.
    """
    field, rate = "--pipeline.model.field", options.learning_rate
    found = [
        Contestant(f"SIREN-{width}", "siren-tsdf", (f"{field}.hidden-dim", str(width)), rate)
        for width in (options.width, 2 * options.width)
    ]
    for rank in options.ranks:
        sizes = (f"{field}.hidden-dim", str(options.width), f"{field}.residual-rank", str(rank))
        found.append(Contestant(f"SIREN-{options.width} + R{rank}", "resfields-tsdf", sizes, rate))
    grid = (
        f"{field}.hash-num-levels", str(options.hash_num_levels),
        f"{field}.hash-log2-table-size", str(options.hash_log2_table_size),
    )  # fmt: skip
    found.append(Contestant("hash grid", "ngp-tsdf", grid, HASH_GRID_LEARNING_RATE))
    names = [contestant.name for contestant in found]
    unknown = [name for name in options.only if name not in names]
    if unknown:
        raise InputError(f"--only names {', '.join(unknown)}, expected some of {', '.join(names)}.")
    return [contestant for contestant in found if not options.only or contestant.name in options.only]


def run_folder(options: Options, contestant: Contestant, seed: int) -> Path:
    """Where a run lies."""
    name = contestant.name.replace(" + ", "-").replace(" ", "-").lower()
    return options.output_dir / f"{name}-seed-{seed}" / contestant.method / "run"


def train_command(options: Options, contestant: Contestant, seed: int) -> list[str]:
    """The training command of a run."""
    rate, never = contestant.learning_rate, str(10**9)
    folder = run_folder(options, contestant, seed)
    data = [
        "mesh-sequence-data", "--sign", options.sign, "--up-axis", options.up_axis,
        "--frame-stride", str(options.frame_stride), "--resolution", "128", "--num-eval-frames", "3",
    ]  # fmt: skip
    for name, value in (("--num-frames", options.num_frames), ("--test-every", options.test_every)):
        data += [] if value is None else [name, str(value)]
    return [
        "ns-train", contestant.method, "--data", str(options.data), "--output-dir", str(options.output_dir),
        "--experiment-name", folder.parent.parent.name, "--timestamp", "run", "--resume", "--vis", "tensorboard",
        "--machine.seed", str(seed), "--max-num-iterations", str(options.steps), "--steps-per-save", "500",
        "--steps-per-eval-batch", never, "--steps-per-eval-image", never, "--steps-per-eval-all-images", never,
        "--evaluate-after-training", "False",
        "--pipeline.datamanager.point-sampler.points-per-step", str(options.points),
        "--pipeline.datamanager.point-sampler.clip-sdf", str(options.clip_sdf),
        "--optimizers.fields.optimizer.lr", str(rate), "--optimizers.fields.scheduler.lr-final", str(rate / 10),
        "--optimizers.fields.scheduler.max-steps", str(options.steps), *contestant.options, *data,
    ]  # fmt: skip


def evaluate_command(options: Options, folder: Path, frames: Sequence[int], output_path: Path) -> list[str]:
    """The command that measures a run."""
    return [
        "nf-eval", "--load-config", str(folder / "config.yml"), "--output-path", str(output_path), "--no-lpips",
        "--save-images", "--mesh-frames", *map(str, frames), "--mesh-resolution", str(options.mesh_resolution),
        "--mesh-samples", str(options.mesh_samples),
    ]  # fmt: skip


def measured(options: Options, contestant: Contestant, seed: int, frames: Sequence[int]) -> dict[str, Any]:
    """Trains and measures one network, unless that was done before.

    Raises:
        InputError: A command failed; the sentence names its log.
    """
    folder = run_folder(options, contestant, seed)
    result_path = folder / "evaluation" / "comparison.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "IGL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if not result_path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        started, log_path = time.time(), folder / "log.txt"
        commands = (
            train_command(options, contestant, seed),
            evaluate_command(options, folder, frames, result_path),
        )
        with log_path.open("a") as log:
            for command in commands:
                script = Path(sys.executable).with_name(command[0])
                finished = subprocess.run(
                    [str(script), *command[1:]], env=environment, stdout=log, stderr=log, check=False
                )
                if finished.returncode != 0:
                    raise InputError(f"{command[0]} failed for {contestant.name} (seed {seed}): see {log_path}.")
        print(f"{contestant.name}, seed {seed}: {time.time() - started:.0f} s", flush=True)
    return json.loads(result_path.read_text())


def frames_of(options: Options) -> list[int]:
    """Numbers of the frames that are measured, and a first look at the data, before anything is trained."""
    from dataparsers.mesh_sequence import MeshSequenceDataParserConfig

    config = MeshSequenceDataParserConfig(
        data=options.data,
        frame_stride=options.frame_stride,
        num_frames=options.num_frames,
        test_every=options.test_every,
    )
    count = len(config.setup().mesh_sequence())  # type: ignore[attr-defined]
    if options.mesh_frames:
        return list(options.mesh_frames)
    return sorted({round(place * (count - 1) / 5) for place in range(6)})


def table_row(contestant: Contestant, seed: int, result: dict[str, Any]) -> list[Any]:
    """One row of the table."""
    geometry, row = result["geometry"], [contestant.name, seed]
    for part in ("mean_training", "mean_held_out") if "mean_held_out" in geometry else ("mean",):
        values = geometry[part]
        for name in HEADINGS:
            value = None if values is None else values[name]
            row.append(None if value is None else f"{PUBLISHED_FACTORS[name] * value:.2f}")
    training = result.get("training") or {}
    rate = f"{contestant.learning_rate:g}"
    seconds = training.get("seconds")
    return [*row, result["num_parameters"], rate, training.get("steps"), None if seconds is None else round(seconds)]


def table(options: Options, rows: list[list[Any]], results: list[dict[str, Any]], frames: Sequence[int]) -> dict:
    """The content of the JSON file."""
    block, geometry = results[0]["protocol"], results[0]["geometry"]
    split = "mean_held_out" in geometry
    headings = [
        f"{heading}{suffix}"
        for suffix in ((", trained frames", ", held-out frames") if split else ("",))
        for heading in HEADINGS.values()
    ]
    return {
        "title": "Temporal signed distances with and without residual layers",
        "command": shlex.join(["python", "scripts/bench/temporal_sdf_comparison.py", *command_options(options)]),
        "protocol": {
            "data": options.data.name,
            "frames": frames_text(options),
            "points per step": options.points,
            "distances cut off at": options.clip_sdf,
            "learning rate": "Adam, one cosine to a tenth over all steps",
            "measured frames": ", ".join(map(str, frames)),
            "meshes": f"{geometry['resolution']} cells, {geometry['num_samples']} samples, {geometry['units']} units",
            "sign": options.sign,
            "machine": block["machine"],
            "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
        },
        "columns": ["network", "seed", *headings, "parameters", "learning rate", "steps", "training seconds"],
        "rows": rows,
        "notes": [
            f"{options.parallel} runs at a time, one thread each. The published runs take 200 000 steps of 250 000 "
            "points at a learning rate of 5e-5, without cutting distances off.",
            "Scene units: the coordinates of the sequence go from -1 to 1. A dash: no surface, an infinite distance.",
        ],
    }


def frames_text(options: Options) -> str:
    """Which frames were used."""
    parts = ["all" if options.frame_stride == 1 else f"one of {options.frame_stride}"]
    parts += [] if options.num_frames is None else [f"at most {options.num_frames}"]
    parts += [] if options.test_every is None else [f"one of {options.test_every} of these held out"]
    return ", ".join(parts)


def command_options(options: Options) -> list[str]:
    """The options that differ from their defaults, as they are written on the command line."""
    defaults, written = Options(output_dir=options.output_dir), []
    for name, value in vars(options).items():
        if name in ("output_dir", "output_path") or value == getattr(defaults, name):
            continue
        text = [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
        written += [f"--{name.replace('_', '-')}", *text]
    return ["--output-dir", "RUNS", *written]


def write_page(result: dict[str, Any], path: Path) -> None:
    """The page of the documentation, by its own generator."""
    spec = importlib.util.spec_from_file_location("update_readme", ROOT / "scripts" / "update_readme.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generator
    spec.loader.exec_module(generator)
    with atomic_path(path) as temporary:
        temporary.write_text(generator.results_page(result), encoding="utf-8")


def main(options: Options) -> None:
    """Runs everything and writes the table."""
    check_writable(options.output_path)
    frames = frames_of(options)
    jobs = [(contestant, seed) for seed in options.seeds for contestant in contestants(options)]
    # The longest first, so that the last of them does not run alone.
    order = sorted(range(len(jobs)), key=lambda index: f"SIREN-{2 * options.width}" != jobs[index][0].name)
    results: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(options.parallel) as pool:
        futures = {index: pool.submit(measured, options, *jobs[index], frames) for index in order}
        for index, future in futures.items():
            results[index] = future.result()
    rows = [table_row(*job, results[index]) for index, job in enumerate(jobs)]
    result = table(options, rows, [results[index] for index in range(len(jobs))], frames)
    write_json(options.output_path, result)
    write_page(result, options.output_path.with_suffix(".md"))
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
