"""Where the results of evaluated runs lie, and how they are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nf_plugins.cli.eval_results import evaluation_folder, print_columns, write_result


def test_results_lie_beside_the_config_whether_the_file_or_its_folder_is_named(tmp_path: Path) -> None:
    assert evaluation_folder(tmp_path / "config.yml") == evaluation_folder(tmp_path) == tmp_path / "evaluation"


def test_a_result_is_written_alone_or_with_those_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = [tmp_path / name / "config.yml" for name in ("a", "b")]
    results = {str(config): {"value": index} for index, config in enumerate(configs)}
    for output_path, num_runs, expected in (
        (None, 2, {"value": 0}),
        (tmp_path / "one.json", 1, {"value": 0}),
        (tmp_path / "two.json", 2, {"runs": results}),
    ):
        # A run that is named again is not the last of the results.
        write_result(configs[0], results, default_name="x.json", output_path=output_path, num_runs=num_runs)
        path = output_path or tmp_path / "a" / "evaluation" / "x.json"
        assert json.loads(path.read_text()) == expected
        assert path.name in capsys.readouterr().out.replace("\n", "")


def test_a_number_that_a_run_lacks_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns("Title", [{"PSNR": "20.0"}, {"PSNR": "21.0", "steps": "7"}])
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in cells if len(row) == 3] == [["PSNR", "20.0", "21.0"], ["steps", "-", "7"]]
