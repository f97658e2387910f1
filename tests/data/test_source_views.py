"""Source images: what a point of the subject looks like in them."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_capture import FPS, MIDDLE, RADIUS, centre_at
from PIL import Image
from source_rig import in_scene, training_dataset, write_rig
from torch import Tensor

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.picture_cache import Picture, PictureCache
from nf_plugins.data.source_views import SourceViews
from nf_plugins.errors import InputError

FRAME = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rig(tmp_path_factory.mktemp("rig") / "scene")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> DynamicDataset:
    return training_dataset(folder)


@pytest.fixture(scope="module")
def views(dataset: DynamicDataset) -> SourceViews:
    return SourceViews([dataset])


def surface_points(dataset: DynamicDataset, toward: Tensor) -> tuple[Tensor, Tensor]:
    """Points on the side of the ball that faces a position (scene units), and their colours."""
    centre = centre_at(FRAME / FPS)
    facing = toward - in_scene(dataset, centre)
    directions = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=-1, keepdim=True)
    directions = directions[(directions @ facing) / facing.norm() > 0.75].numpy().astype(np.float64)
    points = torch.stack([in_scene(dataset, centre + RADIUS * direction) for direction in directions])
    return points, torch.from_numpy(np.array([200.0, 90.0, 90.0]) + 50 * directions).float() / 255


def colours_at(views: SourceViews, groups: list[list[int]], points: Tensor, crop: bool) -> Tensor:
    """Bilinear colours (S, N, 3) of the first group's images."""
    batch = views.batch(groups, crop=crop)
    found = []
    for image, intrinsics, pose in zip(batch.images[0], batch.intrinsics[0], batch.world_to_cameras[0], strict=True):
        projected = (points @ pose[:, :3].T + pose[:, 3]) @ intrinsics.T
        assert (projected[:, 2] > 0).all()
        size = torch.tensor([image.shape[2] - 1, image.shape[1] - 1])
        grid = 2 * (projected[:, :2] / projected[:, 2:]) / size - 1
        sampled = torch.nn.functional.grid_sample(image[None], grid[None, None], align_corners=True)
        found.append(sampled[0, :, 0].T)
    return torch.stack(found)


@pytest.mark.parametrize("crop", [True, False])
def test_a_point_has_its_colour_in_every_source(views: SourceViews, dataset: DynamicDataset, crop: bool) -> None:
    ids = views.of_frame(FRAME).tolist()
    for index in ids[:3]:
        points, expected = surface_points(dataset, views.centers[index])
        # The others make the canvas larger, which must not move anything.
        found = colours_at(views, [[index], [ids[-1]]], points, crop)[0]
        assert (found - expected).abs().mean() < 0.003  # half a pixel off gives 0.01


def test_batch_has_one_canvas_and_says_what_is_inside(views: SourceViews) -> None:
    ids = views.of_frame(FRAME).tolist()
    groups = [ids[:2], ids[2:4]]
    cropped, whole = views.batch(groups), views.batch(groups, crop=False)
    assert cropped.images.shape[:3] == (2, 2, 3) and cropped.masks.shape[:3] == (2, 2, 1)
    assert cropped.ids == tuple(map(tuple, groups))
    assert whole.images.shape[-2:] == (40, 48), "the next multiples of 8 above 32 x 40"
    assert cropped.images.shape[-1] < whole.images.shape[-1] and cropped.images.shape[-1] % 8 == 0
    for batch in (cropped, whole):
        assert batch.images.min() >= 0 and batch.images.max() == 1 and batch.masks.max() == 1
        outside = batch.masks.expand_as(batch.images) == 0
        assert (batch.images[outside] == 1).all(), "a white background, also in the padding"
        assert torch.allclose(batch.centers[1, 0], views.centers[ids[2]], atol=1e-5)
    with pytest.raises(ValueError, match="equally many"):
        views.batch([ids[:1], ids[:2]])


def test_frames_cameras_boxes(views: SourceViews, dataset: DynamicDataset) -> None:
    assert len(views) == len(dataset) == 20 and views.num_images_of_scene == [20]
    ids = views.of_frame(FRAME)
    assert sorted(views.camera_ids[ids].tolist()) == [0, 1, 2, 3, 4]
    assert (views.times[ids] == views.times[ids[0]]).all() and views.fewest_of_a_frame() == 5
    assert len(views.of_frame(99)) == 0
    box = views.box_of(int(ids[0]))
    assert torch.allclose(box.mean(0), in_scene(dataset, centre_at(FRAME / FPS)), atol=1e-5)
    assert torch.equal(box, dataset.metadata["frame_boxes"][FRAME])
    target = views.target(int(ids[0]))
    assert target.size == (32, 40) and target.time == float(views.times[ids[0]])
    assert torch.allclose(target.center, views.centers[ids[0]], atol=1e-5)
    middle = float((target.world_to_camera @ torch.cat([box.mean(0), torch.ones(1)]))[2])
    near, far = target.z_range.tolist()
    assert near < middle < far and math.isclose((near + far) / 2, middle, rel_tol=1e-4)


def test_sources_of_a_new_view(views: SourceViews, dataset: DynamicDataset, capsys: pytest.CaptureFixture[str]) -> None:
    ids = views.of_frame(FRAME)
    time, own = float(views.times[ids[0]]), int(ids[0])
    chosen = views.rendering_ids(views.centers[own], time, 2)
    assert own not in chosen and set(chosen) <= set(ids.tolist())
    nearest = (views.centers[ids[1:]] - views.centers[own]).norm(dim=-1).argmin() + 1
    assert chosen[0] == int(ids[nearest])
    moved = views.centers[own] + 0.01
    assert views.rendering_ids(moved, time + 0.01, 1) == (own,)
    assert views.rendering_ids(moved, time, 1, skip_nearest=True) == chosen[:1]
    assert capsys.readouterr().out == ""
    for _ in range(2):
        assert len(views.rendering_ids(moved, time, 9)) == 5
    assert capsys.readouterr().out.count("5 images to blend from where 9") == 1
    assert len(in_scene(dataset, MIDDLE)) == 3


def test_store_and_files_give_the_same(dataset: DynamicDataset, views: SourceViews) -> None:
    attached = SourceViews([dataset])
    attached.attach(ImageStore(dataset, name="test"))
    for crop in (True, False):
        first, second = views.batch([[3, 7]], crop=crop), attached.batch([[3, 7]], crop=crop)
        for name in ("images", "masks", "intrinsics", "world_to_cameras"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name
    colours, mask = attached.image(3)
    assert colours.dtype == mask.dtype == torch.uint8 and colours.shape == (32, 40, 3) and mask.shape == (32, 40)
    assert torch.equal(colours, views.image(3)[0]) and torch.equal(mask, views.image(3)[1])
    assert set(mask.unique().tolist()) == {0, 255}


def test_copies_are_the_object_itself(views: SourceViews) -> None:
    assert copy.deepcopy({"source_views": views})["source_views"] is views


def test_numbers_count_on_over_scenes(dataset: DynamicDataset, tmp_path: Path) -> None:
    other = training_dataset(write_rig(tmp_path / "other", num_cameras=4, num_frames=3))
    both = SourceViews([dataset, other])
    assert both.first_ids == [0, 20] and len(both) == 29
    assert both.scene_ids.tolist() == [0] * 20 + [1] * 9
    ids = both.of_frame(1, scene=1)
    assert ids.min() >= 20 and len(ids) == 3
    alone = SourceViews([other])
    assert torch.equal(both.image(24)[0], alone.image(4)[0])
    assert torch.equal(both.batch([[24]]).images, alone.batch([[4]]).images)
    assert torch.equal(both.box_of(24), alone.box_of(4))


def test_an_empty_mask_keeps_the_whole_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = training_dataset(write_rig(tmp_path / "scene", num_cameras=3, num_frames=2))
    assert dataset.fg_mask_filenames is not None
    path = dataset.fg_mask_filenames[1]
    Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    batch = SourceViews([dataset]).batch([[0, 1]])
    assert batch.images.shape[-2:] == (40, 48) and not batch.masks[0, 1].any()
    assert "has an empty mask" in capsys.readouterr().out.replace("\n", " ")


def test_lens_distortion_is_refused(dataset: DynamicDataset) -> None:
    bent = DynamicDataset(dataset._dataparser_outputs)
    bent.cameras.distortion_params = torch.zeros(len(bent), 6)
    SourceViews([bent])
    bent.cameras.distortion_params[4, 0] = 0.1
    with pytest.raises(InputError, match="1 of 20 images have lens distortion.*--undistort True"):
        SourceViews([bent])
    SourceViews([bent], pinholes=False)


def test_images_without_masks_are_sources_as_a_whole(tmp_path: Path) -> None:
    from ball_capture import write_capture

    dataset = training_dataset(write_capture(tmp_path / "scene", num_cameras=3, num_frames=2))
    batch = SourceViews([dataset]).batch([[0, 1]])
    assert batch.images.shape[-2:] == (40, 48)
    assert batch.masks.sum().item() == 2 * 32 * 40, "the padding is no part of the image"


def test_plates_are_sources_of_all_frames(folder: Path, tmp_path: Path) -> None:
    dataset = training_dataset(folder)
    names = [int(camera) for camera in SourceViews([dataset]).camera_ids]
    for name in set(names):
        Image.fromarray(np.full((32, 40, 3), 20 * name, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    dataset.background_plate_filenames = [tmp_path / f"{name}.png" for name in names]
    plates = SourceViews([dataset], plates=True)
    assert torch.equal(plates.of_frame(0), plates.of_frame(3))
    chosen = plates.rendering_ids(plates.centers[0] + 0.01, 0.9, 3)
    batch = plates.batch([chosen])
    assert batch.images.shape[-2:] == (40, 48) and batch.masks.sum() == 3 * 32 * 40
    for place, index in enumerate(chosen):
        assert batch.images[0, place, :, 20, 20].tolist() == pytest.approx([20 * names[index] / 255] * 3)
        assert torch.equal(batch.world_to_cameras[0, place], plates.world_to_cameras[index])


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    def picture() -> Picture:
        made.append(1)
        return Picture(torch.zeros(5, 5, 3, dtype=torch.uint8), torch.zeros(5, 5, dtype=torch.uint8), (0, 0, 5, 5))

    made: list[int] = []
    cache = PictureCache(250)  # two of them
    for key in ("a", "b", "a", "c", "a"):
        cache.get(key, picture)
    assert len(made) == 3
    cache.get("b", picture)
    assert len(made) == 4
