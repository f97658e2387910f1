"""nf-eval monocular: which files, which names, which complaints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro
from monocular_pipeline import monocular_config, monocular_pipeline
from monocular_scene import write_monocular_scene

from nf_plugins.cli import eval as eval_module
from nf_plugins.cli.eval_monocular import EvaluateMonocular
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def monocular_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scene = write_monocular_scene(tmp_path / "scene", height=8, width=10, num_rig_cameras=3, priors=False)
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("a stand-in\n")
    trainer = monocular_config(scene)

    def load_run(load_config: Path, test_mode: str):
        return trainer, monocular_pipeline(trainer), Path("c.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    return config


def run(*arguments: object) -> None:
    tyro.cli(EvaluateMonocular, args=[str(argument) for argument in arguments]).main()


def test_a_run_gets_a_file_with_the_protocols_name(monocular_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--load-config", monocular_run, "--no-lpips")
    run("--load-config", monocular_run, "--no-lpips", "--protocol", "dynamic-nerf")
    folder = monocular_run.parent / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["monocular_dynamic-nerf.json", "monocular_nsff.json"]
    results = {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}
    for name, count in (("nsff", 5 * 2), ("dynamic-nerf", 5)):
        result = results[f"monocular_{name}"]
        assert result["protocol"]["name"] == name and result["num_images"] == count and result["training"] is None
    output = capsys.readouterr().out
    assert "SSIM, range 2 as published, what moves" in output and "LPIPS" not in output
    assert "of them trained on" in output  # the first camera took two of the frames


def test_several_runs_share_an_output_path(monocular_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "config.yml"
    other.parent.mkdir()
    other.write_text("a stand-in\n")
    options = ("--no-lpips", "--image-stride", 5)
    run("--load-config", monocular_run, other, "--output-path", tmp_path / "two.json", *options)
    runs = json.loads((tmp_path / "two.json").read_text())["runs"]
    assert set(runs) == {str(monocular_run), str(other)} and not (other.parent / "evaluation").exists()


def test_bad_options_are_named(monocular_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--image-stride is 0"):
        run("--load-config", monocular_run, "--image-stride", 0)
    with pytest.raises(InputError, match=r"nowhere\.yml does not exist"):
        run("--load-config", tmp_path / "nowhere.yml")


def test_every_folder_of_results_is_tried_before_the_first_run_is_loaded(monocular_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "config.yml"
    other.parent.mkdir()
    other.write_text("a stand-in\n")
    (other.parent / "evaluation").write_text("in the way\n")
    with pytest.raises(InputError, match="other/evaluation is not writable"):
        run("--load-config", monocular_run, other, "--no-lpips")
    assert not list((monocular_run.parent / "evaluation").iterdir())


def test_what_was_measured_before_a_bad_run_is_printed(
    monocular_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "config.yml"
    other.parent.mkdir()
    other.write_text("a stand-in\n")
    load_run = load_run_module.load_run

    def load(load_config: Path, test_mode: Any) -> Any:
        if load_config == other:
            raise InputError("no weights")
        return load_run(load_config, test_mode)

    monkeypatch.setattr(load_run_module, "load_run", load)
    with pytest.raises(InputError, match="no weights"):
        run("--load-config", monocular_run, other, "--no-lpips", "--image-stride", 5)
    output = capsys.readouterr().out
    assert "Views of other cameras" in output and "PSNR" in output
    with pytest.raises(InputError, match="no weights"):
        run("--load-config", other, "--no-lpips")
    assert "Views of other cameras" not in capsys.readouterr().out


def test_the_first_word_chooses_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def note(self: Any) -> None:
        called.append(self)

    for command in (EvaluateMonocular, eval_module.Evaluate):
        monkeypatch.setattr(command, "main", note)
    for arguments in (["monocular", "--load-config", "a"], ["--load-config", "monocular"]):
        monkeypatch.setattr(sys, "argv", ["nf-eval", *arguments])
        eval_module.entrypoint()
    assert [type(command) for command in called] == [EvaluateMonocular, eval_module.Evaluate]
    assert called[0].load_config == (Path("a"),) and called[1].load_config == (Path("monocular"),)
