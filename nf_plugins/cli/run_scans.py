"""``nf-run-scans``: train, and evaluate, methods on scenes, one after the other, unattended.

    nf-run-scans --scans data/scan65 data/scan106 --methods idr idr-hash --evaluate -- --max-num-iterations 20000

What follows ``--`` goes to every ns-train, what follows a second ``--`` to every nf-eval dtu.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.engine.supervisor import Commands

SUMMARY_NAME = "runs.json"
LOCK_NAME = ".runs.lock"
TIMESTAMP = "run"
RESERVED = ("data", "output-dir", "experiment-name", "timestamp", "resume", "vis", "load-config", "output-path")
OPTIONS = {
    "train_num_rays_per_batch": "--pipeline.datamanager.train-num-rays-per-batch",
    "eval_num_rays_per_chunk": "--pipeline.model.eval-num-rays-per-chunk",
}
"""What is halved, and the options of ns-train that set it."""
OWN_EVALUATION = "--evaluate-after-training"
FIGURES = ("train_views", "held_out_views", "dtu_chamfer", "surface_distances", "camera_accuracy", "mesh")
"""The parts of evaluation/dtu.json that go into the summary."""


@dataclass
class RunScans:
    """Train, and evaluate, methods on scenes, one after the other, unattended; the same command goes on."""

    scans: tuple[Path, ...]
    """Folders of the scenes; their names become the experiments' names."""
    methods: tuple[str, ...]
    """Methods of this package; each is trained on every scene."""
    evaluate: bool = False
    """Run nf-eval dtu on each complete training, in place of the trainer's own evaluation (which comes back with
    --evaluate-after-training True after the first --)."""
    output_dir: Path = Path("outputs")
    """Where the runs and their summary, runs.json, go."""
    vis: str = "tensorboard"
    """What ns-train shows itself in."""
    max_retries: int = 3
    """How many times a process is started again without a new checkpoint in between."""
    retry_delay: float = 10.0
    """Seconds before the first retry; doubled for each further one, up to five minutes."""
    min_rays: int = 128
    """Out of memory, the rays per batch are halved down to this."""
    min_chunk: int = 512
    """Out of memory, the rays that are rendered at once are halved down to this."""
    dry_run: bool = False
    """Print the commands and do nothing."""
    train_options: tyro.conf.Suppress[tuple[str, ...]] = ()
    """What follows the first --."""
    evaluate_options: tyro.conf.Suppress[tuple[str, ...]] = ()
    """What follows the second --."""

    def main(self) -> int:
        """Take every run as far as it goes.

        Returns:
            Exit status: 0 if all runs are complete, 1 if one was given up.
        """
        self.check()
        runs = [(scan, method) for scan in self.scans for method in self.methods]
        if self.dry_run:
            for scan, method in runs:
                for command in self.commands(scan, method).values():
                    print(shlex.join(command({})))
            return 0
        from nf_plugins.atomic_files import check_writable

        check_writable(self.output_dir / SUMMARY_NAME)
        states = [self.run(*run, f"[{number}/{len(runs)}]") for number, run in enumerate(runs, start=1)]
        print(f"{states.count('done')} of {len(runs)} runs are complete: {self.output_dir / SUMMARY_NAME}")
        return 0 if set(states) == {"done"} else 1

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before a process is started."""
        names = [scan.resolve().name for scan in self.scans]
        for scan in self.scans:
            if not scan.exists():
                raise InputError(f"--scans: there is no {scan}, expected the folder of a scene.")
        if not names or not self.methods:
            raise InputError("--scans and --methods must name at least one each.")
        for option, values in (("--scans", names), ("--methods", list(self.methods))):
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise InputError(f"{option}: {twice[0]} comes twice, its runs would share a folder.")
        known = {entry.name for entry in entry_points(group="nerfstudio.method_configs")}
        for method in self.methods:
            if method not in known:
                raise InputError(
                    f"--methods: {method} is no installed method with --resume, expected some of "
                    f"{', '.join(sorted(known))}."
                )
        for option in (*self.train_options, *self.evaluate_options):
            name = option.split("=")[0].removeprefix("--").replace("_", "-")
            if option.startswith("--") and name in RESERVED:
                raise InputError(f"--{name} after -- is set by nf-run-scans itself; use its own options.")
        if self.max_retries < 0 or self.retry_delay < 0 or min(self.min_rays, self.min_chunk) < 1:
            raise InputError(
                "--max-retries and --retry-delay must not be negative, --min-rays and --min-chunk not below 1."
            )

    def run_dir(self, scan: Path, method: str) -> Path:
        """The folder of a run."""
        return self.output_dir / scan.resolve().name / method / TIMESTAMP

    def commands(self, scan: Path, method: str) -> Commands:
        """What trains, and evaluates, one run."""
        start = [
            *(sys.executable, "-m", "nerfstudio.scripts.train", method, "--data", str(scan)),
            *("--output-dir", str(self.output_dir), "--experiment-name", scan.resolve().name),
            *("--timestamp", TIMESTAMP, "--resume", "True", "--vis", self.vis),
            *("--viewer.quit-on-train-completion", "True"),
        ]
        given = {option.split("=")[0].replace("_", "-") for option in self.train_options}
        if self.evaluate and OWN_EVALUATION not in given:  # nf-eval dtu measures the same views, and more
            start += [OWN_EVALUATION, "False"]
        load_config = str(self.run_dir(scan, method) / "config.yml")
        evaluate = [sys.executable, "-m", "nf_plugins.cli.eval", "dtu", "--load-config", load_config]
        commands: Commands = {"train": lambda halved: start + with_halved(self.train_options, halved)}
        if self.evaluate:
            commands["evaluate"] = lambda halved: [*evaluate, *self.evaluate_options]
        return commands

    def run(self, scan: Path, method: str, label: str) -> str:
        """Supervise one run, with its entry in the summary kept up to date; its state at the end."""
        from nf_plugins.engine.retry_policy import Limits
        from nf_plugins.engine.supervisor import supervise

        name, run_dir = f"{scan.resolve().name}/{method}", self.run_dir(scan, method)
        summary = self.output_dir / SUMMARY_NAME
        empty = {"state": "waiting", "reason": "", "final_step": 0, "halved": {}, "completed": {}, "attempts": []}
        record: dict[str, Any] = {**empty, **read_summary(summary).get(name, {}), "run_dir": str(run_dir)}

        def tell(line: str) -> None:
            print(f"{label} {name}: {line}", flush=True)
            write_record(summary, name, record)

        limits = Limits(self.max_retries, self.min_rays, self.min_chunk, self.retry_delay)
        try:
            supervise(run_dir, self.commands(scan, method), record, limits, tell)
        except BaseException:
            record["state"] = "stopped"
            tell("stopped; the same command goes on")
            raise
        if self.evaluate and record["state"] == "done":
            record["evaluation"] = evaluation_figures(run_dir)
            write_record(summary, name, record)
        return record["state"]


def with_halved(options: Sequence[str], halved: dict[str, int]) -> list[str]:
    """Options of ns-train with halved values: in place of the user's own, else in front, before any dataparser."""
    result = list(options)
    for name, value in halved.items():
        spelled = [option.split("=")[0].replace("_", "-") for option in result]
        if OPTIONS[name] not in spelled:
            result = [OPTIONS[name], str(value), *result]
            continue
        place = spelled.index(OPTIONS[name])
        length = 1 if "=" in result[place] else 2
        result[place : place + length] = [OPTIONS[name], str(value)]
    return result


def read_summary(path: Path) -> dict[str, Any]:
    """The runs of a summary by SCENE/METHOD; none if there is no such file.

    Raises:
        InputError: if it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf8"))["runs"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no summary of nf-run-scans ({error}): remove it, or choose --output-dir."
        ) from error


def write_record(path: Path, name: str, record: dict[str, Any]) -> None:
    """Put one run into the summary; what another nf-run-scans has written of other runs stays."""
    from nf_plugins.atomic_files import write_json
    from nf_plugins.engine.run_folder import file_lock

    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path.with_name(LOCK_NAME)):
        write_json(path, {"runs": {**read_summary(path), name: record}})


def evaluation_figures(run_dir: Path) -> dict[str, Any]:
    """The means and other numbers of a run's evaluation/dtu.json; empty without it."""
    path = run_dir / "evaluation" / "dtu.json"
    result = json.loads(path.read_text("utf8")) if path.is_file() else {}
    return {name: _numbers(result[name]) for name in FIGURES if isinstance(result.get(name), dict)}


def _numbers(block: dict[str, Any]) -> dict[str, Any]:
    block = block["mean"] if isinstance(block.get("mean"), dict) else block
    kept = {name: _numbers(value) if isinstance(value, dict) else value for name, value in block.items()}
    return {name: value for name, value in kept.items() if isinstance(value, (int, float, dict)) and value != {}}


def parse(arguments: Sequence[str]) -> RunScans:
    """The options of a command line, those after ``--`` for ns-train and those after a second for nf-eval dtu."""
    parts: list[list[str]] = [[]]
    for argument in arguments:
        if argument == "--" and len(parts) < 3:
            parts.append([])
        else:
            parts[-1].append(argument)
    own, train, evaluate = (*parts, [], [])[:3]
    options = tyro.cli(RunScans, description=__doc__, args=own)
    return replace(options, train_options=tuple(train), evaluate_options=tuple(evaluate))


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def entrypoint() -> None:
    """Console command ``nf-run-scans``; ends with 130 where it is interrupted."""
    options = parse(sys.argv[1:])
    for name in ("SIGTERM", "SIGHUP"):  # not where somebody wants it otherwise, as nohup does
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        sys.exit(options.main())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    entrypoint()
