"""mesh-sequence-data: times, units, cameras, held-out frames, and images that are drawn on demand."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_meshes import RADIUS, centre_at, write_ball_anime, write_ball_folder

from dataparsers.mesh_sequence import MeshSequenceDataParserConfig
from nf_plugins.data.check import check_capture
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.mesh_sequence_dataset import MeshSequenceDataset
from nf_plugins.errors import InputError
from nf_plugins.evaluation.dataset_images import image_identity
from nf_plugins.model_components.box_collider import intersect_box


def config(data: Path, **options: object) -> MeshSequenceDataParserConfig:
    return MeshSequenceDataParserConfig(data=data, **{"resolution": 32, **options})  # type: ignore[arg-type]


@pytest.fixture
def anime(tmp_path: Path) -> Path:
    return write_ball_anime(tmp_path / "ball.anime", num_frames=5)


def test_train_split_has_a_few_cameras_for_every_frame(anime: Path) -> None:
    outputs = config(anime, num_cameras=3).setup().get_dataparser_outputs("train")
    cameras, metadata = outputs.cameras, outputs.metadata
    assert cameras.metadata is not None and cameras.times is not None
    assert len(outputs.image_filenames) == len(set(outputs.image_filenames)) == len(cameras) == 15
    assert cameras.times[:, 0].tolist() == np.repeat([0, 0.25, 0.5, 0.75, 1], 3).tolist()
    assert cameras.metadata["camera_id"][:6, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert metadata["frame_times"].tolist() == metadata["sequence_times"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert metadata["scene_aabb"].tolist() == [[-1] * 3, [1] * 3]
    assert len(metadata["mesh_sequence"]) == 5 and metadata["fg_mask_filenames"] == outputs.image_filenames
    assert all(not path.exists() for path in outputs.image_filenames)


def test_scene_units_lead_back_to_the_file(anime: Path) -> None:
    metadata = config(anime).setup().get_dataparser_outputs("train").metadata
    matrix, mesh = metadata["world_from_scene"].double().numpy(), metadata["mesh_sequence"].meshes[4]
    world = mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(world - centre_at(1.0), axis=-1), RADIUS, atol=1e-5)
    assert np.abs(mesh.vertices).max() < 1


def test_cameras_see_the_ball_whole_and_evaluate_from_elsewhere(anime: Path) -> None:
    parser = config(anime, num_eval_cameras=2, up_axis="y").setup()
    for split, count in (("train", 20), ("val", 10), ("test", 10)):
        outputs = parser.get_dataparser_outputs(split)
        dataset = MeshSequenceDataset(outputs)
        assert len(dataset) == count
        for index in (0, count - 1):
            mask = dataset[index]["fg_mask"][..., 0] > 0
            assert 0.02 < mask.float().mean() < 0.6
            assert not mask[0].any() and not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()
    poses = {split: parser.get_dataparser_outputs(split).cameras.camera_to_worlds for split in ("train", "test")}
    assert (poses["train"][:, None, :, 3] - poses["test"][None, :, :, 3]).norm(dim=-1).min() > 0.3
    assert (poses["train"][:, 1, 1] > 0.7).all()  # the pictures' up is the asked axis


def test_held_out_frames_are_evaluated_at_their_own_times(tmp_path: Path) -> None:
    anime = write_ball_anime(tmp_path / "ball.anime", num_frames=7)
    parser = config(anime, test_every=3, num_cameras=1, num_eval_frames=None).setup()
    train, test = (parser.get_dataparser_outputs(split) for split in ("train", "test"))
    assert train.cameras.times is not None and test.cameras.times is not None
    sevenths = [frame / 6 for frame in range(7)]
    assert train.cameras.times[:, 0].tolist() == pytest.approx([sevenths[frame] for frame in (0, 1, 3, 4, 6)])
    assert test.cameras.times[:, 0].tolist() == pytest.approx([sevenths[2], sevenths[5]])
    assert test.cameras.metadata["sequence_frame"][:, 0].tolist() == [2, 5]  # type: ignore[index]
    for outputs in (train, test):
        assert outputs.metadata["frame_times"].tolist() == train.cameras.times[:, 0].tolist()
        assert outputs.metadata["sequence_times"].tolist() == pytest.approx(sevenths)
        assert "2 of 7 (--test-every 3)" in outputs.metadata["protocol_note"]


def test_at_most_so_many_frames_are_evaluated(anime: Path) -> None:
    outputs = config(anime, num_eval_frames=3).setup().get_dataparser_outputs("test")
    assert outputs.cameras.metadata["sequence_frame"][:, 0].tolist() == [0, 2, 4]  # type: ignore[index]


def test_first_frame_can_be_dropped_and_frames_selected(anime: Path) -> None:
    options = {"drop_first_frame": True, "frame_stride": 2}
    sequence = config(anime, **options).setup().get_dataparser_outputs("train").metadata["mesh_sequence"]
    assert [mesh.name.split()[-2:] for mesh in sequence.meshes] == [["(frame", "1)"], ["(frame", "3)"]]


def test_pictures_show_the_normals_and_where_the_surface_is(tmp_path: Path) -> None:
    outputs = config(write_ball_folder(tmp_path / "balls"), num_cameras=1).setup().get_dataparser_outputs("train")
    dataset = MeshSequenceDataset(outputs)
    item = dataset[1]
    camera = outputs.cameras[1:2]
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    matrix = outputs.metadata["world_from_scene"]
    centre = (torch.from_numpy(centre_at(0.5)).float() - matrix[:3, 3]) / matrix[0, 0]
    radius = RADIUS / float(matrix[0, 0])
    offset = rays.origins - centre
    half_b = (rays.directions * offset).sum(-1, keepdim=True)
    root = half_b.square() - offset.square().sum(-1, keepdim=True) + radius**2
    normal = (offset + (-half_b - root.clamp(min=0).sqrt()) * rays.directions) / radius
    surely = root > 0.05 * radius**2
    assert item["fg_mask"].shape == (32, 32, 1) and bool((item["fg_mask"][surely] == 1).all())
    assert bool((item["fg_mask"][root < 0] == 0).all())
    expected = torch.where(surely, (normal + 1) / 2, 1.0)
    known = (surely | (root < 0))[..., 0]
    assert (item["image"] - expected)[known].abs().max() < 0.03


def test_pictures_are_drawn_once_at_the_size_of_the_cameras(anime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = MeshSequenceDataset(config(anime).setup().get_dataparser_outputs("train"), scale_factor=0.5)
    pictures, drawn = dataset.metadata["mesh_pictures"], []
    draw = pictures._draw
    monkeypatch.setattr(pictures, "_draw", lambda frame, camera: drawn.append(frame) or draw(frame, camera))
    first, again = dataset[9]["image"], dataset.get_data(9, "uint8")["image"]
    assert drawn == [2] and first.shape == (16, 16, 3)
    assert torch.equal((first * 255).round().byte(), again)
    again[:] = 0  # what tools do to an image stays with them
    assert torch.equal(dataset[9]["image"], first)
    assert copy.deepcopy(dataset.metadata)["mesh_sequence"] is dataset.sequence


def test_methods_that_learn_from_images_can_have_them(anime: Path) -> None:
    outputs = config(anime, num_cameras=2).setup().get_dataparser_outputs("train")
    store = ImageStore(DynamicDataset(outputs))
    assert store.keys == ("image", "fg_mask") and len(store) == 10
    assert 0.02 < float(store.image("fg_mask", 3).mean()) < 0.6
    report = check_capture(config(anime), "mesh-sequence-data")
    assert report.splits["train"].rays_in_box == 1 and report.factors.views_per_time == (4, 4, 4)
    assert not report.warnings


def test_held_out_images_are_counted_in_the_whole_sequence(tmp_path: Path) -> None:
    anime = write_ball_anime(tmp_path / "ball.anime", num_frames=7)
    dataset = MeshSequenceDataset(config(anime, test_every=3).setup().get_dataparser_outputs("test"))
    assert [image_identity(dataset, index)["frame_id"] for index in range(len(dataset))] == [2, 5]
    assert image_identity(dataset, 0)["file_name"] == "ball/normals_test_4/000002.png"


def test_rays_cross_the_scene_box(anime: Path) -> None:
    outputs = config(anime).setup().get_dataparser_outputs("train")
    rays = outputs.cameras[:1].generate_rays(camera_indices=0, keep_shape=True)
    near, far = intersect_box(rays.origins, rays.directions, outputs.scene_box.aabb)
    assert (far > near).float().mean() > 0.5


@pytest.mark.parametrize("name", ["frame_stride", "num_frames", "num_cameras", "resolution", "num_eval_frames"])
def test_options_below_one_are_named(anime: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is 0"):
        config(anime, **{name: 0}).setup().get_dataparser_outputs("train")


def test_missing_data_and_foreign_outputs_are_named(tmp_path: Path, tiny_owlii_scene: Path) -> None:
    from dataparsers.owlii import OwliiDataParserConfig

    with pytest.raises(InputError, match=r"gone\.anime does not exist, expected an \.anime file or a folder"):
        config(tmp_path / "gone.anime").setup().get_dataparser_outputs("train")
    outputs = OwliiDataParserConfig(data=tiny_owlii_scene).setup().get_dataparser_outputs("train")
    with pytest.raises(InputError, match="which owlii-data does not give: use mesh-sequence-data"):
        MeshSequenceDataset(outputs)
