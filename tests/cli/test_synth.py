from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

from nf_plugins.data.synthetic.generate import SynthOptions

COMMAND = [sys.executable, "-c", "from nf_plugins.cli.synth import entrypoint; entrypoint()"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200"}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_help_has_a_sentence_for_every_option():
    result = _run("--help")
    assert result.returncode == 0
    lines = result.stdout
    for field in dataclasses.fields(SynthOptions):
        assert f"--{field.name.replace('_', '-')}" in lines
    assert "one jumping camera" in lines and "Replace a scene" in lines and "power of ten" not in lines


def test_writes_a_scene_says_how_to_train_and_repeats_at_no_cost(tmp_path):
    arguments = ["--output-dir", str(tmp_path / "scene"), "--num-frames", "2", "--num-train-cameras", "1"]
    arguments += ["--resolution", "16", "--num-cloud-points", "10"]
    result = _run(*arguments)
    assert result.returncode == 0, result.stderr
    last = result.stdout.strip().splitlines()[-1]
    assert last.endswith(f"ns-train resfields-tnerf --data {tmp_path / 'scene'} owlii-data")
    assert (tmp_path / "scene/cam_train_0/rgb/000001.png").is_file()
    assert "nothing to do" in _run(*arguments).stdout


def test_bad_option_is_one_sentence_without_traceback(tmp_path):
    result = _run("--output-dir", str(tmp_path / "scene"), "--num-frames", "1")
    assert result.returncode == 1
    assert "--num-frames 1" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "scene").exists()
