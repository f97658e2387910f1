"""The benchmark runs, and shows in numbers that do not depend on the machine what keeps a step's cost flat."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "cost_flat_in_frames.py"


def test_a_limit_keeps_composed_weights_equal_whatever_the_number_of_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, SCRIPT.stem, script)
    specification.loader.exec_module(script)
    script.main(
        script.Options(
            frames=(100, 150), rays=150, samples=2, pixels=600, video_width=16, video_frames_per_batch=100, rank=2,
            rounds=1, memory=False, device="cpu", output_path=tmp_path / "cost.json",
        )
    )  # fmt: skip
    result = json.loads((tmp_path / "cost.json").read_text())
    assert all(len(row) == len(result["columns"]) for row in result["rows"])
    for rows in (result["rows"][:3], result["rows"][3:]):
        assert [row[1:3] for row in rows] == [[100, 100], [150, 100], [150, 150]]
        parameters = [int(row[5].replace(" ", "")) for row in rows]
        assert parameters[1] == parameters[2] > parameters[0]
    composed = [float(row[6]) for row in result["rows"][:3]]
    assert composed[0] == composed[1] < composed[2]
    assert composed[0] == pytest.approx(100 * 4 * (5 * 128 * 128 + 76 * 128 + 128 * 128) / 1e6, abs=0.5)
