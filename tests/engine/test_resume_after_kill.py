"""SIGKILL through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
