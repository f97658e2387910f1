"""Which run is continued, and whether it may be."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from nf_plugins.engine import run_folder
from nf_plugins.errors import InputError


@dataclass
class Part:
    size: int = 3
    sizes: tuple[int, ...] = (1, 2)
    data: Path | None = None
    eval_num_rays_per_chunk: int = 100


@dataclass
class OtherPart:
    size: int = 3


@dataclass
class Whole:
    part: Any = field(default_factory=Part)
    parts: dict[str, Any] = field(default_factory=lambda: {"fields": Part()})


def make_run(folder: Path, name: str, modified: int) -> Path:
    (folder / name).mkdir(parents=True)
    config = folder / name / "config.yml"
    config.touch()
    os.utime(config, (modified, modified))
    return folder / name


def test_newest_run_is_the_one_started_last_whatever_its_name(tmp_path: Path) -> None:
    assert run_folder.find_newest_run(tmp_path / "absent") is None
    make_run(tmp_path, "2024-01-02_000000", 100)
    newest = make_run(tmp_path, "2024-01-01_000000", 200)
    make_run(tmp_path, "named", 150)
    (tmp_path / "2030-01-01_000000").mkdir()  # holds no config.yml
    assert run_folder.find_newest_run(tmp_path) == newest


def test_equal_configs_have_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stored = Whole(part=Part(data=Path("scene")))
    current = Whole(part=Part(data=tmp_path / "scene", eval_num_rays_per_chunk=7, sizes=(1, 2)))
    assert run_folder.find_difference(stored, current, "config") is None


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (Whole(part=Part(size=4)), ("config.part.size", 3, 4)),
        (Whole(part=Part(sizes=(1, 2, 3))), ("config.part.sizes", (1, 2), (1, 2, 3))),
        (Whole(part=Part(data=Path("x"))), ("config.part.data", None, Path("x"))),
        (Whole(part=OtherPart()), ("config.part", "Part", "OtherPart")),
        (Whole(parts={"fields": Part(size=9)}), ("config.parts.fields.size", 3, 9)),
        (Whole(parts={}), ("config.parts.fields", Part(), None)),
        (Whole(parts={"fields": Part(), "more": 1}), ("config.parts.more", None, 1)),
    ],
)
def test_the_first_difference_is_named_with_both_values(current: Whole, expected: tuple[str, Any, Any]) -> None:
    assert run_folder.find_difference(Whole(), current, "config") == expected


def test_a_field_that_is_newer_than_the_run_is_no_difference() -> None:
    stored = Whole()
    del stored.part.__dict__["sizes"]
    assert run_folder.find_difference(stored, Whole(), "config") is None


def test_a_file_in_the_way_of_the_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    with pytest.raises(InputError, match="outputs is a file"):
        run_folder.check_folder_writable(tmp_path / "outputs" / "scene" / "run")
    run_folder.check_folder_writable(tmp_path / "new" / "scene" / "run")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="not writable"):
        run_folder.check_folder_writable(tmp_path / "outputs")


@pytest.mark.parametrize("content", ["", "a: [", "just text", "!!python/object:nowhere.Config {}"])
def test_a_damaged_config_gets_its_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yml").write_text(content)
    with pytest.raises(InputError, match=r"config\.yml"):
        run_folder.read_config(tmp_path / "config.yml")


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    hold = (
        "import sys, pathlib; from nf_plugins.engine.run_folder import training_lock\n"
        "with training_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    run_folder.check_not_training(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process"):
            run_folder.check_not_training(tmp_path)
        other.kill()
    run_folder.check_not_training(tmp_path)  # the lock has ended with the process


def test_fewer_rays_per_batch_are_said_and_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from method_configs.resfields import resfields_tnerf_tiny

    config: Any = copy.deepcopy(resfields_tnerf_tiny.config)
    (tmp_path / "config.yml").write_text(yaml.dump(config))
    run_folder.check_same_training(tmp_path / "config.yml", config)
    assert capsys.readouterr().out == ""
    old, config.pipeline.datamanager.train_num_rays_per_batch = (
        config.pipeline.datamanager.train_num_rays_per_batch,
        7,
    )
    run_folder.check_same_training(tmp_path / "config.yml", config)
    said = " ".join(capsys.readouterr().out.split())
    assert f"--pipeline.datamanager.train-num-rays-per-batch 7 in place of {old}" in said
    config.pipeline.datamanager.eval_num_rays_per_batch = 8
    config.machine.seed += 1
    with pytest.raises(InputError, match="machine.seed"):
        run_folder.check_same_training(tmp_path / "config.yml", config)
