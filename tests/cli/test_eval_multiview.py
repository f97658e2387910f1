"""nf-eval multiview: which files, which names, which complaints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tyro
from ball_pipeline import BallPipeline, ball_config

from nf_plugins.cli import eval as eval_module
from nf_plugins.cli.eval_multiview import EvaluateMultiview
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """With what runs were loaded."""
    calls: list[dict[str, Any]] = []

    def load_run(load_config: Path, test_mode: str, **keywords: Any) -> Any:
        calls.append({"test_mode": test_mode, **keywords})
        return ball_config(), BallPipeline(0.1), Path("c.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    return calls


@pytest.fixture
def ball_run(tmp_path: Path, loaded: list[dict[str, Any]]) -> Path:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")
    return config


def run(*arguments: object) -> None:
    tyro.cli(EvaluateMultiview, args=[str(argument) for argument in arguments]).main()


def test_a_run_gets_a_file_with_the_protocol_s_name(ball_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--load-config", ball_run, "--no-lpips")
    run("--load-config", ball_run, "--no-lpips", "--protocol", "nhr", "--frame-stride", 3)
    folder = ball_run.parent / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["multiview_box.json", "multiview_nhr.json"]
    result = json.loads((folder / "multiview_nhr.json").read_text())
    assert result["protocol"]["name"] == "nhr" and result["num_images"] == 2 and result["training"] is None
    assert result["mean"]["psnr_inner"] == pytest.approx(20, abs=1e-3)
    output = capsys.readouterr().out
    assert "SSIM, box, range 2 as published" in output and "LPIPS" not in output and "made of thin air" in output


def test_another_scene_is_passed_on_and_named(ball_run: Path, tmp_path: Path, loaded: list[dict[str, Any]]) -> None:
    (tmp_path / "wolf").mkdir()
    run("--load-config", ball_run, "--no-lpips", "--data", tmp_path / "wolf", "--image-stride", 4)
    assert loaded == [{"test_mode": "test", "data": tmp_path / "wolf"}]
    assert (ball_run.parent / "evaluation" / "multiview_box_on_wolf.json").is_file()


def test_a_cache_is_used_and_named(ball_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_cache(run_dir: Path, tag: str, model: Any, *, step: int, allow_other_checkpoint: bool) -> str:
        asked.append((run_dir, tag, step, allow_other_checkpoint))
        return "the cells"

    monkeypatch.setitem(sys.modules, "nf_plugins.exporters.occupancy_files", SimpleNamespace(load_cache=load_cache))
    with pytest.raises(InputError, match="--cache fine: the method ball knows no occupancy caches"):
        run("--load-config", ball_run, "--no-lpips", "--cache", "fine")
    from ball_pipeline import BallModel

    used: list[Any] = []
    monkeypatch.setattr(BallModel, "use_occupancy_cache", lambda self, cache: used.append(cache), raising=False)
    run("--load-config", ball_run, "--no-lpips", "--cache", "fine", "--allow-other-checkpoint", "--image-stride", 4)
    assert used == ["the cells"] and asked == [(ball_run.parent, "fine", 5, True)]
    result = json.loads((ball_run.parent / "evaluation" / "multiview_box_cache_fine.json").read_text())
    assert result["protocol"]["occupancy_cache"] == "fine"


def test_several_runs_share_an_output_path(ball_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "config.yml"
    other.parent.mkdir()
    other.write_text("a stand-in\n")
    run("--load-config", ball_run, other, "--output-path", tmp_path / "two.json", "--no-lpips", "--image-stride", 4)
    runs = json.loads((tmp_path / "two.json").read_text())["runs"]
    assert set(runs) == {str(ball_run), str(other)} and not (other.parent / "evaluation").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frame-stride", 0), "--frame-stride 0"),
        (("--truth-folder", "."), "--truth-folder needs --protocol nhr"),
        (("--protocol", "nhr", "--truth-folder", "nowhere"), "nowhere is no folder"),
        (("--patches", "p.json"), "--patches needs --protocol dynerf"),
        (("--data", "nowhere"), "--data nowhere does not exist"),
        (("--data", ".", "--cache", "fine"), "--cache fine belongs to the scene"),
        (("--test-cameras", "up"), "--test-cameras names up"),
    ],
)
def test_bad_requests_are_named(ball_run: Path, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("--load-config", ball_run, "--no-lpips", *arguments)


def test_the_first_word_chooses_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def note(self: Any) -> None:
        called.append(self)

    for command in (EvaluateMultiview, eval_module.Evaluate):
        monkeypatch.setattr(command, "main", note)
    for arguments in (["multiview", "--load-config", "a"], ["--load-config", "multiview"]):
        monkeypatch.setattr(sys, "argv", ["nf-eval", *arguments])
        eval_module.entrypoint()
    assert [type(command) for command in called] == [EvaluateMultiview, eval_module.Evaluate]
