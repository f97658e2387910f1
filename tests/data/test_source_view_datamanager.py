"""Batches of the source-view datamanager, alone and in two processes."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from source_rig import rig_config, write_rig
from torch import Tensor, nn

from nf_plugins.data.source_view_datamanager import SourceViewDataManager, SourceViewDataManagerConfig
from nf_plugins.errors import InputError
from nf_plugins.model_components.box_collider import intersect_box
from nf_plugins.model_components.ray_groups import group_rays

PIXELS = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rig(tmp_path_factory.mktemp("rig") / "scene", num_cameras=6)


def config_of(folder: Path, **options: Any) -> SourceViewDataManagerConfig:
    settings: dict[str, Any] = {
        "dataparser": rig_config(folder),
        "pixels_per_image": PIXELS,
        "eval_num_rays_per_batch": 2 * PIXELS,
        "train_source_counts": (2, 3),
        "train_source_probabilities": (0.5, 0.5),
        "test_source_count": 3,
    }
    return SourceViewDataManagerConfig(**{**settings, **options})


def manager_of(folder: Path, test_mode: Any = "val", rank: int = 0, **options: Any) -> SourceViewDataManager:
    torch.manual_seed(42)
    return config_of(folder, **options).setup(device="cpu", test_mode=test_mode, world_size=1, local_rank=rank)


def test_a_batch_holds_what_the_model_needs(folder: Path) -> None:
    manager = manager_of(folder)
    assert manager.config.train_num_rays_per_batch == manager.get_train_rays_per_batch() == 2 * PIXELS
    views = manager.train_dataset.metadata["source_views"]
    assert views is manager.source_views
    rays, batch = manager.next_train(0)
    assert rays.origins.shape == (2 * PIXELS, 3) and rays.times is not None
    index, row, column = batch["indices"].T
    for key in ("image", "fg_mask"):
        expected = torch.stack([manager.train_dataset[int(i)][key][r, c] for i, r, c in batch["indices"].tolist()])
        torch.testing.assert_close(batch[key], expected, atol=1 / 250, rtol=0)
    assert torch.equal(rays.metadata["target_ids"][:, 0], index)
    assert torch.equal(rays.metadata["picture_uv"], torch.stack([column, row], dim=-1).float())
    assert torch.equal(rays.times[:, 0], views.times[index])
    torch.testing.assert_close(rays.origins, views.centers[index])
    for ray in (0, PIXELS):
        group = [i for i in rays.metadata["source_ids"][ray].tolist() if i >= 0]
        assert len(group) in (2, 3) and int(index[ray]) not in group or len(set(group)) == len(group)
        assert (views.frame_ids[group] == views.frame_ids[index[ray]]).all()


def test_depths_and_pixels_are_those_of_the_rays(folder: Path) -> None:
    manager = manager_of(folder)
    views = manager.source_views
    for step in range(3):
        rays, batch = manager.next_train(step)
        lengths = rays.metadata["directions_norm"]
        for ray in range(0, 2 * PIXELS, 7):
            target = views.target(int(batch["indices"][ray, 0]))
            # The point at a depth of 2 lies 2 * length along the unit ray, and projects to the ray's pixel.
            point = rays.origins[ray] + 2 * lengths[ray] * rays.directions[ray]
            local = target.world_to_camera[:, :3] @ point + target.world_to_camera[:, 3]
            assert float(local[2]) == pytest.approx(2, abs=1e-4)
            projected = (target.intrinsics @ local / local[2])[:2]
            torch.testing.assert_close(projected, rays.metadata["picture_uv"][ray], atol=1e-3, rtol=0)
            near, far = intersect_box(
                rays.origins[ray], rays.directions[ray], views.box_of(int(batch["indices"][ray, 0]))
            )
            assert far > near, "pixels lie in the picture of the box"
            low, high = rays.metadata["z_range"][ray].tolist()
            assert low - 1e-4 <= float(near / lengths[ray]) and float(far / lengths[ray]) <= high + 1e-4


def test_rays_fall_into_one_group_per_image(folder: Path) -> None:
    manager = manager_of(folder)
    rays, batch = manager.next_train(3)
    groups = group_rays(rays, rays.times)  # type: ignore[arg-type]
    assert [group.target_id for group in groups] == list(dict.fromkeys(batch["indices"][:, 0].tolist()))
    held_out, _ = manager.next_eval(0)
    of_evaluation = group_rays(held_out, held_out.times)  # type: ignore[arg-type]
    assert all(group.target_id == -1 and len(group.source_ids) == 3 for group in of_evaluation)
    sources = manager.source_views.batch([group.source_ids for group in of_evaluation])
    assert sources.images.shape[:2] == (len(of_evaluation), 3)


def test_evaluation_is_of_held_out_images(folder: Path) -> None:
    manager = manager_of(folder)
    rays, batch = manager.next_eval(0)
    assert "target_ids" not in rays.metadata and rays.metadata["source_ids"].shape == (2 * PIXELS, 3)
    assert (rays.metadata["camera_id"] == 5).all()
    expected = torch.stack([manager.eval_dataset[i]["image"][r, c] for i, r, c in batch["indices"].tolist()])
    torch.testing.assert_close(batch["image"], expected, atol=1 / 250, rtol=0)
    assert rays.metadata["z_range"].shape == rays.metadata["picture_uv"].shape == (2 * PIXELS, 2)


def drawn(manager: SourceViewDataManager, steps: list[int]) -> list[Tensor]:
    return [
        torch.cat([batch["indices"], rays.metadata["source_ids"]], dim=-1)
        for rays, batch in map(manager.next_train, steps)
    ]


def test_a_batch_depends_on_seed_rank_and_step_alone(folder: Path) -> None:
    first = drawn(manager_of(folder), [0, 1, 2, 3])
    torch.rand(3)
    resumed = manager_of(folder, prefetch_batches=0)
    torch.manual_seed(1)  # what a resumed run restores
    resumed.next_eval(2)
    for one, other in zip(first[2:], drawn(resumed, [2, 3]), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first[0], first[1])
    before = torch.get_rng_state()
    manager = manager_of(folder)
    torch.set_rng_state(before)
    manager.next_train(5)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's randomness is used up"
    for other in (manager_of(folder, rank=1), manager_of(folder, data_seed=3)):
        assert not torch.equal(drawn(other, [0])[0][:, :3], first[0][:, :3])
    assert torch.equal(drawn(manager_of(folder, data_seed=42), [0])[0], first[0])


def test_tools_that_ask_for_one_step_again_get_other_rays(folder: Path) -> None:
    manager = manager_of(folder)
    first, again = drawn(manager, [0, 0])
    assert not torch.equal(first[:, :3], again[:, :3])
    assert torch.equal(drawn(manager, [1])[0], drawn(manager_of(folder), [1])[0])
    assert manager.train_pixel_sampler is not None, "ns-export looks for it"


def test_rendering_needs_no_training_set_up(folder: Path) -> None:
    manager = manager_of(folder, test_mode="inference")
    views = copy.deepcopy(manager.train_dataset.metadata)["source_views"]
    assert views.batch([views.of_frame(0).tolist()[:2]]).images.shape[:2] == (1, 2)


def test_options_reach_the_views(folder: Path) -> None:
    whole = manager_of(folder, crop_sources=False).source_views.batch([[0, 1]])
    assert whole.images.shape[-2:] == (40, 48)
    without = manager_of(folder, train_source_counts=(), train_source_probabilities=())
    rays, _ = without.next_train(0)
    assert "source_ids" not in rays.metadata and "target_ids" in rays.metadata
    assert "source_ids" not in without.next_eval(0)[0].metadata


def test_bad_input_is_said_before_the_first_step(folder: Path) -> None:
    with pytest.raises(InputError, match="up to 5 source images of a frame.*4 besides the target"):
        manager_of(folder, train_source_counts=(2, 5))
    manager = manager_of(folder, dataparser=rig_config(folder, box_shift=2.0))
    with pytest.raises(InputError, match="The box excludes the subject"):
        manager.next_train(0)


def test_further_scenes_are_trained_on(folder: Path, tmp_path: Path) -> None:
    other = write_rig(tmp_path / "other", num_cameras=5, num_frames=3)
    manager = manager_of(folder, extra_scenes=(other,))
    alone = manager_of(other)
    assert manager.source_views.num_images_of_scene == [20, 12]
    seen = set()
    for step in range(8):
        rays, batch = manager.next_train(step)
        scene = int(manager.source_views.scene_ids[batch["indices"][0, 0]])
        seen.add(scene)
        dataset, first = (alone.train_dataset, 20) if scene else (manager.train_dataset, 0)
        expected = torch.stack([dataset[i - first]["image"][r, c] for i, r, c in batch["indices"].tolist()])
        torch.testing.assert_close(batch["image"], expected, atol=1 / 250, rtol=0)
        torch.testing.assert_close(rays.origins, manager.source_views.centers[batch["indices"][:, 0]])
    assert seen == {0, 1}
    with pytest.raises(InputError, match="trained on already"):
        manager_of(folder, extra_scenes=(folder,))
    assert manager_of(folder, test_mode="test", extra_scenes=(other,)).source_views.num_images_of_scene == [20]


def test_command_line_offers_what_counts() -> None:
    import tyro

    arguments = ["--images-per-batch", "3", "--train-source-counts", "2", "--train-source-probabilities", "1"]
    config = tyro.cli(SourceViewDataManagerConfig, args=arguments, default=SourceViewDataManagerConfig())
    assert config.train_num_rays_per_batch == 3 * 3072 and config.train_source_counts == (2,)


class Toy(nn.Module):
    """Colours from a ray's own numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        nn.init.constant_(self.layer.weight, 0.1)
        nn.init.zeros_(self.layer.bias)

    def forward(self, rays: RayBundle) -> Tensor:
        return self.layer(torch.cat([rays.origins, rays.directions], dim=-1))


def gradient(module: nn.Module, manager: SourceViewDataManager, step: int) -> Tensor:
    module.zero_grad()
    rays, batch = manager.next_train(step)
    (module(rays) - batch["image"]).square().mean().backward()
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])


def train_rank(rank: int, scene: Path, results: Path) -> None:
    """One of two processes, seeded as nerfstudio does."""
    import torch.distributed as dist

    where, patience = f"file://{results / 'rendezvous'}", timedelta(minutes=5)
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2, timeout=patience)
    torch.manual_seed(42 + rank)
    manager = config_of(scene).setup(device="cpu", test_mode="val", world_size=2, local_rank=rank)
    module = nn.parallel.DistributedDataParallel(Toy())
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    gradients = []
    for step in range(3):
        gradients.append(gradient(module, manager, step))
        optimiser.step()
    state = {"gradients": gradients, "module": module.module.state_dict(), "seed": manager._seed}
    torch.save(state, results / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_share_one_gradient_of_different_batches(folder: Path, tmp_path: Path) -> None:
    import torch.multiprocessing as mp

    # This process is the first of the two; the other takes its time to import everything.
    other = mp.get_context("spawn").Process(target=train_rank, args=(1, folder, tmp_path))
    other.start()
    train_rank(0, folder, tmp_path)
    other.join()
    assert other.exitcode == 0
    states = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert states[0]["seed"] != states[1]["seed"]
    for name, value in states[0]["module"].items():
        assert torch.equal(value, states[1]["module"][name]), "one checkpoint stands for both"
    singles = []
    for rank in range(2):
        torch.manual_seed(42 + rank)
        manager = config_of(folder).setup(device="cpu", test_mode="val", world_size=1, local_rank=rank)
        singles.append(gradient(Toy(), manager, 0))
    assert not torch.allclose(*singles, atol=1e-4)
    for state in states:
        torch.testing.assert_close(state["gradients"][0], (singles[0] + singles[1]) / 2)
