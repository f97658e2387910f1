"""The benchmark of videos runs, compares what it says, and writes a page that the documentation can take."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from toy_video import toy_frames

from nf_plugins.errors import InputError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "video_comparison.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("video_comparison", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "toy.npy"
    np.save(path, toy_frames())
    return path


def test_every_run_is_measured_and_written(bench: ModuleType, video: Path, tmp_path: Path) -> None:
    options = bench.Options(
        data=video, num_frames=4, downscale_factor=1, width=6, rank=2, hash_num_levels=2, hash_log2_table_size=6,
        steps=4, rays=60, evaluations=2, output_path=tmp_path / "toy.json", picture_path=tmp_path / "toy.png",
    )  # fmt: skip
    bench.main(options)
    result = json.loads(options.output_path.read_text())
    rows = {row[0]: dict(zip(result["columns"], row, strict=True)) for row in result["rows"]}
    assert len(rows) == 5 and all(set(row) == set(result["columns"]) for row in rows.values())
    plain, residual, wide = (row["parameters"] for row in list(rows.values())[:3])
    assert residual - plain == 3 * 2 * (4 + 6 * 6)
    assert abs(wide - residual) < 0.1 * residual
    assert [row["learning rate"] for row in rows.values()] == ["0.002", "0.002", "0.0005", "0.01", "5e-05"]
    assert all([step for step, _, _ in curve] == [2, 4] for curve in result["curves"].values())
    assert "--width 6" in result["command"] and "--steps 4" in result["command"]
    assert "| SIREN-6 + residual layers |" in (tmp_path / "toy.md").read_text()
    assert Image.open(options.picture_path).size[0] >= 6 * 16


def test_runs_can_be_chosen(bench: ModuleType) -> None:
    assert [run.name for run in bench.runs_of(bench.Options(only=("hash grid",)))] == ["hash grid"]
    with pytest.raises(InputError, match="--only names SIREN-1, expected some of SIREN-64, SIREN-64 \\+ residual"):
        bench.runs_of(bench.Options(only=("SIREN-1",)))


def test_what_a_slower_run_had_reached(bench: ModuleType) -> None:
    network = bench.runs_of(bench.Options())[1].network
    run = bench.Run("slow", network, 1e-3, curve=[(10, 4.0, 20.0), (20, 8.0, 30.0)])
    assert bench.psnr_after(run, 6.0) == pytest.approx(25.0)
    assert bench.psnr_after(run, 2.0) is None
    assert bench.psnr_after(run, 99.0) == 30.0
