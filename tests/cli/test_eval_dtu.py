"""nf-eval dtu: which files, which numbers, which complaints; nf-eval without it is as before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ball_scan
import pytest
import tyro
from ball_pipeline import BallPipeline, ball_config
from still_ball_pipeline import StillBall, StillBallPipeline, still_ball_config

from nf_plugins.cli import eval as eval_module
from nf_plugins.cli.eval_dtu import EvaluateDTU, scan_of
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def still_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scan = ball_scan.write_ball_scan(tmp_path / "dtu_scan7", num_views=3)
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")

    def load_run(load_config: Path, test_mode: str):
        return still_ball_config(scan), StillBallPipeline(scan, offset=-0.05), Path("c.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    return config


def run(*arguments: object) -> None:
    tyro.cli(EvaluateDTU, args=[str(argument) for argument in arguments]).main()


def test_one_run_writes_json_and_mesh_into_its_folder(still_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--load-config", still_run, "--no-lpips", "--mesh-resolution", 24)
    folder = still_run.parent / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["dtu.json", "mesh_world.ply"]
    result = json.loads((folder / "dtu.json").read_text())
    assert result["train_views"]["mean"]["psnr_fg"] == pytest.approx(26.0, abs=0.1)
    assert result["held_out_views"] is None and result["dtu_chamfer"] is None and result["training"] is None
    output = capsys.readouterr().out
    assert "masked PSNR, trained" in output and "held out" not in output and "DTU" not in output


def test_an_output_path_holds_one_or_all_runs(still_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "config.yml"
    other.parent.mkdir()
    other.write_text("a stand-in\n")
    options = ("--no-lpips", "--mesh-resolution", 16, "--image-stride", 3)
    run("--load-config", still_run, "--output-path", tmp_path / "one.json", *options)
    run("--load-config", still_run, other, "--output-path", tmp_path / "two.json", *options)
    assert json.loads((tmp_path / "one.json").read_text())["protocol"]["step"] == 5
    assert set(json.loads((tmp_path / "two.json").read_text())["runs"]) == {str(still_run), str(other)}


def test_the_reference_of_the_scan_is_asked_for_before_anything_is_rendered(still_run: Path, tmp_path: Path) -> None:
    (tmp_path / "dtu").mkdir()
    with pytest.raises(InputError, match=r"scan 7 lacks .*stl007_total\.ply"):
        run("--load-config", still_run, "--dtu-root", tmp_path / "dtu")
    with pytest.raises(InputError, match="scan 65 lacks"):
        run("--load-config", still_run, "--dtu-root", tmp_path / "dtu", "--scan", 65)
    assert not (still_run.parent / "evaluation").exists()


def test_a_mesh_that_fails_ends_the_command_after_all_else_is_written(still_run: Path, monkeypatch) -> None:
    def fail(self: Any, points: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(StillBall, "signed_distance", fail)
    with pytest.raises(InputError, match=r"The mesh could not .*config\.yml \(MemoryError\).* --mesh-resolution"):
        run("--load-config", still_run, "--no-lpips")
    result = json.loads((still_run.parent / "evaluation" / "dtu.json").read_text())
    assert result["mesh_error"] == "MemoryError" and result["train_views"]["num_images"] == 3


def test_a_moving_scene_is_refused(still_run: Path, monkeypatch) -> None:
    run_of = (ball_config(), BallPipeline(), Path("c.ckpt"), 5)
    monkeypatch.setattr(load_run_module, "load_run", lambda load_config, test_mode: run_of)
    with pytest.raises(InputError, match="moves, nf-eval dtu measures scenes that stand still: use nf-eval"):
        run("--load-config", still_run)
    assert not (still_run.parent / "evaluation").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scan", 3), "--scan and --error-clouds need --dtu-root"),
        (("--dtu-root", "nowhere"), "--dtu-root nowhere is not a folder"),
        (("--mesh-resolution", 1), "--mesh-resolution is 1"),
        (("--image-stride", 0), "--image-stride is 0"),
        (("--mask-dilation", -1.0), "--mask-dilation is -1"),
    ],
)
def test_bad_options_are_named_before_a_run_is_loaded(still_run: Path, arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("--load-config", still_run, *arguments)


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yml does not exist"):
        run("--load-config", tmp_path / "nowhere.yml")


def test_the_number_of_a_scan_is_in_its_folders_name() -> None:
    assert [scan_of(Path(name)) for name in ("scan65", "dtu_scan24", "DTU/scan_106")] == [65, 24, 106]
    with pytest.raises(InputError, match="--scan"):
        scan_of(Path("bmvs_bear"))


def test_the_first_word_chooses_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def note(self: Any) -> None:
        called.append(self)

    for command in (EvaluateDTU, eval_module.Evaluate):
        monkeypatch.setattr(command, "main", note)
    for arguments in (["dtu", "--load-config", "a"], ["--load-config", "dtu"]):
        monkeypatch.setattr(sys, "argv", ["nf-eval", *arguments])
        eval_module.entrypoint()
    assert [type(command) for command in called] == [EvaluateDTU, eval_module.Evaluate]
    assert called[0].load_config == (Path("a"),) and called[1].load_config == (Path("dtu"),)
