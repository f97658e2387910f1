"""What slow motion of a trained NSFF run costs, in network renders and seconds.

    python scripts/bench/slow_motion_cost.py --load-config RUN/config.yml --output-path docs/results/slow_motion.json

Makes the videos of nf-render slow-motion. A network render asks both networks along all rays of an image.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import tyro

from nf_plugins.atomic_files import write_json
from nf_plugins.cli.render_slow_motion import RenderSlowMotion
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.run_facts import machine_name

WANDERS = {
    "none": "the camera stands, time runs",
    "ellipse": "the camera moves, time runs",
    "loop": "the camera moves, time stands",
}


@dataclass
class Options:
    """What to render."""

    load_config: Path
    """The config.yml of a run."""
    output_path: Path | None = None
    """JSON file for the table."""
    videos: Path | None = None
    """Folder to keep the videos in, with the JSON file of each beside it; without it they are thrown away."""
    modes: tuple[Literal["none", "ellipse", "loop"], ...] = ("none", "ellipse", "loop")
    """What --camera-wander of nf-render slow-motion takes."""
    downscale: float = 1.0
    """Divide the cameras' resolution by this."""
    step: float = 0.1
    """Frames of the recording from one image to the next."""


@dataclass
class TimedSlowMotion(RenderSlowMotion):
    """Also knows how long it took, without loading the run."""

    seconds: float = 0.0

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """Rendering begins here."""
        self.started = clock()
        return super().cameras(dataset)

    def render(self) -> None:
        """Up to the finished video."""
        super().render()
        self.seconds = clock() - self.started


def clock() -> float:
    """Time of this process on the processor; with a GPU that of the clock."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def render(options: Options, mode: Literal["none", "ellipse", "loop"], folder: Path) -> tuple[list[Any], dict]:
    """The row of one mode and what nf-render wrote beside the video."""
    action = TimedSlowMotion(
        load_config=options.load_config,
        output_path=folder / f"slow_motion_{mode}.mp4",
        camera_wander=mode,
        downscale=options.downscale,
        step=None if mode == "loop" else options.step,
    )
    action.render()
    report = json.loads(action.report_path.read_text(encoding="utf-8"))
    naive, ours = report["naive_network_renders"], report["network_renders"]
    figures = [report["num_images"], naive, ours, f"{naive / ours:.1f}", f"{action.seconds:.1f}"]
    return [f"{mode}: {WANDERS[mode]}", *figures], report


def image_size(options: Options) -> str:
    """Columns x rows of the run's images and samples of a ray."""
    _, pipeline, _, _ = load_run_module.load_run(options.load_config, test_mode="inference")
    cameras: Any = pipeline.datamanager.train_dataset.cameras  # type: ignore[union-attr]
    width, height = (round(int(size[0]) / options.downscale) for size in (cameras.width, cameras.height))
    return f"{width} x {height}, {pipeline.model.config.num_samples} planes"  # type: ignore[attr-defined]


def main(options: Options) -> None:
    """Renders all modes and prints the table."""
    with TemporaryDirectory() as scratch:
        folder = options.videos or Path(scratch)
        rendered = [render(options, mode, folder) for mode in options.modes]
    report = rendered[0][1]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = {
        "title": "Slow motion from the frames of a video",
        "command": "python scripts/bench/slow_motion_cost.py --load-config RUN/config.yml "
        "--output-path docs/results/slow_motion.json",
        "protocol": {
            "recording": f"{report['frames_of_the_recording']} frames, frame {report['frame']} in the middle",
            "images": image_size(options),
            "threads": torch.get_num_threads(),
            "machine": machine_name(device),
        },
        "columns": [
            "--camera-wander", "images", "network renders, every image on its own", "network renders", "times fewer",
            "seconds",
        ],
        "rows": [row for row, _ in rendered],
        "notes": [
            "A network render asks both networks along all rays of an image. On its own an image takes the two key "
            "times around it, as published; where time stands, one render.",
            "Seconds of the whole video, splatting and encoding included, loading not"
            + (": of the processor." if device == "cpu" else "."),
        ],
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if options.output_path is not None:
        write_json(options.output_path, result)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
