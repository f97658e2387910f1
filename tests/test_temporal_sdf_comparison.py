"""The benchmark of temporal signed distances: which commands it runs, and the table and page that it writes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ball_meshes import write_ball_anime

from nf_plugins.errors import InputError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "temporal_sdf_comparison.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("temporal_sdf_comparison", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def result(distance: float, held_out: bool) -> dict[str, Any]:
    """What nf-eval writes, as far as the benchmark reads it."""
    values = {"chamfer_l1_sum": distance, "normal_distance": 0.5, "chamfer_l2_mean": distance / 2}
    geometry = {"mean": values, "resolution": 8, "num_samples": 9, "units": "scene"}
    if held_out:
        geometry |= {"mean_training": values, "mean_held_out": None}
    return {
        "geometry": geometry,
        "num_parameters": 77,
        "training": {"steps": 5, "seconds": 2.4},
        "protocol": {"machine": "m", "versions": {"torch": "2"}},
    }


@pytest.mark.parametrize("held_out", [False, True])
def test_table_and_page_are_written(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: bool
) -> None:
    anime = write_ball_anime(tmp_path / "ball.anime", num_frames=7, subdivisions=1)
    seen: list[tuple[str, int, list[int]]] = []

    def measured(options: Any, contestant: Any, seed: int, frames: list[int]) -> dict[str, Any]:
        seen.append((contestant.name, seed, frames))
        return result(0.02 if contestant.method == "siren-tsdf" else 0.01, held_out)

    monkeypatch.setattr(bench, "measured", measured)
    options = bench.Options(
        output_dir=tmp_path / "runs", data=anime, frame_stride=1, output_path=tmp_path / "table.json", seeds=(1, 2),
        test_every=3 if held_out else None,
    )  # fmt: skip
    bench.main(options)
    assert len(seen) == 10 and seen[0][2] == [0, 1, 2, 4, 5, 6]
    written = json.loads((tmp_path / "table.json").read_text())
    assert [row[0] for row in written["rows"][:5]] == [
        "SIREN-128", "SIREN-256", "SIREN-128 + R10", "SIREN-128 + R40", "hash grid",
    ]  # fmt: skip
    first = written["rows"][0]
    assert first[:5] == ["SIREN-128", 1, "20.00", "50.00", "10.00"] and first[-4:] == [77, "0.0005", 5, 2]
    assert all(len(row) == len(written["columns"]) for row in written["rows"])
    if held_out:
        assert first[5:8] == [None] * 3 and "held-out" in written["columns"][5]
    assert "--seeds 1 2" in written["command"] and "--output-dir RUNS" in written["command"]
    assert str(tmp_path) not in written["command"].replace(str(anime), "")
    assert "| SIREN-128 + R40 |" in (tmp_path / "table.md").read_text()


def test_commands_use_options_that_exist(bench: ModuleType, tmp_path: Path) -> None:
    from dataparsers.mesh_sequence import MeshSequenceDataParserConfig
    from method_configs import resfields_tsdf

    options = bench.Options(output_dir=tmp_path, test_every=3, num_frames=9)
    for contestant in bench.contestants(options):
        config: Any = getattr(resfields_tsdf, contestant.method.replace("-", "_")).config
        command = bench.train_command(options, contestant, seed=3)
        place = command.index("mesh-sequence-data")
        for option in (text for text in command[:place] if text.startswith("--")):
            value: Any = config
            for part in option[2:].replace("-", "_").split("."):
                value = value[part] if isinstance(value, dict) else getattr(value, part)
        for option in (text for text in command[place:] if text.startswith("--")):
            assert hasattr(MeshSequenceDataParserConfig(), option[2:].replace("-", "_"))
    with pytest.raises(InputError, match="--only names MLP, expected some of SIREN-128"):
        bench.contestants(bench.Options(output_dir=tmp_path, only=("MLP",)))


def test_a_run_that_fails_names_its_log(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = bench.Options(output_dir=tmp_path)
    contestant = bench.Contestant("none", "none", (), 1.0)
    folder = bench.run_folder(options, contestant, 0)
    (folder / "evaluation").mkdir(parents=True)
    (folder / "evaluation" / "comparison.json").write_text('{"kept": 1}')
    assert bench.measured(options, contestant, 0, [0]) == {"kept": 1}
    monkeypatch.setattr(bench, "train_command", lambda *arguments: ["nf-eval"])
    with pytest.raises(InputError, match=r"nf-eval failed for none \(seed 1\): see .*log\.txt"):
        bench.measured(options, contestant, 1, [0])
