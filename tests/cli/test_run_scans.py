"""nf-run-scans: its commands, its summary, and what the same command does the second time."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nf_plugins.cli import run_scans
from nf_plugins.cli.run_scans import RunScans, parse, with_halved
from nf_plugins.errors import InputError

GOOD, BROKEN = "resfields-tnerf", "resfields-dnerf"
RAYS = "--pipeline.datamanager.train-num-rays-per-batch"


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "data" / name for name in ("scan24", "scan65")]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


class FakeRuns(RunScans):
    """Trains by a line of Python: the method ``BROKEN`` ends with a sentence."""

    def commands(self, scan: Path, method: str) -> dict[Any, Any]:
        program = (
            "import sys, pathlib; run = pathlib.Path(sys.argv[1]); open(run / 'starts', 'a').write('x')\n"
            "if sys.argv[2] == sys.argv[3]: sys.exit('This method is broken.')\n"
            "(run / 'nerfstudio_models').mkdir(exist_ok=True)\n"
            "(run / 'nerfstudio_models' / 'step-000000009.ckpt').touch()\n"
            "(run / 'evaluation').mkdir(exist_ok=True)\n"
            '(run / "evaluation" / "dtu.json").write_text(\'{"train_views": {"num_images": 2, "mean": {"psnr_fg": 21.5}'
            ', "images": []}, "held_out_views": null, "camera_accuracy": {"before": {"rotation_degrees": {"mean": 1}}}'
            ', "protocol": {"seed": 1}}\')\n'
        )
        train = [sys.executable, "-c", program, str(self.run_dir(scan, method)), method, BROKEN]
        return {"train": lambda halved: train, "evaluate": lambda halved: [sys.executable, "-c", "pass"]}


def test_every_method_on_every_scan_and_the_second_time_only_what_failed(scans: list[Path], tmp_path: Path) -> None:
    options = FakeRuns(tuple(scans), (GOOD, BROKEN), evaluate=True, output_dir=tmp_path / "out", retry_delay=0.0)
    assert options.main() == 1
    runs = json.loads((tmp_path / "out" / "runs.json").read_text())["runs"]
    assert list(runs) == [f"{scan}/{method}" for scan in ("scan24", "scan65") for method in (GOOD, BROKEN)]
    assert [entry["state"] for entry in runs.values()] == ["done", "failed"] * 2
    good, bad = runs[f"scan24/{GOOD}"], runs[f"scan65/{BROKEN}"]
    assert good["final_step"] == 10 and good["run_dir"] == str(tmp_path / "out" / "scan24" / GOOD / "run")
    figures = {"train_views": {"psnr_fg": 21.5}, "camera_accuracy": {"before": {"rotation_degrees": {"mean": 1}}}}
    assert good["evaluation"]["train_views"] == figures["train_views"]
    assert set(good["evaluation"]) == set(figures)
    assert bad["reason"] == "This method is broken." and len(bad["attempts"]) == 1

    assert options.main() == 1
    again = json.loads((tmp_path / "out" / "runs.json").read_text())["runs"]
    assert again[f"scan24/{GOOD}"] == good
    assert [attempt["outcome"] for attempt in again[f"scan65/{BROKEN}"]["attempts"]] == ["input", "input"]
    assert (tmp_path / "out" / "scan24" / GOOD / "run" / "starts").read_text() == "x"


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_is_listed_as_stopped(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("nf_plugins.engine.supervisor.run_process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FakeRuns(tuple(scans), (GOOD,), output_dir=tmp_path).main()
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert {name: entry["state"] for name, entry in runs.items()} == {f"scan24/{GOOD}": "stopped"}


def test_other_runs_of_the_summary_stay(scans: list[Path], tmp_path: Path) -> None:
    for scan in scans:
        assert FakeRuns((scan,), (GOOD,), output_dir=tmp_path).main() == 0
    assert list(json.loads((tmp_path / "runs.json").read_text())["runs"]) == [f"scan24/{GOOD}", f"scan65/{GOOD}"]


def test_a_dry_run_prints_commands_and_writes_nothing(
    scans: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scans", *map(str, scans), "--methods", GOOD, "--evaluate", "--output-dir", str(tmp_path / "out")]
    words += ["--dry-run", "--", "--max-num-iterations", "9", "dtu-data", "--", "--dtu-root", "DTU"]
    assert parse(words).main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and not (tmp_path / "out").exists()
    assert f"nerfstudio.scripts.train {GOOD} --data {scans[0]} " in lines[0]
    assert "--experiment-name scan24 --timestamp run --resume True --vis tensorboard" in lines[0]
    assert lines[0].endswith("--max-num-iterations 9 dtu-data")
    assert (
        f"nf_plugins.cli.eval dtu --load-config {tmp_path / 'out' / 'scan65' / GOOD / 'run' / 'config.yml'}" in lines[3]
    )
    assert lines[3].endswith("--dtu-root DTU")


def test_the_trainers_own_evaluation_is_left_out_before_another(scans: list[Path]) -> None:
    def words(**fields: Any) -> list[str]:
        return RunScans(tuple(scans), (GOOD,), **fields).commands(scans[0], GOOD)["train"]({})

    own = "--evaluate-after-training"
    assert own not in words()
    both = words(evaluate=True, train_options=("dtu-data",))
    assert both[both.index(own) + 1] == "False" and both[-1] == "dtu-data"
    for option in ((own, "True"), ("--evaluate_after_training=True",)):
        assert own not in words(evaluate=True, train_options=option)[: -len(option)]


def test_drivers_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out" / "runs.json"

    def write(driver: int) -> None:
        for number in range(20):
            run_scans.write_record(path, f"{driver}/{number}", {"driver": driver})

    threads = [threading.Thread(target=write, args=(driver,)) for driver in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(path.read_text())["runs"]) == 80


def test_halved_values_take_the_place_of_the_users() -> None:
    halved = {"train_num_rays_per_batch": 64}
    assert with_halved(["dtu-data"], halved) == [RAYS, "64", "dtu-data"]
    for given in ([RAYS, "512"], [f"{RAYS}=512"], ["--pipeline.datamanager.train_num_rays_per_batch", "512"]):
        assert with_halved(["--a", "1", *given, "dtu-data"], halved) == ["--a", "1", RAYS, "64", "dtu-data"]
    assert set(run_scans.OPTIONS) == {"train_num_rays_per_batch", "eval_num_rays_per_chunk"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scans": (Path("nowhere"),)}, "there is no nowhere"),
        ({"methods": ()}, "at least one each"),
        ({"methods": (GOOD, GOOD)}, f"{GOOD} comes twice"),
        ({"train_options": ("--experiment_name=x",)}, "--experiment-name after -- is set"),
        ({"evaluate_options": ("--output-path", "x")}, "--output-path after --"),
        ({"methods": (GOOD, "resfields-tnref")}, "resfields-tnref is no installed method"),
        ({"min_rays": 0}, "--min-rays"),
    ],
)
def test_bad_requests_are_named(scans: list[Path], tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    defaults = {"scans": tuple(scans), "methods": (GOOD,), "output_dir": tmp_path / "out"}
    with pytest.raises(InputError, match=message):
        RunScans(**{**defaults, **fields}).main()
    assert not (tmp_path / "out").exists()


def test_a_damaged_summary_is_named(scans: list[Path], tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text("[]")
    with pytest.raises(InputError, match=r"runs\.json is no summary"):
        FakeRuns(tuple(scans), (GOOD,), output_dir=tmp_path).main()
