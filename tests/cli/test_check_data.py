from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nf_plugins.cli import check_data

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["nf-check-data", *map(str, arguments)])
    check_data.entrypoint()


def test_report_and_picture(
    tiny_owlii_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run(monkeypatch, "owlii-data", "--data", tiny_owlii_scene, "--output-path", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (1800, 1000)
    out = capsys.readouterr().out
    for part in ("cam_test", "24x24", "6 in 0 .. 1", "100.0%", "Angular multi-view factor", "a.png"):
        assert part in out


def test_options_may_come_first_and_belong_to_the_dataparser(
    tiny_owlii_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run(
        monkeypatch,
        *("--output-path", tmp_path / "b.png", "owlii-data", "--data", tiny_owlii_scene, "--num-frames", "2"),
        *("--downscale-factor", "2"),
    )
    assert "12x12" in capsys.readouterr().out


def test_wrong_dataparser_ends_with_status_1_and_names_the_right_one(tiny_dnerf_scene: Path, tmp_path: Path):
    """In a process of its own, as a user sees it: one sentence, no traceback, nothing written."""
    finished = subprocess.run(
        [sys.executable, "-m", "nf_plugins.cli.check_data", "owlii-data", "--data", str(tiny_dnerf_scene)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "use dnerf-rgba-data" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_is_checked_before_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for output, says in ((tmp_path / "no" / "c.png", "missing or not writable"), (tmp_path / "c.jpg", "no .png")):
        with pytest.raises(SystemExit, match=says) as caught:
            run(monkeypatch, "owlii-data", "--data", tmp_path / "nowhere", "--output-path", output)
        assert "--output-path" in str(caught.value)


def test_bad_data_leave_an_earlier_picture_alone(
    owlii_scene: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scene = owlii_scene()
    (scene / "cam_train_0" / "mask" / "000001.png").write_bytes(b"")
    (tmp_path / "d.png").write_text("earlier")
    with pytest.raises(SystemExit, match=r"cam_train_0/mask/000001\.png cannot be read"):
        run(monkeypatch, "owlii-data", "--data", scene, "--output-path", tmp_path / "d.png")
    assert (tmp_path / "d.png").read_text() == "earlier"


def test_help_lists_the_dataparsers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for name in ("owlii-data", "dnerf-rgba-data", "nerfstudio-data"):
        assert name in out


def test_all_dataparsers_of_ours_are_there_without_entry_points():
    registered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(registered["nerfstudio.dataparser_configs"]) <= set(check_data.OURS)
