"""Poses that a model learnt, where images that were trained on are evaluated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.evaluation.dataset_images import with_learnt_poses


def dataset(names: list[str]) -> Any:
    poses = torch.eye(4)[:3].repeat(len(names), 1, 1)
    poses[:, 0, 3] = torch.tensor([float(name) for name in names])
    return SimpleNamespace(image_filenames=names, cameras=Cameras(poses, 10.0, 10.0, 4.0, 4.0, 8, 8))


def pipeline(train: Any, shift: float | None) -> Any:
    def refined(cameras: Cameras) -> Cameras:
        if shift is None:
            return cameras
        changed = cameras[torch.arange(len(cameras))]
        changed.camera_to_worlds = cameras.camera_to_worlds.clone()
        changed.camera_to_worlds[:, 1, 3] += shift
        return changed

    return SimpleNamespace(
        model=SimpleNamespace(refined_cameras=refined), datamanager=SimpleNamespace(train_dataset=train)
    )


def test_images_that_were_trained_on_move_and_others_stay() -> None:
    train, test = dataset(["1", "2", "3"]), dataset(["2", "7", "1"])
    changed, note = with_learnt_poses(pipeline(train, 0.5), test)
    assert changed.cameras.camera_to_worlds[:, 1, 3].tolist() == [0.5, 0.0, 0.5]
    assert changed.cameras.camera_to_worlds[:, 0, 3].tolist() == [2.0, 7.0, 1.0]
    assert test.cameras.camera_to_worlds[:, 1, 3].tolist() == [0.0, 0.0, 0.0]
    assert note.startswith("learnt for 2 of 3 images")
    assert with_learnt_poses(pipeline(train, 0.5), train)[1] == "learnt"


def test_nothing_changes_without_refinement() -> None:
    train = dataset(["1", "2"])
    assert with_learnt_poses(pipeline(train, None), train) == (train, "as given")
    bare = pipeline(train, None)
    bare.model = SimpleNamespace()
    assert with_learnt_poses(bare, train) == (train, "as given")
