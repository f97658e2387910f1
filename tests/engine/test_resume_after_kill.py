"""SIGKILL through the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ball_scan import write_ball_scan

from nf_plugins.cli.run_scans import RunScans
from nf_plugins.engine.supervisor import steps_taken

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_and_resume.py"


@pytest.mark.slow
def test_ns_train_killed_and_started_again_gives_the_same_loss_curve(tiny_owlii_scene: Path, tmp_path: Path) -> None:
    options = ["--kills", "2", "--steps", "120", "--steps-per-save", "5", "--seed", "3"]
    process = subprocess.run(
        [sys.executable, str(SCRIPT), "--data", str(tiny_owlii_scene), "--output-dir", str(tmp_path / "out"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["kills"] == 2
    assert report["equal"]
    assert report["steps"] == 120
    assert report["distinct_losses"] > 110  # the curve is a curve
    assert report["checkpoints"] == ["step-000000119.ckpt", "step-000000115.ckpt"]
    killed_while_training = [start for start in report["starts"][:-1] if start["training_began"] is not None]
    assert killed_while_training
    assert report["starts"][-1]["steps"][0] > 10  # the last start continued


@pytest.mark.slow
def test_a_supervised_training_of_a_surface_is_killed_goes_on_and_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            if "nerfstudio.scripts.train" in arguments[0]:
                started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    train = ("--max-num-iterations", "40", "--steps-per-save", "5", "--machine.device-type", "cpu")
    quick = ("--pipeline.datamanager.train-num-rays-per-batch", "256", "--steps-per-eval-image", "1000")
    scans = RunScans(
        (write_ball_scan(tmp_path / "scan7", num_views=4, resolution=24),),
        ("idr-tiny",),
        evaluate=True,
        output_dir=tmp_path / "out",
        retry_delay=0.0,
        train_options=(*train, *quick),
        evaluate_options=("--no-lpips", "--no-principal-axes", "--mesh-resolution", "24"),
    )
    run_dir = scans.run_dir(scans.scans[0], "idr-tiny")

    def kill_after_the_first_checkpoint() -> None:
        deadline = time.monotonic() + 300
        while steps_taken(run_dir) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(started[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_after_the_first_checkpoint)
    killer.start()
    status = scans.main()
    killer.join()
    log = (run_dir / "supervisor.log").read_text()
    assert status == 0, log
    record = json.loads((tmp_path / "out" / "runs.json").read_text())["runs"]["scan7/idr-tiny"]
    killed, resumed, evaluated = record["attempts"]
    assert (killed["outcome"], resumed["outcome"], evaluated["outcome"]) == ("memory", "complete", "complete")
    assert 0 < killed["last_step"] < 40 and resumed["first_step"] == killed["last_step"]
    assert record["final_step"] == resumed["last_step"] == steps_taken(run_dir) == 40
    assert (killed["rays"], resumed["rays"]) == (256, 128)
    result = json.loads((run_dir / "evaluation" / "dtu.json").read_text())
    assert result["train_views"]["num_images"] == 4 and result["protocol"]["step"] == 39
    assert result["mesh_error"] is None and not (run_dir / "evaluation" / "test.json").exists()
