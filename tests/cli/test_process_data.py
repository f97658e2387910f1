"""From a recording to a trained run: the command as users start it, and the methods on what it wrote."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ball_capture import BACKDROP, LENS, write_capture, write_recording, write_videos

from dataparsers.nerfstudio_time import NerfstudioTimeDataParserConfig
from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.cli.process_data import MaskedViews, MonocularVideo, MultiviewVideo, Rgbd
from nf_plugins.errors import InputError

COMMAND = [sys.executable, "-c", "from nf_plugins.cli.process_data import entrypoint; entrypoint()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=environment, check=False)


def write_cameras(folder: Path, poses: dict[str, Any]) -> Path:
    frames = [
        {"file_path": f"{name}.png", "transform_matrix": pose.tolist(), **LENS.to_json()}
        for name, pose in poses.items()
    ]
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    return folder / "transforms.json"


def train(output_dir: Path, dataparser: Any, **loss_coefficients: float) -> Path:
    """Three steps of resfields-tnerf-tiny; returns the checkpoints' folder."""
    from nerfstudio.scripts.train import main

    from method_configs.resfields import resfields_tnerf_tiny

    config: Any = deepcopy(resfields_tnerf_tiny.config)
    config.data = dataparser.data
    config.output_dir = output_dir
    config.vis = "tensorboard"
    config.max_num_iterations = 3
    config.evaluate_after_training = False
    config.pipeline.datamanager.dataparser = dataparser
    model = config.pipeline.model
    model.loss_coefficients = {**model.loss_coefficients, **loss_coefficients}
    if loss_coefficients.get("mask") == 0:
        config.pipeline.datamanager.pixel_sampler.strategy = "uniform"
    main(config)
    return config.get_checkpoint_dir()


def test_multiview_video_as_users_start_it(tmp_path: Path):
    cameras = write_cameras(tmp_path, write_videos(tmp_path / "videos"))
    arguments = ["--videos", tmp_path / "videos", "--cameras", cameras, "--output-dir", tmp_path / "out"]
    key = ["--chroma-key", *BACKDROP, "--offsets", "cam1", 0.0, "cam2", 0.0]
    result = run("multiview-video", *map(str, arguments + key))
    assert result.returncode == 0, result.stderr
    last = result.stdout.strip().splitlines()[-1]
    assert shlex.split(last)[:4] == ["ns-train", "resfields-tnerf", "--data", str(tmp_path / "out")]
    again = MultiviewVideo(videos=tmp_path / "videos", cameras=cameras, output_dir=tmp_path / "out")
    with pytest.raises(InputError, match="already holds a processed capture"):
        again.main()


def test_rgbd_trains_with_its_depth(tmp_path: Path):
    recording = write_recording(tmp_path / "recording")
    command = Rgbd(recording=recording, output_dir=tmp_path / "out", depth_range=(1.0, 6.0)).main()
    assert "--depth-convention z" in command
    dataparser = OwliiDataParserConfig(
        data=tmp_path / "out", depth_convention="z", train_cameras=("cam1", "cam2"), eval_cameras=("cam3",)
    )
    assert any(train(tmp_path / "runs", dataparser, depth=0.1).iterdir())


@pytest.mark.parametrize("with_masks", [True, False])
def test_a_capture_with_times_trains_with_and_without_masks(tmp_path: Path, with_masks: bool):
    scene = write_capture(tmp_path / "scene", mask=with_masks, depth=not with_masks)
    losses = {} if with_masks else {"mask": 0.0, "depth": 0.1}
    assert any(train(tmp_path / "runs", NerfstudioTimeDataParserConfig(data=scene), **losses).iterdir())


@pytest.mark.parametrize("command", [MultiviewVideo, Rgbd, MaskedViews, MonocularVideo])
def test_every_option_has_its_sentence(command: type):
    import inspect

    text = "".join(inspect.getsource(base) for base in command.__mro__[:-1])
    for field in dataclasses.fields(command):
        declaration = text.split(f"    {field.name}: ", 1)[1]
        assert declaration.split("\n")[1].strip().startswith('"""'), field.name


def test_python_of_the_page_on_own_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import re

    page = Path(__file__).parents[2] / "docs" / "your_own_data.md"
    add_times, write_files = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    walk = write_capture(tmp_path / "data" / "walk", 1, 8) / "transforms.json"
    contents = json.loads(walk.read_text())
    for frame in contents["frames"]:
        del frame["time"], frame["camera"]
    walk.write_text(json.dumps(contents))
    exec(add_times, {})
    exec(write_files, {})
    # The walk's only camera stands still, so its box must be given; black images of a camera at the origin likewise.
    box = (0.0, -3.0, 0.0, 5.0, 0.0, 3.0)
    for name, number in (("walk", 7), ("own", 2)):
        config = NerfstudioTimeDataParserConfig(data=tmp_path / "data" / name, scene_aabb=box)
        assert len(config.setup().get_dataparser_outputs("train").image_filenames) == number
