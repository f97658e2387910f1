"""Batches of the mesh sequence's datamanager, and what runs without searching a distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ball_meshes import write_ball_anime, write_ball_folder

from dataparsers.mesh_sequence import MeshSequenceDataParserConfig
from nf_plugins.data.mesh_point_sampler import MeshPointSampler, MeshPointSamplerConfig
from nf_plugins.data.mesh_sequence_datamanager import MeshSequenceDataManager, MeshSequenceDataManagerConfig
from nf_plugins.data.point_bundle import holds_points
from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import group_rows


def manager(data: Path, test_mode: Any = "val", **parser: Any) -> MeshSequenceDataManager:
    config = MeshSequenceDataManagerConfig(
        dataparser=MeshSequenceDataParserConfig(data=data, resolution=16, num_cameras=1, **parser),
        point_sampler=MeshPointSamplerConfig(points_per_step=200, pool_size=128, refresh_size=64),
    )
    return config.setup(device="cpu", test_mode=test_mode)


def test_batch_is_ordered_by_frame_with_equal_counts_so_that_grouping_is_a_reshape(tmp_path: Path) -> None:
    source = manager(write_ball_folder(tmp_path / "balls"))
    bundle, batch = source.next_train(0)
    assert holds_points(bundle) and not holds_points(source.train_dataset.cameras.generate_rays(0))
    assert bundle.origins.shape == (192, 3) and batch["signed_distance"].shape == (192, 1)
    assert source.get_train_rays_per_batch() == source.get_eval_rays_per_batch() == 192
    assert bundle.times is not None
    groups = group_rows(bundle.times[:, 0])
    assert groups.gather is None and groups.capacity == 64
    assert torch.equal(groups.keys, source.train_dataset.metadata["frame_times"])
    points, distance = source.train_point_sampler.sample(0)
    assert torch.equal(groups.split(bundle.origins), points)
    assert torch.equal(groups.split(batch["signed_distance"]), distance)


def test_bundles_can_be_sliced_and_moved_as_nerfstudio_does(tmp_path: Path) -> None:
    bundle, _ = manager(write_ball_anime(tmp_path / "ball.anime")).next_train(0)
    part = bundle[10:20].to(torch.device("cpu"))
    assert holds_points(part) and len(part) == 10


def test_evaluation_batches_are_other_points_or_the_held_out_frames(tmp_path: Path) -> None:
    anime = write_ball_anime(tmp_path / "ball.anime", num_frames=5)
    every = manager(anime)
    train, test = every.next_train(3)[0], every.next_eval(3)[0]
    assert torch.equal(train.times, test.times) and not torch.equal(train.origins, test.origins)  # type: ignore[arg-type]
    assert every.eval_point_sampler is every.train_point_sampler
    split = manager(anime, test_every=2)
    train, test = split.next_train(0)[0], split.next_eval(0)[0]
    assert train.times is not None and train.times.unique().tolist() == [0, 0.5, 1]
    assert test.times is not None and test.times.unique().tolist() == [0.25, 0.75]
    assert split.get_train_rays_per_batch() == 192 and split.get_eval_rays_per_batch() == 192


def test_points_follow_the_seed_of_the_process(tmp_path: Path) -> None:
    anime = write_ball_anime(tmp_path / "ball.anime")
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        source = manager(anime)
        torch.rand(seed)  # what else was drawn meanwhile does not matter
        batches.append(source.next_train(7)[0].origins)
    assert torch.equal(batches[0], batches[1]) and not torch.equal(batches[0], batches[2])


def test_tools_that_render_search_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: MeshPointSampler, *arguments: Any) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr(MeshPointSampler, "_fill", fail)
    anime = write_ball_anime(tmp_path / "ball.anime")
    for test_mode in ("inference", "test"):
        source = manager(anime, test_mode=test_mode)
        assert source.train_dataset[0]["image"].shape == (16, 16, 3)
    camera, item = source.next_eval_image(0)
    assert camera.shape == (1,) and item["fg_mask"].shape == (16, 16, 1)
    assert len(source.fixed_indices_eval_dataloader.image_indices) == 3
    with pytest.raises(AssertionError, match="searched"):
        source.get_training_callbacks(None)  # type: ignore[arg-type]


def test_open_meshes_end_training_before_it_begins(tmp_path: Path) -> None:
    folder = write_ball_folder(tmp_path / "balls")
    import trimesh

    ball = trimesh.load(folder / "mesh_1.ply")
    trimesh.Trimesh(ball.vertices, ball.faces[2:], process=False).export(folder / "mesh_1.ply")  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"mesh_1\.ply is not watertight \(\d open edges\).*--sign winding"):
        manager(folder).get_training_callbacks(None)  # type: ignore[arg-type]
    assert manager(folder, sign="winding").get_training_callbacks(None) == []  # type: ignore[arg-type]
