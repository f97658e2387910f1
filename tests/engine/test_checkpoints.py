"""Checkpoint files and the state of chance."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nf_plugins.engine import checkpoints
from nf_plugins.errors import InputError


def state(step: int) -> dict[str, Any]:
    return {"step": step, "pipeline": {"weight": torch.full((8,), float(step))}, "optimizers": {}, "scalers": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "nerfstudio_models"
    for step in (5, 10, 1_000_000_000):
        checkpoints.save_checkpoint_atomically(state(step), folder / checkpoints.checkpoint_name(step))
    return folder


def truncate(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def rewrite_in_zip(path: Path, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content.replace(old, new))


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_checkpoints_are_listed_newest_first_by_step_not_by_name(folder: Path) -> None:
    (folder / "notes.txt").touch()
    assert [checkpoints.checkpoint_step(path) for path in checkpoints.list_checkpoints(folder)] == [10**9, 10, 5]
    assert checkpoints.list_checkpoints(folder / "absent") == []


def test_nothing_but_checkpoints_is_left_after_a_save(folder: Path) -> None:
    assert files_below(folder.parent) == {path.name for path in checkpoints.list_checkpoints(folder)}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_newest_checkpoint_is_passed_over_with_one_line(folder: Path, part: float) -> None:
    truncate(checkpoints.list_checkpoints(folder)[0], part)
    lines: list[str] = []
    found = checkpoints.load_newest_valid(folder, describe=lines.append)
    assert found is not None
    path, loaded = found
    assert path.name == "step-000000010.ckpt"
    assert torch.equal(loaded["pipeline"]["weight"], torch.full((8,), 10.0))
    assert len(lines) == 1
    assert "step-1000000000.ckpt" in lines[0]


def test_no_valid_checkpoint_gives_none(folder: Path, tmp_path: Path) -> None:
    for path in checkpoints.list_checkpoints(folder):
        truncate(path, 0.5)
    assert checkpoints.load_newest_valid(folder, describe=lambda line: None) is None
    assert checkpoints.load_newest_valid(tmp_path / "absent") is None


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"other\.ckpt is not a nerfstudio checkpoint: it has no entry 'step'"):
        checkpoints.load_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="does not exist"):
        checkpoints.load_checkpoint(tmp_path / "absent.ckpt")


@pytest.mark.parametrize("core", ["_core", "core"])
def test_numpy_scalars_of_other_trainers_become_python_numbers(tmp_path: Path, core: str) -> None:
    path = tmp_path / "step-000000001.ckpt"
    lrs = [np.float64(0.5), np.float32(0.25), np.int64(3), np.bool_(True)]
    torch.save({**state(1), "schedulers": {"fields": {"_last_lr": lrs, "nested": ({"lr": lrs[0]},)}}}, path)
    if core == "core":  # as NumPy 1 wrote it
        rewrite_in_zip(path, b"numpy._core.multiarray", b"numpy.core.multiarray")
    loaded = checkpoints.load_checkpoint(path)["schedulers"]["fields"]
    assert loaded["_last_lr"] == [0.5, 0.25, 3, True]
    assert [type(value) for value in loaded["_last_lr"]] == [float, float, int, bool]
    assert type(loaded["nested"][0]["lr"]) is float


def test_what_could_run_code_is_still_refused(tmp_path: Path) -> None:
    path = tmp_path / "step-000000001.ckpt"
    torch.save({**state(1), "evil": Path("/")}, path)
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.load_checkpoint(path)


def test_a_failed_save_leaves_the_earlier_checkpoint_and_no_other_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / checkpoints.checkpoint_name(10)
    before, names = path.read_bytes(), files_below(folder.parent)

    def full_disk(content: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save_checkpoint_atomically(state(11), path)
    assert path.read_bytes() == before
    assert files_below(folder.parent) == names


def test_a_checkpoint_is_invisible_until_it_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    save = torch.save

    def look_then_save(content: Any, file: Any) -> None:
        save(content, file)
        seen.append({path.name for path in folder.iterdir()})

    monkeypatch.setattr(torch, "save", look_then_save)
    checkpoints.save_checkpoint_atomically(state(20), folder / checkpoints.checkpoint_name(20))
    assert "step-000000020.ckpt" not in seen[0]
    assert all(checkpoints.checkpoint_step(Path(name)) is not None for name in seen[0])


def test_unfinished_files_of_a_killed_process_are_removed(folder: Path) -> None:
    (folder.parent / ".step-000000011.ckpt.4242.tmp").write_bytes(b"half")
    (folder.parent / "config.yml").touch()
    checkpoints.remove_unfinished_files(folder)
    assert files_below(folder.parent) == {"config.yml", *(path.name for path in checkpoints.list_checkpoints(folder))}


def test_only_checkpoints_are_removed(folder: Path) -> None:
    (folder / "notes.txt").touch()
    keep = folder / checkpoints.checkpoint_name(10)
    checkpoints.remove_checkpoints_except(folder, {keep})
    assert files_below(folder) == {"notes.txt", keep.name}


def draw() -> list[Any]:
    numbers = [random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.randn())]  # noqa: NPY002
    return [*numbers, *torch.rand(3).tolist(), *torch.randn(17).tolist()]


def test_random_state_comes_back_through_a_file_that_loads_as_weights_only(tmp_path: Path) -> None:
    random.gauss(0, 1)  # leaves a second value behind that belongs to the state
    np.random.randn()  # noqa: NPY002
    torch.save(checkpoints.pack_random_state(), tmp_path / "random.pt")
    expected = draw()
    draw()
    checkpoints.unpack_random_state(torch.load(tmp_path / "random.pt", weights_only=True))
    assert draw() == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_random_state_of_the_gpu_comes_back() -> None:
    packed = checkpoints.pack_random_state()
    expected = torch.rand(5, device="cuda")
    checkpoints.unpack_random_state(packed)
    assert torch.equal(torch.rand(5, device="cuda"), expected)
