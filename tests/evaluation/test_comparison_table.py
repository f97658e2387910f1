"""Tables over runs: which columns, how they read, where they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nf_plugins.errors import InputError
from nf_plugins.evaluation.comparison_table import comparison_table, write_table


def result(method: str, psnr: float | None, **more: Any) -> dict[str, Any]:
    protocol = {
        "method": method, "experiment": "scene|one", "split": "test", "num_images": 4, "step": 99, "seed": 42,
        "resolution": [24, 24], "machine": f"cpu of {method}", "protocol_note": "held out: cam_test",
    }  # fmt: skip
    return {"protocol": protocol, "mean": {"psnr": psnr, "ssim": 0.5, "lpips": None}, **more}


def geometry(distance: float) -> dict[str, Any]:
    return {"units": "scene", "mean": {"chamfer_l1_sum": distance}}


def test_columns_are_those_that_some_run_has() -> None:
    plain = comparison_table([result("a", 20.0), result("b", None)])
    assert plain.columns == ["method", "experiment", "split", "images", "step", "psnr", "ssim"]
    full = comparison_table(
        [
            result("a", 20.0, num_parameters=1234, training={"seconds": 61.25}, geometry=geometry(0.0123456)),
            result("b", 21.5, num_parameters=99, training=None),
        ]
    )
    assert full.columns[5:] == ["parameters", "training seconds", "psnr", "ssim", "chamfer_l1_sum"]
    assert full.rows[0][5:] == [1234, 61.25, 20.0, 0.5, 0.0123456]
    assert full.text()[1][5:] == ["99", "-", "21.5000", "0.5000", "-"]
    assert full.text()[0][6] == "61.2" and full.text()[0][-1] == "0.01235"
    assert full.protocol == {"resolution": [24, 24], "seed": 42}  # the machines differ
    assert full.notes[0] == "held out: cam_test" and "scene units" in full.notes[1]


def test_what_a_method_s_own_protocol_measures_has_its_column() -> None:
    table = comparison_table([result("a", 20.0, protocol_results={"psnr_test": 31.5}), result("b", 21.0)])
    assert table.columns[5] == "psnr_test" and [row[5] for row in table.rows] == [31.5, None]


def test_markdown_and_json_hold_the_table(tmp_path: Path) -> None:
    table = comparison_table([result("a", 20.0, num_parameters=1), result("b", None, num_parameters=2)])
    write_table(tmp_path / "new" / "table.md", table, "Two runs", "nf-eval --split test")
    text = (tmp_path / "new" / "table.md").read_text()
    assert text.startswith("# Two runs\n\n| method | experiment | split | images | step | parameters | psnr | ssim |\n")
    assert "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n" in text
    assert "| b | scene\\|one | test | 4 | 99 | 2 | - | 0.5000 |" in text
    assert "- held out: cam_test" in text and "nf-eval --split test" in text and "| resolution | 24, 24 |" in text
    write_table(tmp_path / "table.json", table, "Two runs", "nf-eval --split test")
    content = json.loads((tmp_path / "table.json").read_text())
    assert set(content) == {"title", "command", "protocol", "columns", "rows", "notes"}
    assert content["rows"][1] == ["b", "scene|one", "test", 4, 99, 2, None, 0.5]
    with pytest.raises(InputError, match=r"unknown format \.csv, expected \.md or \.json"):
        write_table(tmp_path / "table.csv", table, "", "")
