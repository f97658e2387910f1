from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nf_plugins.data.layouts import LAYOUTS, layout_hint, recognise_layout
from nf_plugins.data.processing import frame_sources


def test_our_layouts_are_recognised(tiny_owlii_scene: Path, tiny_dnerf_scene: Path):
    assert "D-NeRF data; use dnerf-rgba-data" in layout_hint(tiny_dnerf_scene, "owlii-data")
    assert "use owlii-data" in layout_hint(tiny_owlii_scene, "dnerf-rgba-data")
    assert layout_hint(tiny_owlii_scene, "owlii-data") == ""


def test_a_camera_or_a_folder_of_scenes_leads_to_the_scene(tiny_owlii_scene: Path, tmp_path: Path):
    assert f"give --data {tiny_owlii_scene.resolve()}" in layout_hint(tiny_owlii_scene / "cam_test", "owlii-data")
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "ball").symlink_to(tiny_owlii_scene)
    hint = layout_hint(tmp_path / "scenes", "dnerf-rgba-data")
    assert "owlii-data" in hint
    assert "ball" in hint


@pytest.mark.parametrize(
    ("files", "dataparser"),
    [
        (["transforms.json"], "nerfstudio-data"),
        (["meta_data.json"], "sdfstudio-data"),
        (["dataset.json", "scene.json", "extra.json", "camera", "splits"], "dycheck-data"),
        (["dataset.json", "scene.json", "camera"], None),
        (["cameras_sphere.npz", "image"], "dtu-data"),
        (["cameras.npz", "images"], "dtu-data"),
        (["poses_bounds.npy"], "nsff-data"),
        (["poses_bounds.npy", "cam00.mp4", "cam01.MP4"], "neural3dv-data"),
        (["poses_bounds.npy", "images/cam00/0000.png"], "neural3dv-data"),
        (["poses_bounds.npy", "clip.mp4", "images/000.png"], "nsff-data"),
        (["0012_11.smc"], "dna-rendering-data"),
        (["annots.npy"], "zju-mocap-data"),
        (["annots.npy", "intri.yml", "extri.yml", "images/00/0.jpg"], "zju-mocap-data"),
        (["intri.yml", "extri.yml", "images/00/0.jpg"], "easyvolcap-data"),
        (["intri.yml", "extri.yml"], "zju-mocap-data"),
    ],
)
def test_layouts_by_their_files(tmp_path: Path, files: list[str], dataparser: str | None):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    layout = recognise_layout(tmp_path)
    assert layout is not None
    assert layout.dataparser == dataparser
    hint = layout_hint(tmp_path, "owlii-data")
    assert (f"use {dataparser}" if dataparser else "neither nf-plugins nor nerfstudio") in hint


@pytest.mark.parametrize("name", ["sport_1_easymocap", "Basketball"])
def test_nhr_is_easyvolcap_data_of_its_name(tmp_path: Path, name: str):
    scene = tmp_path / name
    (scene / "images").mkdir(parents=True)
    (scene / "intri.yml").touch()
    (scene / "extri.yml").touch()
    assert "use nhr-data" in layout_hint(scene, "owlii-data")


def test_blender_data_are_told_from_dnerf_by_the_times(tmp_path: Path):
    path = tmp_path / "transforms_train.json"
    path.write_text(json.dumps({"frames": [{"file_path": "a"}]}))
    assert "use blender-data" in layout_hint(tmp_path, "dnerf-rgba-data")
    path.write_text(json.dumps({"frames": [{"file_path": "a", "time": 0.5}]}))
    assert layout_hint(tmp_path, "dnerf-rgba-data") == ""
    path.write_text("{")
    assert recognise_layout(tmp_path) is None


def test_nerfstudio_data_with_times_are_told_from_those_without(tmp_path: Path):
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"frames": [{"file_path": "a", "time": 3.5}]}))
    assert "use nerfstudio-time-data" in layout_hint(tmp_path, "owlii-data")
    assert layout_hint(tmp_path, "nerfstudio-time-data") == ""
    path.write_text(json.dumps({"frames": [{"file_path": "a"}]}))
    assert "use nerfstudio-data" in layout_hint(tmp_path, "nerfstudio-time-data")


def test_only_existing_dataparsers_are_named():
    from nerfstudio.configs.dataparser_configs import dataparsers

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    ours = set(re.findall(r"^(\S+-data) = ", text, re.MULTILINE))
    assert {layout.dataparser for layout in LAYOUTS if layout.dataparser} <= ours | set(dataparsers)


def test_unknown_folders_give_no_hint(tmp_path: Path):
    assert layout_hint(tmp_path, "owlii-data") == ""
    assert layout_hint(tmp_path / "nowhere", "owlii-data") == ""


@pytest.mark.parametrize(
    ("folder", "description"),
    [
        ("dnerf/lego", "D-NeRF data"),
        ("dtu/dtu_scan24", "DTU (NeuS/IDR) data of one static scene"),
        ("nerfies/hand", "a Nerfies capture"),
        ("llff/hand_monocular", "LLFF or NSFF data"),
        ("zju/walker", "ZJU-MoCap data"),
    ],
)
def test_real_captures(shared_data: Path, folder: str, description: str):
    layout = recognise_layout(shared_data / folder)
    assert layout is not None
    assert layout.description == description


@pytest.mark.parametrize("suffix", frame_sources.VIDEO_SUFFIXES)
def test_every_video_that_is_processed_is_recognised_as_one(tmp_path: Path, suffix: str):
    path = tmp_path / f"clip{suffix.upper()}"
    path.touch()
    layout = recognise_layout(path)
    assert layout is not None and layout.dataparser == "video-data"
