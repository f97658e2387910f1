"""The scripts that people run first."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHELL_SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]


def load_script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_parse_and_may_be_executed(script: Path) -> None:
    process = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert os.access(script, os.X_OK)


def run_environment(tree: Path, path: str) -> subprocess.CompletedProcess[str]:
    command = 'set -euo pipefail; source scripts/environment.sh; echo "PWD=$PWD PATH=$PATH"'
    return subprocess.run(
        ["bash", "-c", command], cwd=tree, env={"PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a stamped .venv that holds nothing."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/environment.sh", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp = "cat requirements.lock pyproject.toml <(pwd) | { sha256sum || shasum -a 256; } | cut -d ' ' -f 1"
    digest = subprocess.run(["bash", "-c", stamp], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / ".venv" / "installed.sha256").write_text(digest)
    return tmp_path


def test_environment_is_left_alone_when_nothing_has_changed(tree: Path) -> None:
    process = run_environment(tree, os.environ["PATH"])
    assert process.returncode == 0, process.stderr
    assert "Installing" not in process.stdout
    assert f"PATH={tree}/.venv/bin:" in process.stdout


def test_environment_without_a_python_says_what_to_install(tree: Path) -> None:
    (tree / ".venv" / "bin" / "python").unlink()
    tools = tree / "tools"  # all that the script needs, and no python
    tools.mkdir()
    for name in ("bash", "cat", "cut", "dirname", "sha256sum", "shasum"):
        for folder in os.environ["PATH"].split(":"):
            if (Path(folder) / name).exists() and not (tools / name).exists():
                (tools / name).symlink_to(Path(folder) / name)
    process = run_environment(tree, str(tools))
    assert process.returncode == 1
    assert "no Python 3.10, 3.11 or 3.12 was found" in process.stderr
    assert "apt-get install python3 python3-venv" in process.stderr


def test_quickstart_summary_compares_each_mesh_with_every_true_one(tmp_path: Path) -> None:
    import trimesh

    summary = load_script("quickstart_summary")
    truths, entries = [], []
    for frame in range(3):
        sphere = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
        sphere.apply_translation(np.array([0.3 * frame, 0.0, 0.0]))
        sphere.export(tmp_path / f"{frame:06d}.ply")
        sphere.export(tmp_path / f"frame_{frame:06d}.ply")
        truths.append(tmp_path / f"{frame:06d}.ply")
        entries.append({"file": f"frame_{frame:06d}.ply", "time": frame / 2})
    entries.append({"file": None, "time": 0.5})  # no surface was found there
    (tmp_path / "meshes.json").write_text(json.dumps({"meshes": entries}))
    rows = summary.mesh_distances(tmp_path, [0.0, 0.5, 1.0], truths)
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert all(row["own_frame_is_nearest"] for row in rows)
    assert rows[0]["chamfer_to_true_frame"]["0"] < 0.03
    assert rows[0]["chamfer_to_true_frame"]["2"] > rows[0]["chamfer_to_true_frame"]["1"] > 0.1
    text = summary.as_text(
        {
            "method": "resfields-tnerf",
            "steps": 7,
            "held_out_camera": {"psnr": 20.0, "psnr_foreground": 15.0},
            "meshes": rows,
            "files": {"video": "outputs/video.mp4"},
            "viewer_command": "ns-viewer --load-config run/config.yml",
        }
    )
    assert "PSNR 20.00 dB, foreground 15.00 dB" in text
    others = [f"{rows[0]['chamfer_to_true_frame'][frame]:.4f}" for frame in ("1", "2")]
    assert f"to its own truth, {others[0]}, {others[1]} to others" in text
    assert "ns-viewer --load-config run/config.yml" in text
