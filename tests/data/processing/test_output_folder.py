from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nf_plugins.data.processing.output_folder import RECORD_FILE, check_output_folder, new_capture_folder
from nf_plugins.errors import InputError


def test_a_capture_appears_whole_with_its_record(tmp_path: Path):
    record: dict[str, object] = {"command": "x"}
    with new_capture_folder(tmp_path / "deep" / "out", False, record) as staging:
        (staging / "file").write_text("1")
        record["found"] = 3
        assert not (tmp_path / "deep" / "out").exists()
    assert json.loads((tmp_path / "deep" / "out" / RECORD_FILE).read_text()) == {"command": "x", "found": 3}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_after_an_error_the_earlier_capture_is_there(tmp_path: Path):
    with new_capture_folder(tmp_path / "out", False, {}) as staging:
        (staging / "file").write_text("1")
    with pytest.raises(RuntimeError), new_capture_folder(tmp_path / "out", True, {}) as staging:
        (staging / "file").write_text("2")
        raise RuntimeError
    assert (tmp_path / "out" / "file").read_text() == "1"
    with new_capture_folder(tmp_path / "out", True, {}) as staging:
        (staging / "other").touch()
    assert not (tmp_path / "out" / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_targets_that_hold_something_are_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_output_folder(tmp_path / "file", True)
    with pytest.raises(InputError, match=f"holds no {RECORD_FILE}"):
        check_output_folder(tmp_path, True)
    with pytest.raises(InputError, match="cannot create a folder"), new_capture_folder(tmp_path / "file/x", False, {}):
        pass


def test_a_capture_whose_replacement_was_killed_is_there_again(tmp_path: Path):
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    old = tmp_path / f".out.old-{finished.pid}"
    old.mkdir()
    (old / RECORD_FILE).write_text("{}")
    with pytest.raises(InputError, match="already holds a processed capture"):
        check_output_folder(tmp_path / "out", False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
