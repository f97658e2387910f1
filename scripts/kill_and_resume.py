"""Kill ns-train at random moments, start it again with the same command, and compare the loss curve bit for bit.

    python scripts/kill_and_resume.py --data data/demo --kills 10

Trains once without interruption and once with SIGKILLs at moments drawn from the seed, from the first import to the
last step, and writes report.json into the output folder. Exit status 1 if the curves differ anywhere.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import Progress

from nf_plugins.atomic_files import write_json
from nf_plugins.engine.checkpoints import checkpoint_step, list_checkpoints
from nf_plugins.errors import InputError

LOSS = "Train Loss"
EARLY_KILLS = 0.2
"""Part of the kills that fall between the start of the process and its first step."""


@dataclass
class KillOptions:
    """Compare a run killed at random moments with one that was left alone."""

    data: Path
    """The scene to train on."""
    output_dir: Path = Path("outputs/kill_and_resume")
    """Folder for both runs and the report; emptied first."""
    method: str = "resfields-tnerf-tiny"
    """The method to train."""
    kills: int = 10
    """How many times the run is killed."""
    steps: int = 400
    """Training steps."""
    steps_per_save: int = 10
    """Steps between checkpoints."""
    seed: int = 0
    """Draws the moments."""


@dataclass
class Attempt:
    """One start of the command."""

    seconds: float
    """Until it was killed, or ended."""
    training_began: float | None
    """Seconds until its training began; None if it was killed before."""
    steps: list[int]
    """First and last step that reached the log."""
    exit_status: int
    """Of the process; -9 when it was killed."""


def train_command(options: KillOptions, experiment: str) -> list[str]:
    """The one command that starts and continues a run."""
    return [
        *(sys.executable, "-m", "nerfstudio.scripts.train", options.method),
        *("--data", str(options.data), "--output-dir", str(options.output_dir), "--experiment-name", experiment),
        *("--max-num-iterations", str(options.steps), "--steps-per-save", str(options.steps_per_save)),
        *("--logging.steps-per-log", "1", "--vis", "tensorboard", "--evaluate-after-training", "False"),
        *("--machine.device-type", "cpu", "--resume"),
    ]


@dataclass
class Moment:
    """When to kill a process: some seconds after it has written so many checkpoints."""

    checkpoints: int | None
    """0 counts from the start of the training loop, None from the start of the process."""
    seconds: float
    """Delay after that."""


def attempt(options: KillOptions, experiment: str, moment: Moment | None = None) -> Attempt:
    """Start the command, and kill it at a moment unless it ends before."""
    earlier = newest_step(options, experiment)
    with (options.output_dir / f"{experiment}.log").open("a") as log:
        started, wall = time.monotonic(), time.time()
        began = reached = None
        process = subprocess.Popen(train_command(options, experiment), stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                now = time.monotonic() - started
                if began is None and training_began(options, experiment, wall):
                    began = now
                if moment is not None and reached is None:
                    written = (newest_step(options, experiment) - earlier) // options.steps_per_save
                    if moment.checkpoints is None or (began is not None and written >= moment.checkpoints):
                        reached = now
                if moment is not None and reached is not None and now - reached >= moment.seconds:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                time.sleep(0.005)
        finally:
            process.kill()
    seconds = time.monotonic() - started
    steps = [step for time_of, step, _ in read_losses(options, experiment) if time_of >= wall]
    return Attempt(seconds, began, [min(steps), max(steps)] if steps else [], process.returncode)


def newest_step(options: KillOptions, experiment: str) -> int:
    """The step of the newest checkpoint of a run; 0 if there is none."""
    names = (options.output_dir / experiment).glob("*/*/nerfstudio_models/*.ckpt")
    return max((checkpoint_step(path) or 0 for path in names), default=0)


def training_began(options: KillOptions, experiment: str, since: float) -> bool:
    """Whether a process has reached its training loop since a wall time: there it takes the lock of the run."""
    locks = (options.output_dir / experiment).glob("*/*/.training.lock")
    return any(lock.stat().st_mtime >= since for lock in locks)


def read_losses(options: KillOptions, experiment: str) -> Iterator[tuple[float, int, float]]:
    """Wall time, step and value of every logged loss of a run, of all its starts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for path in (options.output_dir / experiment).glob("*/*/events.out.tfevents.*"):
        log = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        if LOSS in log.Tags()["scalars"]:
            yield from ((event.wall_time, event.step, event.value) for event in log.Scalars(LOSS))


def curve(options: KillOptions, experiment: str) -> dict[int, set[float]]:
    """The values that were logged for each step."""
    values: dict[int, set[float]] = {}
    for _, step, value in read_losses(options, experiment):
        values.setdefault(step, set()).add(value)
    return values


def kill_and_resume(options: KillOptions) -> dict[str, Any]:
    """Do both runs and compare them."""
    console, chance = Console(), random.Random(options.seed)
    shutil.rmtree(options.output_dir, ignore_errors=True)
    options.output_dir.mkdir(parents=True)
    attempts: list[Attempt] = []
    with Progress(console=console) as progress:
        task = progress.add_task("Uninterrupted", total=options.kills + 2)
        whole = attempt(options, "whole")
        if whole.exit_status != 0 or whole.training_began is None:
            raise InputError(f"The uninterrupted training failed; see {options.output_dir / 'whole.log'}.")
        times = [time_of for time_of, _, _ in read_losses(options, "whole")]
        between_checkpoints = (max(times) - min(times)) * options.steps_per_save / options.steps
        # So few that the run cannot be complete before the last kill.
        most = max(options.steps // options.steps_per_save // (options.kills + 1) - 1, 0)
        for number in range(options.kills):
            progress.update(task, advance=1, description=f"Kill {number + 1} of {options.kills}")
            if chance.random() < EARLY_KILLS:
                moment = Moment(None, chance.uniform(0.0, whole.training_began))
            else:
                moment = Moment(chance.randint(0, most), chance.uniform(0.0, between_checkpoints))
            attempts.append(attempt(options, "killed", moment))
        progress.update(task, advance=1, description="Last start")
        attempts.append(attempt(options, "killed"))
        progress.update(task, advance=1)
    return compare(options, whole, attempts)


def compare(options: KillOptions, whole: Attempt, attempts: list[Attempt]) -> dict[str, Any]:
    """The report on both runs."""
    expected, found = curve(options, "whole"), curve(options, "killed")
    differing = sorted(step for step in expected if found.get(step) != expected[step])
    checkpoint_dir = next((options.output_dir / "killed").glob("*/*/nerfstudio_models"), Path())
    killed = sum(one.exit_status == -signal.SIGKILL for one in attempts)
    return {
        "command": " ".join(train_command(options, "killed")[1:]),
        "kills": killed,
        "steps": len(expected),
        "steps_that_differ": differing,
        "extra_steps": sorted(found.keys() - expected.keys()),
        "distinct_losses": len(set().union(*expected.values())),
        "equal": not differing and killed == options.kills and found.keys() == expected.keys(),
        "checkpoints": [path.name for path in list_checkpoints(checkpoint_dir)],
        "last_exit_status": attempts[-1].exit_status,
        "uninterrupted": vars(whole),
        "starts": [vars(one) for one in attempts],
    }


def main() -> None:
    """Compare, report, exit with 1 on a difference."""
    options = tyro.cli(KillOptions, description=__doc__)
    report = kill_and_resume(options)
    write_json(options.output_dir / "report.json", report)
    verdict = "equal" if report["equal"] else f"DIFFERENT at steps {report['steps_that_differ']}"
    print(f"{report['kills']} kills, {report['steps']} steps: the loss curves are {verdict}.")
    sys.exit(0 if report["equal"] and report["last_exit_status"] == 0 else 1)


if __name__ == "__main__":
    main()
