"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nf_plugins.atomic_files import atomic_path, check_writable, write_json
from nf_plugins.errors import InputError


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"value": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"value": 1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_json_is_strict_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    write_json(path, {"values": [1.5, float("inf"), float("nan")], "inner": {"x": -float("inf")}})
    assert json.loads(path.read_text()) == {"values": [1.5, None, None], "inner": {"x": None}}
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="not writable"):
        check_writable(tmp_path / "file" / "result.json")
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path)
    check_writable(tmp_path / "fine.json")
    assert os.listdir(tmp_path) == ["file"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
