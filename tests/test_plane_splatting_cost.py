"""The benchmark of splatting: the published loop, plane after plane, makes the image that all planes at once make."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "plane_splatting.py"


def test_all_ways_make_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specification = importlib.util.spec_from_file_location("plane_splatting_cost", SCRIPT)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, specification.name, script)
    specification.loader.exec_module(script)
    path = tmp_path / "splatting.json"
    script.main(script.Options(sizes=((4, 5, 6), (7, 4, 5)), repetitions=1, output_path=path))
    result = json.loads(path.read_text())
    assert [row[0] for row in result["rows"]] == ["4 x 5 x 6", "7 x 4 x 5"]
    for row in result["rows"]:
        assert len(row) == len(result["columns"]) and float(row[-1]) < 1e-5
