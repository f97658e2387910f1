"""nerfstudio's own commands on our methods, as a user calls them."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

NUM_TEST_IMAGES = 6
METHODS = sorted(
    entry.name for entry in distribution("nf-plugins").entry_points if entry.group == "nerfstudio.method_configs"
)

SEVERAL_COMMANDS = """
import json, sys, traceback
from importlib.metadata import distribution
scripts = {entry.name: entry for entry in distribution("nerfstudio").entry_points}
results = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = arguments
    try:
        scripts[arguments[0]].load()()
        results.append("done")
    except SystemExit as end:
        results.append(f"exit: {end}")
    except Exception:
        results.append(traceback.format_exc())
print("RESULTS", json.dumps(results))
"""
"""Runs console commands one after the other in one process: most of a command's time is its start."""


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Standard output and error of a command that must succeed."""
    # nerfstudio asks for ffmpeg even where it writes images, which need none.
    stub = folder / "bin" / "ffmpeg"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    path = f"{os.environ.get('PATH', '')}{os.pathsep}{stub.parent}"
    process = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def ns_train(scene: Path, folder: Path, *options: str, **environment: str) -> Path:
    """Trains resfields-tnerf-tiny for three steps through the command line; returns the run's folder."""
    command = [str(Path(sys.executable).with_name("ns-train")), "resfields-tnerf-tiny"]
    command += ["--output-dir", str(folder / "outputs"), "--experiment-name", "tiny", "--timestamp", "run"]
    command += ["--max-num-iterations", "3", "--steps-per-eval-batch", "2", "--steps-per-eval-image", "2"]
    output = run([*command, *options, "owlii-data", "--data", str(scene)], folder, **environment)
    assert "non-tuple sequence" not in output
    return folder / "outputs" / "tiny" / "resfields-tnerf-tiny" / "run"


def camera_path(render_times: list[float]) -> dict[str, Any]:
    """What the viewer's render tab writes: one standing camera, one key frame per time."""
    matrix = np.eye(4)
    matrix[2, 3] = 3.0  # looks down at the origin
    frame = {"camera_to_world": matrix.flatten().tolist(), "fov": 30.0, "aspect": 1.0}
    return {
        "camera_type": "perspective",
        "render_height": 20,
        "render_width": 20,
        "fps": 3,
        "seconds": len(render_times) / 3,
        "camera_path": [{**frame, "render_time": time} for time in render_times],
    }


@pytest.fixture(scope="module")
def tensorboard_run(tiny_owlii_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ns_train(tiny_owlii_scene, tmp_path_factory.mktemp("tensorboard"), "--vis", "tensorboard")


@pytest.fixture(scope="module")
def open3d() -> bool:
    """Whether open3d, which ns-export needs, can be imported here; asked in another process."""
    if importlib.util.find_spec("open3d") is None:
        return False
    return subprocess.run([sys.executable, "-c", "import open3d"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def commands(
    tensorboard_run: Path, open3d: bool, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[str, Path]]:
    """Results of nerfstudio's commands on a run: name -> (how it ended, what it was told to write)."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "path.json").write_text(json.dumps(camera_path([0.0, 1.0, 0.0])))
    images = ["--output-format", "images", "--image-format", "png"]
    load = ["--load-config", str(tensorboard_run / "config.yml")]
    arguments = {
        "eval": ["ns-eval", *load, "--output-path", "eval.json", "--render-output-path", "eval-images"],
        "spiral": ["ns-render", "spiral", *load, "--output-path", "spiral", *images]
        + ["--seconds", "1", "--frame-rate", "3", "--radius", "0"],
        "camera-path": ["ns-render", "camera-path", *load, "--output-path", "camera-path", *images]
        + ["--camera-path-filename", "path.json"],
        "dataset": ["ns-render", "dataset", *load, "--output-path", "dataset", "--split", "test"]
        + ["--rendered-output-names", "rgb", "gt-rgb", "--image-format", "png"],
        "interpolate": ["ns-render", "interpolate", *load, "--output-path", "interpolate", *images],
    }
    if open3d:
        arguments["pointcloud"] = ["ns-export", "pointcloud", *load, "--output-dir", "pointcloud"]
        arguments["pointcloud"] += ["--num-points", "300", "--num-rays-per-batch", "500", "--normal-method", "open3d"]
    output = run([sys.executable, "-c", SEVERAL_COMMANDS, json.dumps(list(arguments.values()))], folder)
    results = dict(zip(arguments, json.loads(output.split("RESULTS")[1].splitlines()[0]), strict=True))
    return lambda name: (results[name], folder / name)


def read_frames(folder: Path) -> list[np.ndarray]:
    return [np.array(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))]


def mean_difference(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return float(np.abs(np.stack(first) - np.stack(second)).mean())


def test_ns_train_logs_curves_and_pictures_to_tensorboard(tensorboard_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tensorboard_run))
    events.Reload()
    scalars, images = set(events.Tags()["scalars"]), set(events.Tags()["images"])
    assert {"Train Loss", "Train Metrics Dict/psnr_fg", "Eval Loss", "Eval Images Metrics/psnr_fg"} <= scalars
    assert {"Eval Images/img", "Eval Images/normal_rgb"} <= images
    assert len(list((tensorboard_run / "nerfstudio_models").glob("*.ckpt"))) == 1


def test_ns_train_logs_to_wandb_offline(tiny_owlii_scene: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run_folder = ns_train(tiny_owlii_scene, tmp_path, "--vis", "wandb", WANDB_MODE="offline")
    (log,) = run_folder.glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    for key in (b"Train Loss", b"Eval Loss", b"resfields-tnerf-tiny"):
        assert key in content


def test_ns_eval(commands: Callable[[str], tuple[str, Path]], tensorboard_run: Path) -> None:
    result, output = commands("eval")
    assert result == "done"
    results = json.loads(output.with_suffix(".json").read_text())
    assert results["checkpoint"] == str(tensorboard_run / "nerfstudio_models" / "step-000000002.ckpt")
    for name in ("psnr", "psnr_fg", "ssim"):
        assert 0 < results["results"][name] < 40
        assert results["results"][f"{name}_std"] > 0
    assert len(list((output.parent / "eval-images").glob("*img*"))) == NUM_TEST_IMAGES


@pytest.mark.parametrize("name", ["spiral", "camera-path"])
def test_ns_render_moves_in_time(commands: Callable[[str], tuple[str, Path]], name: str) -> None:
    """The camera stands (the spiral has radius 0), so what differs between frames is time."""
    result, output = commands(name)
    assert result == "done"
    frames = read_frames(output)
    assert len(frames) == 3
    assert np.abs(frames[0] - frames[1]).mean() > 3
    if name == "camera-path":
        assert np.array_equal(frames[0], frames[2])


def test_ns_render_dataset(commands: Callable[[str], tuple[str, Path]]) -> None:
    result, output = commands("dataset")
    assert result == "done"
    rendered, true = (read_frames(output / "test" / name) for name in ("rgb", "gt-rgb"))
    assert len(rendered) == len(true) == NUM_TEST_IMAGES
    # After three steps only the place of the ball is right; it tells the order.
    assert mean_difference(rendered, true) < 0.9 * mean_difference(rendered, true[::-1])


def test_ns_render_interpolate_which_loses_times_gets_its_sentence(commands: Callable[[str], tuple[str, Path]]) -> None:
    result, output = commands("interpolate")
    assert result.startswith("exit: This scene moves and the rays carry no time"), result
    assert "nf-render" in result and "--pipeline.model.default-time" in result
    assert not list(output.rglob("*.png"))


def test_ns_export_pointcloud(commands: Callable[[str], tuple[str, Path]], open3d: bool) -> None:
    if not open3d:
        pytest.skip("ns-export needs open3d, which cannot be imported here (system libraries)")
    import trimesh

    result, output = commands("pointcloud")
    assert result == "done"
    cloud = trimesh.load(output / "point_cloud.ply")
    assert isinstance(cloud, trimesh.PointCloud)
    assert len(cloud.vertices) >= 250
    assert np.abs(cloud.vertices).max() < 1.5


@pytest.mark.parametrize("method", METHODS)
def test_config_survives_yaml(method: str) -> None:
    from nerfstudio.configs.method_configs import all_methods

    config = copy.deepcopy(all_methods[method])
    text = yaml.dump(config)
    loaded = yaml.load(text, Loader=yaml.Loader)
    assert loaded == config
    assert yaml.dump(loaded) == text
    assert loaded.method_name == method


@pytest.mark.parametrize("method", METHODS)
def test_help_of_ns_train_lists_the_options_of_every_method(
    method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nerfstudio.configs.method_configs import all_methods
    from nerfstudio.scripts.train import entrypoint

    monkeypatch.setattr(sys, "argv", ["ns-train", method, "--help"])
    with pytest.raises(SystemExit) as end:
        entrypoint()
    assert end.value.code == 0
    text = capsys.readouterr().out
    volumes = ("residual-layers", "occupancy.resolution", "eikonal-fraction", "pixel-sampler.strategy", "default-time")
    signals = ("field.residual-layers", "field.hash-log2-table-size", "train-num-rays-per-batch", "default-time")
    surfaces = ("sdf-field.encoding.kind", "sdf-field.view-encoding.kind", "camera-optimizer.mode")
    scene_flow = ("field.residual-layers", "loss-variant", "loss-coefficients.flow", "default-time")
    planes = ("density.scales", "occupancy.resolution", "loss-coefficients.envelope", "images-per-batch")
    cost_volumes = ("levels.0.num-planes", "test-source-count", "train-source-counts", "default-time")
    model = all_methods[method].pipeline.model
    kinds = {
        "camera_optimizer": surfaces, "sdf_field": volumes, "loss_variant": scene_flow, "density": planes,
        "levels": cost_volumes,
    }  # fmt: skip
    for option in next((options for name, options in kinds.items() if hasattr(model, name)), signals):
        assert option in text


def train_rank(rank: int, scene: Path, folder: Path) -> None:
    """One of two processes that train together on the CPU, as nerfstudio's launcher does on two GPUs."""
    import torch.distributed as dist
    from nerfstudio.pipelines import base_pipeline
    from nerfstudio.utils import comms

    from method_configs.resfields import resfields_tnerf_tiny

    class CPUParallel(base_pipeline.DDP):
        def __init__(self, module: torch.nn.Module, device_ids: list[int], **options: Any) -> None:
            super().__init__(module, **options)  # on the CPU there are no device ids

    base_pipeline.DDP = CPUParallel
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    config: Any = copy.deepcopy(resfields_tnerf_tiny.config)
    config.machine.device_type = "cpu"
    config.pipeline.datamanager.data = scene
    config.output_dir, config.experiment_name, config.timestamp = folder / "outputs", "two", "run"
    config.vis = "tensorboard"
    config.max_num_iterations = 3
    config.steps_per_save = 1
    config.evaluate_after_training = False
    if rank == 0:
        config.save_config()
    torch.manual_seed(config.machine.seed + rank)
    trainer = config.setup(local_rank=rank, world_size=2)
    trainer.setup()
    rays: list[torch.Tensor] = []
    next_train = trainer.pipeline.datamanager.next_train

    def noted_next_train(step: int) -> Any:
        ray_bundle, batch = next_train(step)
        rays.append(batch["indices"])
        return ray_bundle, batch

    trainer.pipeline.datamanager.next_train = noted_next_train
    trainer.train()
    torch.save({"state": trainer.pipeline.model.state_dict(), "rays": rays}, folder / f"rank{rank}.pt")
    comms.synchronize()
    dist.destroy_process_group()


def tensors(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def test_two_processes_train_one_model(tiny_owlii_scene: Path, tmp_path: Path) -> None:
    import torch.multiprocessing as mp

    from nf_plugins.engine.load_run import load_run

    mp.spawn(train_rank, nprocs=2, args=(tiny_owlii_scene, tmp_path))
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert len(first["rays"]) == 3
    assert all(not torch.equal(*pair) for pair in zip(first["rays"], second["rays"], strict=True))
    assert first["state"].keys() == second["state"].keys()
    for name, value in tensors(first["state"]).items():
        assert torch.equal(value, second["state"][name]), name
    run_folder = tmp_path / "outputs" / "two" / "resfields-tnerf-tiny" / "run"
    assert len(list(run_folder.glob("events*"))) == 1  # the other process logs and saves nothing
    _, pipeline, _, step = load_run(run_folder / "config.yml", test_mode="inference")
    assert step == 2
    for name, value in tensors(pipeline.model.state_dict()).items():  # one process reads what two have saved
        assert torch.equal(value, first["state"][name]), name
