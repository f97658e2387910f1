"""Caches on disk, the published pair of files, and which model a cache is of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzy_ball_model import FuzzyBallModel

from nf_plugins.errors import InputError
from nf_plugins.exporters.model_digest import model_digest
from nf_plugins.exporters.occupancy_baking import GridOptions, bake_field
from nf_plugins.exporters.occupancy_files import (
    CacheFacts,
    cache_path,
    cache_tags,
    load_cache,
    read_cache,
    read_reference_pair,
    write_cache,
    write_reference_pair,
)

FACTS = CacheFacts("ball", 30, 5.0, "field")


def written(run_dir: Path, model: FuzzyBallModel, tag: str = "default") -> Path:
    cache = bake_field(model, [1, 3], GridOptions((3, 4, 5)), 7.0, tag=tag)
    path = cache_path(run_dir, tag)
    write_cache(path, cache, model, FACTS)
    return path


def test_a_cache_comes_back_whole(tmp_path: Path) -> None:
    model = FuzzyBallModel()
    path = written(tmp_path, model)
    assert path == tmp_path / "occupancy" / "default.npz" and cache_tags(tmp_path) == ["default"]
    cache, facts, times = read_cache(path)
    fresh = bake_field(model, [1, 3], GridOptions((3, 4, 5)), 7.0, tag="default")
    assert facts == FACTS and times.tolist() == pytest.approx([1 / 3, 1.0])
    assert torch.equal(cache.bits, fresh.bits) and torch.equal(cache.boxes, fresh.boxes)
    assert (cache.resolution, cache.tag, cache.density_threshold) == ((3, 4, 5), "default", 7.0)
    assert torch.equal(load_cache(tmp_path, "default", model).bits, fresh.bits)


def test_the_cache_of_another_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = FuzzyBallModel()
    written(tmp_path, model)
    with torch.no_grad():
        model.brightness.add_(1e-6)
    with pytest.raises(InputError, match=r"another checkpoint \(step 30\) than .* step 60.*nf-cache grid"):
        load_cache(tmp_path, "default", model, step=60)
    assert len(load_cache(tmp_path, "default", model, step=60, allow_other_checkpoint=True)) == 2
    assert "used all the same" in " ".join(capsys.readouterr().out.split())


def test_other_frames_are_refused(tmp_path: Path) -> None:
    model = FuzzyBallModel()
    written(tmp_path, model)
    model.frame_times = torch.linspace(0, 1, 7)
    with pytest.raises(InputError, match="frames 1 to 3 .* not those of the 7 frames"):
        load_cache(tmp_path, "default", model)
    model.frame_times = torch.zeros(1)
    with pytest.raises(InputError, match="not those of the 1 frames"):
        load_cache(tmp_path, "default", model)


def test_files_that_are_not_there_damaged_or_named_badly(tmp_path: Path) -> None:
    model = FuzzyBallModel()
    path = written(tmp_path, model, "fine")
    with pytest.raises(InputError, match="no occupancy cache .*coarse.npz .caches of this run: fine."):
        load_cache(tmp_path, "coarse", model)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="is no occupancy cache"):
        load_cache(tmp_path, "fine", model)
    for tag in ("../x", "", ".hidden", "a b"):
        with pytest.raises(InputError, match="is no name"):
            cache_path(tmp_path, tag)


def test_the_published_pair_round_trip(tmp_path: Path) -> None:
    model = FuzzyBallModel()
    matrix = model.metadata["world_from_scene"]
    cache = bake_field(model, [0, 2], GridOptions((3, 4, 5)), 7.0, tag="x")
    paths = write_reference_pair(tmp_path, cache, matrix)
    assert [path.name for path in paths] == ["binarys.npz", "bounds.npz"]
    grids, boxes = (np.load(path)["arr_0"] for path in paths)
    assert grids.dtype == bool and grids.shape == (2, 3, 4, 5) and boxes.dtype == np.float32
    assert np.allclose(boxes[0], [[3.0, -1.6, -2.4], [7.0, 1.6, 0.4]]), "world units: 2 x + (5, 0, -1)"
    back = read_reference_pair(tmp_path, matrix, [0, 2])
    assert torch.equal(back.bits, cache.bits) and torch.allclose(back.boxes, cache.boxes, atol=1e-6)
    assert read_reference_pair(tmp_path, matrix).frame_ids.tolist() == [0, 1]
    with pytest.raises(InputError, match="holds 2 frames, --frames names 3"):
        read_reference_pair(tmp_path, matrix, [0, 1, 2])
    np.savez(tmp_path / "bounds.npz", boxes[:1])
    with pytest.raises(InputError, match=r"expected .frames, X, Y, Z."):
        read_reference_pair(tmp_path, matrix)
    (tmp_path / "binarys.npz").unlink()
    with pytest.raises(InputError, match="binarys.npz cannot be read"):
        read_reference_pair(tmp_path, matrix)


def test_boxes_of_a_turned_world_cannot_be_exchanged(tmp_path: Path) -> None:
    cache = bake_field(FuzzyBallModel(), [0], GridOptions((2, 2, 2)), 7.0, tag="x")
    turned = torch.eye(4)
    turned[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    with pytest.raises(InputError, match="turned against the data's world"):
        write_reference_pair(tmp_path, cache, turned)


def test_the_digest_depends_on_values_names_and_types_alone() -> None:
    first, second = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    second.load_state_dict(first.state_dict())
    assert model_digest(first) == model_digest(second)
    second.register_buffer("extra", torch.ones(3))
    assert model_digest(first) == model_digest(second)
    assert model_digest(first) != model_digest(second.double())
    with torch.no_grad():
        first.bias[0] += 1e-6
    assert model_digest(first) != model_digest(second.float())
