from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from nf_plugins.data.writers.scene_folder import new_scene_folder, read_request, remove_abandoned
from nf_plugins.errors import InputError


@pytest.fixture
def dead_process() -> int:
    """The number of a process that has ended."""
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    return finished.pid


def _write(folder, request, overwrite=False):
    with new_scene_folder(folder, request, overwrite) as staging:
        (staging / "data.txt").write_text(str(request))


def test_folder_appears_whole_with_its_request(tmp_path):
    target = tmp_path / "a" / "scene"
    facts = {}
    with new_scene_folder(target, {"seed": 3}, facts=facts) as staging:
        assert not target.exists() and staging.parent == target.parent
        facts["layout"] = "x"
    assert read_request(target) == {"seed": 3}
    assert json.loads((target / "synth.json").read_text())["layout"] == "x"
    assert os.listdir(target.parent) == ["scene"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_failure_midway_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure), new_scene_folder(tmp_path / "scene", {}) as staging:
        (staging / "half").write_text("x")
        raise failure
    assert os.listdir(tmp_path) == []


def test_failed_overwrite_keeps_the_old_scene(tmp_path):
    target = tmp_path / "scene"
    _write(target, {"seed": 1})
    with pytest.raises(RuntimeError), new_scene_folder(target, {"seed": 2}, overwrite=True):
        raise RuntimeError
    assert read_request(target) == {"seed": 1}
    assert (target / "data.txt").is_file() and os.listdir(tmp_path) == ["scene"]


def test_overwrite_replaces_everything(tmp_path):
    target = tmp_path / "scene"
    _write(target, {"seed": 1})
    (target / "extra").write_text("x")
    with pytest.raises(InputError, match="--overwrite"):
        _write(target, {"seed": 2})
    _write(target, {"seed": 2}, overwrite=True)
    assert sorted(os.listdir(target)) == ["data.txt", "synth.json"] and os.listdir(tmp_path) == ["scene"]


def test_foreign_folders_and_files_are_never_touched(tmp_path):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_text("x")
    with pytest.raises(InputError, match="left alone"):
        _write(foreign, {}, overwrite=True)
    assert os.listdir(foreign) == ["holiday.jpg"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        _write(tmp_path / "file", {}, overwrite=True)


def test_empty_folder_is_accepted(tmp_path):
    (tmp_path / "scene").mkdir()
    _write(tmp_path / "scene", {"seed": 1})
    assert read_request(tmp_path / "scene") == {"seed": 1}


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot create"):
        _write(tmp_path / "file" / "scene", {})


def test_leftovers_of_killed_runs_are_removed_and_of_live_ones_kept(tmp_path, dead_process):
    (tmp_path / f".scene.writing-{dead_process}").mkdir()
    (tmp_path / f".scene.writing-{os.getppid()}").mkdir()
    _write(tmp_path / "scene", {})
    assert sorted(os.listdir(tmp_path)) == [f".scene.writing-{os.getppid()}", "scene"]


def test_a_kill_between_the_two_renames_is_mended(tmp_path, dead_process):
    _write(tmp_path / "scene", {"seed": 1})
    os.replace(tmp_path / "scene", tmp_path / f".scene.old-{dead_process}")
    with pytest.raises(InputError, match="--overwrite"):
        _write(tmp_path / "scene", {"seed": 2})
    assert read_request(tmp_path / "scene") == {"seed": 1} and os.listdir(tmp_path) == ["scene"]
    # Killed right after both: what was replaced is still there, hidden.
    shutil.copytree(tmp_path / "scene", tmp_path / f".scene.old-{dead_process}")
    _write(tmp_path / "scene", {"seed": 3}, overwrite=True)
    assert read_request(tmp_path / "scene") == {"seed": 3} and os.listdir(tmp_path) == ["scene"]


def test_what_a_living_process_is_replacing_is_left_to_it(tmp_path):
    (tmp_path / f".scene.old-{os.getppid()}").mkdir()
    remove_abandoned(tmp_path / "scene")
    assert os.listdir(tmp_path) == [f".scene.old-{os.getppid()}"]
