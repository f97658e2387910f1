from __future__ import annotations

from pathlib import Path

import monocular_scene as truth
import pytest
import torch

from dataparsers.nsff import NSFFDataParserConfig
from nf_plugins.data.monocular_datamanager import MonocularDataManager, MonocularDataManagerConfig
from nf_plugins.data.one_frame_sampler import OneFramePixelSamplerConfig


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return truth.write_monocular_scene(tmp_path_factory.mktemp("monocular") / "scene", num_frames=3)


def datamanager(scene: Path, **sampling: int) -> MonocularDataManager:
    config = MonocularDataManagerConfig(
        dataparser=NSFFDataParserConfig(data=scene),  # type: ignore[arg-type]
        train_num_rays_per_batch=50,
        eval_num_rays_per_batch=40,
        pixel_sampler=OneFramePixelSamplerConfig(**sampling),
    )
    return config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)


def test_a_step_has_the_rays_and_targets_of_one_frame(scene: Path) -> None:
    manager = datamanager(scene, num_extra_rays=10, hard_mining_steps=5)
    for step in (0, 5):
        rays, batch = manager.next_train(step)
        assert len(rays.origins) == len(batch["image"]) == (60 if step == 0 else 50)
        assert rays.times is not None and len(rays.times.unique()) == 1
        assert batch["hard_mined"][:, 0].nonzero()[:, 0].tolist() == ([*range(50, 60)] if step == 0 else [])
        assert (batch["motion_mask"][batch["hard_mined"]] == 1).all()
        image, row, column = batch["indices"].T
        expected = manager.train_dataset[int(image[0])]
        for key in ("disparity", "optical_flow_forward", "optical_flow_backward_valid", "image"):
            torch.testing.assert_close(batch[key], expected[key][row, column])


def test_the_method_says_how_long_moving_parts_are_mined_unless_the_user_does(scene: Path) -> None:
    manager = datamanager(scene)
    assert manager.next_train(2999)[1]["hard_mined"].any()
    manager.set_hard_mining_steps(10)
    assert not manager.next_train(10)[1]["hard_mined"].any() and manager.next_train(9)[1]["hard_mined"].any()
    asked = datamanager(scene, hard_mining_steps=0)
    asked.set_hard_mining_steps(10)
    assert not asked.next_train(0)[1]["hard_mined"].any()


def test_evaluation_batches_are_uniform_and_of_held_out_views(scene: Path) -> None:
    rays, batch = datamanager(scene).next_eval(0)
    assert len(rays.origins) == 40 and not batch["hard_mined"].any()
    assert rays.metadata["camera_id"].min() > 0
