"""nf-eval from its arguments to its table and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tyro
from ball_pipeline import BallPipeline, ball_config

from nf_plugins.cli.eval import Evaluate
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError


@pytest.fixture
def ball_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two runs whose models are 0.1 and 0.01 too bright."""
    configs = [tmp_path / name / "config.yml" for name in ("bad", "good")]
    offsets = dict(zip(configs, (0.1, 0.01), strict=True))
    for path in configs:
        path.parent.mkdir()
        path.write_text("a stand-in\n")

    def load_run(load_config: Path, test_mode: str):
        return ball_config(), BallPipeline(offsets[load_config]), load_config.with_name("step.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    return configs


def run(*arguments: object) -> None:
    tyro.cli(Evaluate, args=[str(argument) for argument in arguments]).main()


def test_one_run_writes_its_results_into_its_folder(ball_runs: list[Path], capsys) -> None:
    run("--load-config", ball_runs[0], "--no-lpips", "--save-images")
    result = json.loads((ball_runs[0].parent / "evaluation" / "test.json").read_text())
    assert result["mean"]["psnr_fg"] == pytest.approx(20.0, abs=0.2)
    assert result["protocol"]["checkpoint"].endswith("step.ckpt")
    assert len(list((ball_runs[0].parent / "evaluation" / "test_images").iterdir())) == 8
    output = capsys.readouterr().out
    assert "psnr_fg" in output and "lpips" not in output and "made of thin air" in output


def test_several_runs_stand_side_by_side(ball_runs: list[Path], tmp_path: Path, capsys) -> None:
    path = tmp_path / "compared.json"
    run("--load-config", *ball_runs, "--split", "train", "--mask", "foreground", "--no-lpips", "--output-path", path)
    runs = json.loads(path.read_text())["runs"]
    bad, good = (runs[str(config)]["mean"]["psnr_fg"] for config in ball_runs)
    assert good > bad + 15
    output = capsys.readouterr().out
    assert f"{bad:.4f}" in output and f"{good:.4f}" in output
    assert not (ball_runs[0].parent / "evaluation").exists()


def test_several_splits_land_beside_each_other(ball_runs: list[Path], tmp_path: Path) -> None:
    run("--load-config", ball_runs[0], "--no-lpips", "--split", "test", "train")
    written = sorted(path.name for path in (ball_runs[0].parent / "evaluation").iterdir())
    assert written == ["test.json", "train.json"]
    run("--load-config", ball_runs[0], "--no-lpips", "--split", "test", "train", "--output-path", tmp_path / "a.json")
    splits = json.loads((tmp_path / "a.json").read_text())["splits"]
    assert [len(splits[split]["images"]) for split in ("test", "train")] == [4, 8]


def test_folders_and_a_table_of_several_runs(ball_runs: list[Path], tmp_path: Path, capsys) -> None:
    out, table = tmp_path / "out", tmp_path / "table.md"
    run("--load-config", *ball_runs, "--no-lpips", "--output-dir", out, "--table", table, "--mesh-frames", 0, 3,
        "--mesh-resolution", 16)  # fmt: skip
    for name in ("bad", "good"):
        folder = out.joinpath(*tmp_path.absolute().parts[-2:], name)
        assert sorted(path.name for path in folder.iterdir()) == ["meshes", "test"]
        assert (folder / "test" / "grid.mp4").is_file() and (folder / "meshes" / "000003.ply").is_file()
    lines = table.read_text().splitlines()
    assert "parameters" in lines[2] and len([line for line in lines if line.startswith("| ball")]) == 2
    assert "--mesh-frames 0 3" in table.read_text()
    assert not (ball_runs[0].parent / "evaluation").exists()
    assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "table.csv"), r"--table .*table.csv: unknown format"),
        (("--split", "test", "test"), "--split names test, test"),
        (("--fps", 0), "--fps must be positive"),
        (("--mesh-resolution", 1), "--mesh-resolution is 1"),
        (("--mesh-samples", 0), "--mesh-samples is 0"),
    ],
)
def test_bad_options_are_named_before_a_run_is_loaded(ball_runs: list[Path], arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("--load-config", ball_runs[0], *arguments)
    assert not (ball_runs[0].parent / "evaluation").exists()


def test_missing_runs_are_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.yml does not exist"):
        run("--load-config", tmp_path / "nowhere.yml", "--output-path", tmp_path / "result.json")
    with pytest.raises(InputError, match="names no run"):
        run("--load-config")
    assert not list(tmp_path.iterdir())


def test_a_trained_run_is_evaluated(tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    geometry = ("--mesh-frames", 0, 5, "--mesh-resolution", 32, "--mesh-samples", 1000)
    run("--load-config", tiny_run, "--no-lpips", "--output-path", path, *geometry)
    result = json.loads(path.read_text())
    protocol = result["protocol"]
    assert protocol["method"] == "resfields-tnerf-tiny" and protocol["dataparser"] == "owlii-data"
    assert protocol["num_images"] == 6 and protocol["resolution"] == [24, 24] and protocol["checkpoint"]
    assert [entry["frame_id"] for entry in result["per_frame"]] == list(range(6))
    assert len(result["per_camera"]) == 1
    assert all(3.0 < row["psnr"] < 60.0 and row["psnr_fg"] is not None for row in result["images"])
    assert [entry["frame_id"] for entry in result["geometry"]["per_frame"]] == [0, 5]
    assert result["geometry"]["truth"] == "mesh"
