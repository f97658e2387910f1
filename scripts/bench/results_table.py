"""A results table from the evaluations that runs wrote at the end of training.

python scripts/bench/results_table.py --title "..." --runs RUN/config.yml ... --command "..." --output-path X.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from nf_plugins.atomic_files import write_json
from nf_plugins.errors import InputError

METRICS = {"psnr": "PSNR (dB)", "psnr_fg": "foreground PSNR (dB)", "ssim": "SSIM", "mask_iou": "mask IoU"}


@dataclass
class Options:
    """What to tabulate."""

    title: str
    """Heading of the table."""
    command: str
    """The command that reproduces the runs."""
    runs: tuple[Path, ...]
    """The config.yml of each run, which has evaluation/test.json beside it and was trained with tensorboard."""
    output_path: Path
    """JSON file of the table."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""


def training_seconds(run: Path) -> float:
    """Wall time between the first and the last logged training step of a run's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    times = [event.wall_time for event in events.Scalars("Train Loss")]
    return max(times) - min(times)


def main(options: Options) -> None:
    """Reads the runs and writes the table."""
    rows: list[list[Any]] = []
    protocol: dict[str, Any] = {}
    for config in options.runs:
        path = config.parent / "evaluation" / "test.json"
        if not path.is_file():
            raise InputError(f"--runs {config}: there is no {path}, which training writes at its end.")
        result = json.loads(path.read_text())
        block, mean = result["protocol"], result["mean"]
        protocol = {
            "split": block["split"],
            "images": block["num_images"],
            "resolution": "x".join(str(side) for side in block["resolution"]),
            "background": block["background"],
            "mask": block["mask_source"],
            "seed": block["seed"],
            "machine": block["machine"],
            "versions": ", ".join(f"{name} {version}" for name, version in block["versions"].items()),
        }
        numbers = [f"{mean[name]:.3f}" if mean.get(name) is not None else "-" for name in METRICS]
        scene = config.parents[2].name
        rows.append([block["method"], scene, block["step"], f"{training_seconds(config.parent):.0f}", *numbers])
    write_json(
        options.output_path,
        {
            "title": options.title,
            "command": options.command,
            "protocol": protocol,
            "columns": ["method", "scene", "last step", "training seconds", *METRICS.values()],
            "rows": rows,
            "notes": list(options.notes),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
