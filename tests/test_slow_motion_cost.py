"""The benchmark of slow motion counts what nf-render counts, at the published number of images."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from monocular_pipeline import monocular_config, monocular_pipeline
from monocular_scene import write_monocular_scene

from nf_plugins.engine import load_run as load_run_module

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "bench" / "slow_motion_cost.py"


def test_a_standing_camera_takes_18_renders_for_161_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specification = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, SCRIPT.stem, script)
    specification.loader.exec_module(script)
    scene = write_monocular_scene(
        tmp_path / "scene", num_frames=17, height=4, width=6, num_held_out=0, priors=False, motion_masks=False
    )
    config = monocular_config(scene, num_samples=3)

    def load_run(load_config: Path, test_mode: str) -> tuple:
        return config, monocular_pipeline(config), Path("c.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    run = tmp_path / "config.yml"
    run.write_text("a stand-in\n")
    table, videos = tmp_path / "table.json", tmp_path / "videos"
    script.main(script.Options(run, table, videos, modes=("none", "loop")))
    result = json.loads(table.read_text())
    standing, loop = result["rows"]
    assert len(standing) == len(result["columns"])
    assert standing[1:5] == [161, 322, 18, "17.9"] and float(standing[5]) > 0
    assert loop[1:5] == [60, 60, 60, "1.0"]
    assert result["protocol"]["images"] == "6 x 4, 3 planes"
    # The video of each, and what nf-render says that it cost.
    assert (videos / "slow_motion_none.mp4").stat().st_size > 0
    report = json.loads((videos / "slow_motion_none.json").read_text())
    assert (report["num_images"], report["naive_network_renders"], report["network_renders"]) == (161, 322, 18)
