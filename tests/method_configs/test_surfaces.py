"""The registered surface methods, and each small one from a scan to its pictures, mesh and numbers."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from ball_scan import RADIUS, WORLD_CENTRE, WORLD_SCALE, write_ball_scan
from nerfstudio.cameras.rays import RayBundle

from method_configs import surfaces
from nf_plugins.cli.eval_dtu import EvaluateDTU
from nf_plugins.cli.export import ExportMesh
from nf_plugins.engine.load_run import load_run
from nf_plugins.errors import InputError

ENCODINGS = {
    "idr": "posenc",
    "idr-fourier": "fourier",
    "idr-hash": "hash",
    "idr-nffb": "nffb",
    "idr-stylemod-nffb": "stylemod-nffb",
}
NUM_VIEWS = 5


def specification(name: str) -> Any:
    return getattr(surfaces, name.replace("-", "_")).config


@pytest.mark.parametrize(("name", "kind"), ENCODINGS.items())
def test_published_numbers(name: str, kind: str) -> None:
    config = specification(name)
    model, rays = config.pipeline.model, config.pipeline.datamanager.train_num_rays_per_batch
    assert (config.method_name, config.max_num_iterations, rays) == (name, 98_049, 2048)
    field = model.sdf_field
    assert (field.num_layers, field.hidden_dim, field.skip_layer, field.feature_dim) == (8, 512, 4, 256)
    assert (field.color_num_layers, field.color_hidden_dim, field.initial_radius) == (4, 512, 0.6)
    assert (field.encoding.kind, field.view_encoding.kind, field.view_encoding.num_frequencies) == (kind, "posenc", 4)
    assert model.loss_coefficients == {"rgb": 1.0, "eikonal": 0.1, "mask": 100.0, "curvature": 0.0}
    assert (model.mask_alpha, model.mask_alpha_milestones) == (50, (12_250, 24_500, 36_750, 49_000, 61_250))
    tracing = model.tracing
    assert (tracing.threshold, tracing.max_steps, tracing.num_samples, tracing.num_secant_steps) == (5e-5, 10, 100, 8)
    adam, decay = (config.optimizers["fields"][key] for key in ("optimizer", "scheduler"))
    assert (adam.lr, decay.milestones, decay.factor) == (1e-4, (49_000, 73_500), 0.5)
    # The original shortens gradients nowhere; HashMod does.
    assert adam.max_norm == (None if name == "idr" else 1.0)


def nested_configs(value: Any) -> list[Any]:
    """All config objects below one that can be changed."""
    if isinstance(value, type):
        return []
    parts = vars(value).values() if is_dataclass(value) else value.values() if isinstance(value, dict) else ()
    below = [found for part in parts for found in nested_configs(part)]
    can_be_changed = is_dataclass(value) and not type(value).__dataclass_params__.frozen  # type: ignore[attr-defined]
    return [value, *below] if can_be_changed else below


def test_no_two_methods_share_a_config_object() -> None:
    owners: dict[int, str] = {}
    for name in (f"{name}{suffix}" for name in [*ENCODINGS, "hashmod-neus"] for suffix in ("", "-tiny")):
        for config in nested_configs(specification(name)):
            assert owners.setdefault(id(config), name) == name, f"{type(config).__name__} of {owners[id(config)]}"


@pytest.mark.parametrize("name", ["idr-tiny", "hashmod-neus", "hashmod-neus-tiny"])
def test_every_encoding_fits_narrow_networks(name: str) -> None:
    networks = specification(name).pipeline.model.sdf_field
    for kind in ENCODINGS.values():
        replace(networks, encoding=replace(networks.encoding, kind=kind, log2_table_size=8)).setup()


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball_scan(tmp_path_factory.mktemp("scan") / "ball", num_views=NUM_VIEWS, resolution=24)


def train(
    name: str,
    scan: Path,
    output_dir: Path,
    steps: int,
    *,
    resume: bool = False,
    change: Callable[[Any], None] = lambda config: None,
) -> Path:
    """Trains a method for some steps; returns the run's config.yml."""
    from nerfstudio.scripts.train import main

    config = copy.deepcopy(specification(name))
    config.data = scan
    config.output_dir = output_dir
    config.experiment_name, config.timestamp, config.vis = "ball", "run", "tensorboard"
    config.max_num_iterations, config.resume = steps, resume
    config.pipeline.datamanager.train_num_rays_per_batch = 64
    config.pipeline.datamanager.dataparser.eval_mode = "interval"
    config.pipeline.datamanager.dataparser.eval_interval = 4
    change(config)
    main(config)
    return config.get_base_dir() / "config.yml"


@pytest.mark.parametrize("name", [*(f"{name}-tiny" for name in ENCODINGS), "hashmod-neus-tiny"])
def test_trains_resumes_evaluates_and_renders(name: str, scan: Path, tmp_path: Path) -> None:
    run = train(name, scan, tmp_path, 2)
    assert train(name, scan, tmp_path, 4, resume=True) == run
    result = json.loads((run.parent / "evaluation" / "test.json").read_text())
    # Views 0 and 4 are held out.
    assert result["protocol"]["num_images"] == 2 and np.isfinite(result["mean"]["psnr_fg"])
    _, pipeline, _, step = load_run(run)
    assert step == 3
    camera = pipeline.datamanager.train_dataset.cameras[0:1]  # type: ignore[union-attr]
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert list(outputs)[0] == "rgb" and outputs["normal"].shape == (24, 24, 3)
    assert all(bool(value.isfinite().all()) for value in outputs.values())
    assert 0 < float(outputs["accumulation"].mean()) < 1


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(scan: Path, tmp_path: Path) -> None:
    def schedules(config: Any) -> None:
        model = config.pipeline.model
        model.mask_alpha_milestones, model.camera_optimizer.mode = (1, 3), "SO3xR3"
        model.sdf_field.encoding.start_levels, model.sdf_field.encoding.steps_per_level = 1, 1
        config.optimizers["fields"]["scheduler"].milestones = (1, 3)

    runs = []
    for name, stops in (("at-once", (4,)), ("resumed", (2, 4))):
        for steps in stops:
            run = train("idr-hash-tiny", scan, tmp_path / name, steps, resume=steps > stops[0], change=schedules)
        newest = sorted((run.parent / "nerfstudio_models").glob("*.ckpt"))[-1]
        runs.append(torch.load(newest, weights_only=True))
    at_once, resumed = runs
    assert at_once["step"] == resumed["step"] == 3
    assert at_once["schedulers"]["fields"]["last_epoch"] == resumed["schedulers"]["fields"]["last_epoch"]
    for key, value in at_once["pipeline"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, resumed["pipeline"][key]), key


@pytest.fixture(scope="module")
def fitted(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """idr-tiny after sixty steps, from the command line."""
    folder = tmp_path_factory.mktemp("fitted")
    command = [
        str(Path(sys.executable).with_name("ns-train")), "idr-tiny", "--data", str(scan), "--output-dir",
        str(folder), "--experiment-name", "ball", "--timestamp", "run", "--vis", "tensorboard",
        "--max-num-iterations", "60", "--evaluate-after-training", "False", "--steps-per-snapshot", "30",
        "--snapshot-mesh-resolution", "16", "--pipeline.datamanager.train-num-rays-per-batch", "256",
        "--pipeline.model.camera-optimizer.mode", "SO3xR3",
        "dtu-data", "--eval-mode", "interval", "--eval-interval", "4", "--pose-noise-degrees", "0.5",
    ]  # fmt: skip
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder / "ball" / "idr-tiny" / "run" / "config.yml"


def test_sixty_steps_find_the_ball_and_its_numbers(fitted: Path) -> None:
    EvaluateDTU((fitted,), mesh_resolution=24, lpips=False).main()
    result = json.loads((fitted.parent / "evaluation" / "dtu.json").read_text())
    assert result["train_views"]["refined_poses"] and result["train_views"]["mean"]["mask_iou"] > 0.85
    assert result["held_out_views"]["mean"]["mask_iou"] > 0.75
    assert set(result["camera_accuracy"]) == {"before", "after"}
    mesh = trimesh.load(fitted.parent / "evaluation" / "mesh_world.ply")
    radii = np.linalg.norm(mesh.vertices - WORLD_CENTRE, axis=1)  # type: ignore[union-attr]
    assert abs(np.median(radii) / (RADIUS * WORLD_SCALE) - 1) < 0.1
    names = sorted(path.name for path in (fitted.parent / "snapshots").iterdir() if path.suffix == ".ply")
    assert names == ["step-000000000.ply", "step-000000030.ply", "step-000000059.ply"]


def test_exports_one_mesh_in_world_units(fitted: Path, tmp_path: Path) -> None:
    ExportMesh(fitted, tmp_path, resolution=32).main()
    mesh = trimesh.load(tmp_path / "mesh.ply")
    radii = np.linalg.norm(mesh.vertices - WORLD_CENTRE, axis=1)  # type: ignore[union-attr]
    assert abs(np.median(radii) / (RADIUS * WORLD_SCALE) - 1) < 0.1


def test_what_ns_export_asks_of_a_surface_model(fitted: Path) -> None:
    """``ns-export marching-cubes`` needs CUDA. It takes distances, and short rays through the surface for colours."""
    _, pipeline, _, _ = load_run(fitted)
    model: Any = pipeline.model
    assert hasattr(model.config, "sdf_field")
    with torch.no_grad():
        values = model.field.forward_geonetwork(torch.tensor([[0.0] * 3, [0.9] * 3]))[:, 0].contiguous()
    assert float(values[0]) < 0 < float(values[1])
    directions = torch.nn.functional.normalize(torch.randn(4, 5, 3), dim=-1)
    surface = model.surface_at()
    radii = torch.linspace(0.1, 0.9, 200)
    inside = surface.signed_distance((radii[:, None, None, None] * directions).view(-1, 3)).view(200, 4, 5) < 0
    length = torch.full((4, 5, 1), 0.1)
    origins = (radii[inside.sum(0).clamp(max=199)][..., None] + 0.5 * length) * directions
    bundle = RayBundle(
        origins, -directions, torch.ones(4, 5, 1), camera_indices=torch.zeros(4, 5, 1), nears=0 * length, fars=length,
        metadata={"directions_norm": torch.ones(4, 5, 1)},
    )  # fmt: skip
    outputs = model.get_outputs_for_camera_ray_bundle(bundle)
    assert float(outputs["accumulation"].mean()) > 0.9
    assert model.get_rgba_image(outputs, "rgb").shape == (4, 5, 4)


def test_a_checkpoint_of_another_encoding_is_refused(fitted: Path, scan: Path, tmp_path: Path) -> None:
    other = train("idr-hash-tiny", scan, tmp_path, 1)
    checkpoint = next((fitted.parent / "nerfstudio_models").glob("*.ckpt"))
    for path in (other.parent / "nerfstudio_models").glob("*.ckpt"):
        path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(InputError, match="another method or size.*encoding"):
        load_run(other)
