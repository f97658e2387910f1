"""Stages are gone on with, refused or cleared, by what they were made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf_plugins.data.processing.stage_log import Stage, StageLog, fingerprint_files
from nf_plugins.errors import InputError


def plan(size: int = 1, width: int = 2, colour: str = "red") -> dict[str, Stage]:
    return {
        "first": Stage({"size": size}, ("one", "one_*")),
        "second": Stage({"width": width}, ("two",), ("first",)),
        "third": Stage({"colour": colour}, ("three",)),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which all stages of ``plan()`` were begun."""
    folder = tmp_path / "out"
    log = StageLog(folder, "test")
    for name, stage in plan().items():
        log.begin(name, stage)
    for name in ("one", "one_half", "two", "three"):
        (folder / name).mkdir()
    return folder


def test_the_same_plan_is_gone_on_with(folder: Path):
    log = StageLog(folder, "test")
    assert log.stale(plan()) == []
    log.require_fresh(plan(), overwrite=False)
    log.clear(plan())
    assert (folder / "one").is_dir()
    assert not log.finished("first") and not log.finished("unheard of")
    log.finish("first", count=3)
    assert log.finished("first")
    assert StageLog(folder, "test").content["stages"]["first"] == {
        "finished": True,
        "made_with": {"size": 1},
        "count": 3,
    }


def test_another_option_makes_a_stage_and_what_follows_stale(folder: Path):
    log = StageLog(folder, "test")
    assert log.stale(plan(width=3)) == ["second"]
    assert log.stale(plan(size=5)) == ["first", "second"]
    with pytest.raises(InputError, match=r"first made with another size \(1, now 5\).*make first, second anew"):
        log.require_fresh(plan(size=5), overwrite=False)
    log.require_fresh(plan(size=5), overwrite=True)
    log.clear(plan(size=5))
    assert sorted(path.name for path in folder.iterdir()) == ["process_data.json", "three"]
    again = StageLog(folder, "test")
    assert again.made_with("first") is None and again.made_with("third") == {"colour": "red"}


def test_folders_of_others_are_left_alone(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="holds no process_data.json of other"):
        StageLog(folder, "other")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        StageLog(tmp_path / "file", "test")
    (tmp_path / "empty").mkdir()
    assert StageLog(tmp_path / "empty", "test").content["stages"] == {}


def test_files_have_a_name_that_changes_with_them(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    before = fingerprint_files([tmp_path / "a"])
    assert fingerprint_files([tmp_path / "a"]) == before
    (tmp_path / "a").write_text("12")
    assert fingerprint_files([tmp_path / "a"]) != before
