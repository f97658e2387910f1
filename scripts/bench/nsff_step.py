"""What a training step of NSFF costs: evaluations of its networks, and time, in turns in one process.

python scripts/bench/nsff_step.py --output-path docs/results/nsff_step.json

Rays of a middle frame of a made-up recording; no data are needed, as the cost depends on neither image nor weights.
Evaluations are counted at the networks themselves, multiplications where they are done. Published way: each
neighbouring frame is asked for on its own, and the layers of the heads are computed one after another.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from method_configs import nsff
from nf_plugins.atomic_files import write_json
from nf_plugins.evaluation.protocol import package_versions
from nf_plugins.fields.scene_flow_field import DynamicSamples, RadianceHeads, SceneFlowField
from nf_plugins.models.nsff import NSFFModel, NSFFModelConfig
from nf_plugins.run_facts import machine_name

NUM_FRAMES = 24
FRAME = 12
HEIGHT, WIDTH, FOCAL = 288, 512, 400.0
STAGES = {"A": 0, "B": 1, "C": 2}
"""How many stages are over."""
WAYS = ("published", "this package", "alternate-neighbours")
WARM_UP = 2


@dataclass(frozen=True)
class Size:
    """Networks, and how much they are asked."""

    model: NSFFModelConfig
    rays: int
    """Uniform rays."""
    extra_rays: int
    """Rays through moving pixels on top, in stage A."""


SIZES = {
    "published": Size(NSFFModelConfig(), 1024, 512),
    "fewer-rays": Size(NSFFModelConfig(num_samples=32), 64, 32),
    "nsff-tiny": Size(nsff.tiny_model(), 256, 128),
}
"""The published step; its networks on few rays, for a CPU; and what nsff-tiny does."""


@dataclass
class Options:
    """What to measure."""

    sizes: tuple[Literal["published", "fewer-rays", "nsff-tiny"], ...] = ("nsff-tiny", "fewer-rays")
    """The published step; its networks of 8 x 256 on 64 rays of 32 samples (96 in stage A); nsff-tiny."""
    repetitions: int = 9
    """Measurements of each; the median counts."""
    device: str = "cpu"
    """Where to compute."""
    output_path: Path | None = None
    """JSON file for the table."""


@dataclass
class Evaluations:
    """What one step asks of the networks; filled within :func:`counted`."""

    points: Counter[str]
    """Points by network: static, or dynamic at the frame itself (t), or 1 or 2 frames away."""
    calls: int = 0
    """Batches that go through a network."""
    multiplications: int = 0
    """Of all matrix products, forwards and backwards."""


def make_model(config: NSFFModelConfig, device: str) -> NSFFModel:
    """The method at its start on a recording with flow and depth of a camera that moves sideways."""
    torch.manual_seed(0)
    poses = torch.eye(4)[:3].repeat(NUM_FRAMES, 1, 1)
    poses[:, 0, 3] = torch.linspace(-0.3, 0.3, NUM_FRAMES)
    box = torch.tensor([[-2.0, -2.0, -20.0], [2.0, 2.0, 0.0]])
    metadata = {
        "frame_times": torch.arange(NUM_FRAMES) / NUM_FRAMES,
        "scene_aabb": box,
        "ndc": {"height": HEIGHT, "width": WIDTH, "focal": FOCAL},
        "frame_camera_to_worlds": poses,
        "frame_intrinsics": torch.tensor([[FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]]).repeat(NUM_FRAMES, 1),
        "disparity_filenames": ["disparity.npy"] * NUM_FRAMES,
        "flow_forward_filenames": ["flow.npz"] * NUM_FRAMES,
    }
    model: Any = config.setup(scene_box=SceneBox(aabb=box), num_train_data=NUM_FRAMES, metadata=metadata)
    return model.to(device).train()


def bundle_and_batch(model: NSFFModel, num_rays: int, num_extra: int) -> tuple[RayBundle, dict[str, Tensor]]:
    """Rays of one frame through pixels drawn uniformly, and what the data say of them: colours, depth and flow."""
    total, device = num_rays + num_extra, model.device
    pixels = torch.stack([torch.randint(HEIGHT, (total,)), torch.randint(WIDTH, (total,))], dim=-1)
    rows, columns = (pixels + 0.5).unbind(-1)
    directions = torch.stack([(columns - WIDTH / 2) / FOCAL, -(rows - HEIGHT / 2) / FOCAL, -torch.ones(total)], dim=-1)
    bundle = RayBundle(
        origins=model.frame_camera_to_worlds[FRAME, :, 3].cpu().expand(total, 3),
        directions=nn.functional.normalize(directions, dim=-1),
        pixel_area=torch.ones(total, 1),
        camera_indices=torch.full((total, 1), FRAME),
        times=model.frame_times[FRAME].cpu().expand(total, 1).clone(),
    )
    batch = {
        "image": torch.rand(total, 3),
        "indices": torch.cat([torch.full((total, 1), FRAME), pixels], dim=-1),
        "hard_mined": (torch.arange(total) >= num_rays)[:, None],
        "disparity": torch.rand(total, 1),
    }
    for name in ("optical_flow_forward", "optical_flow_backward"):
        batch |= {name: torch.randn(total, 2), f"{name}_valid": (torch.rand(total, 1) < 0.9).float()}
    return bundle.to(device), {key: value.to(device) for key, value in batch.items()}


def one_frame_at_a_time(dynamic: Callable[..., DynamicSamples], num_rays: int) -> Callable[..., DynamicSamples]:
    """The dynamic network, asked for so many rays at a time and for all of its outputs."""

    def ask(points: Tensor, directions: Tensor, frames: Tensor, *_: Any, **__: Any) -> DynamicSamples:
        parts = zip(points.split(num_rays), directions.split(num_rays), frames.split(num_rays), strict=True)
        answers = [dynamic(*part) for part in parts]
        return DynamicSamples._make(torch.cat(values) for values in zip(*answers, strict=True))

    return ask


def layer_by_layer(heads: RadianceHeads) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """What the heads compute, one layer after another."""

    def answer(hidden: Tensor, encoded_directions: Tensor) -> tuple[Tensor, Tensor]:
        directions = encoded_directions[:, None].expand(-1, hidden.shape[1], -1)
        view = torch.relu(heads.view(torch.cat([heads.feature(hidden), directions], dim=-1)))
        return torch.sigmoid(heads.rgb(view)), heads.density(hidden)[..., 0]

    return answer


@contextmanager
def way_of(model: NSFFModel, way: str, num_rays: int) -> Iterator[None]:
    """The model within this context asks its networks in one of ``WAYS``."""
    config, field = model.config, model.field
    heads = (field.dynamic_radiance, field.static_radiance)
    if way == "published":
        field.dynamic = one_frame_at_a_time(field.dynamic, num_rays)  # type: ignore[method-assign]
        for part in heads:
            part.forward = layer_by_layer(part)  # type: ignore[method-assign]
    model.config = replace(config, alternate_neighbours=way == "alternate-neighbours")
    try:
        yield
    finally:
        model.config = config
        vars(field).pop("dynamic", None)
        for part in heads:
            vars(part).pop("forward", None)


def train_step(model: NSFFModel, bundle: RayBundle, batch: dict[str, Tensor]) -> None:
    """A step without the optimiser."""
    model.zero_grad(set_to_none=True)
    losses = model.get_loss_dict(model(bundle), batch)
    torch.stack(list(losses.values())).sum().backward()


@contextmanager
def counted(field: SceneFlowField) -> Iterator[Evaluations]:
    """Counts what goes through the networks of a field within this context."""
    evaluations = Evaluations(Counter())

    def trunk(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        encoded = inputs[0]
        evaluations.calls += 1
        if module is field.static_trunk:
            evaluations.points["static"] += encoded[..., 0].numel()
            return
        # The encoding begins with what it encodes: x, y, z and time.
        frames = ((encoded[..., 3].detach() + 1) * field.num_frames / 2).round().long().flatten()
        for frame, points in zip(*frames.unique(return_counts=True), strict=True):
            distance = abs(int(frame) - FRAME)
            evaluations.points["t" if distance == 0 else f"t±{distance}"] += int(points)

    hooks = [part.register_forward_pre_hook(trunk) for part in (field.static_trunk, field.dynamic_trunk)]
    try:
        with FlopCounterMode(display=False) as products:
            yield evaluations
        evaluations.multiplications = products.get_total_flops() // 2  # a multiplication and an addition each
    finally:
        for hook in hooks:
            hook.remove()


def seconds(action: Callable[[], object], device: str) -> float:
    """Time of one call: of the processor, whatever else runs on it; of a GPU by the clock."""
    synchronise = torch.cuda.synchronize if device != "cpu" else lambda: None
    synchronise()
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    action()
    synchronise()
    return clock() - started


def product_of_matrices(points: int, width: int, device: str) -> tuple[Callable[[], Tensor], int]:
    """A product as in a hidden layer, into memory that is there, and the number of its multiplications."""
    features, weights = torch.rand(points, width, device=device), torch.rand(width, width, device=device)
    result = torch.empty_like(features)
    return lambda: torch.mm(features, weights, out=result), points * width * width


def measure(name: str, stage: str, options: Options) -> list[list[Any]]:
    """The rows of a size and a stage, one for each way."""
    size = SIZES[name]
    model = make_model(size.model, options.device)
    model.update_to_step(STAGES[stage] * (model.stages.length + 1))
    extra = size.extra_rays if model.stages.draws_moving_pixels(model.step) else 0
    num_rays = size.rays + extra
    bundle, batch = bundle_and_batch(model, size.rays, extra)
    counts, times, products = {}, {way: [] for way in WAYS}, []
    points, width = num_rays * size.model.num_samples, size.model.field.hidden_dim
    product, product_size = product_of_matrices(points, width, options.device)
    for repetition in range(options.repetitions + WARM_UP):
        spent = {}
        for way in WAYS:
            with way_of(model, way, num_rays):
                if way not in counts:
                    with counted(model.field) as counts[way]:
                        train_step(model, bundle, batch)
                spent[way] = seconds(lambda: train_step(model, bundle, batch), options.device)
        one_product = seconds(product, options.device)
        if repetition >= WARM_UP:
            products.append(one_product)
            for way in WAYS:
                times[way].append(spent[way])
    rate = product_size / median(products)
    shares = {way: [mine / full for mine, full in zip(times[way], times["published"], strict=True)] for way in WAYS}
    return [
        [
            f"{name}: {num_rays} x {size.model.num_samples}", stage, way,
            *(counts[way].points[network] for network in ("static", "t", "t±1", "t±2")),
            sum(counts[way].points.values()), counts[way].calls, f"{counts[way].multiplications / 1e9:.3g}",
            f"{1e3 * median(times[way]):.0f}", f"{median(shares[way]):.2f}",
            f"{counts[way].multiplications / rate / median(times[way]):.0%}",
        ]
        for way in WAYS
    ]  # fmt: skip


def main(options: Options) -> None:
    """Measures all sizes and stages, and prints the table."""
    clock = "time of the processor" if options.device == "cpu" else "by the clock"
    fields = {name: SIZES[name].model.field for name in options.sizes}
    result = {
        "title": "A training step of NSFF",
        "command": "python scripts/bench/nsff_step.py --output-path docs/results/nsff_step.json",
        "protocol": {
            "networks": ", ".join(f"{name}: {size.num_layers} x {size.hidden_dim}" for name, size in fields.items()),
            "step": "forwards and backwards, without data and optimiser, at a middle frame, weights as at the start",
            "repetitions": f"{options.repetitions}, in turns, medians, {clock}",
            "threads": torch.get_num_threads(),
            "machine": machine_name(options.device),
            "versions": ", ".join(f"{name} {version}" for name, version in package_versions().items()),
        },
        "columns": [
            "networks: rays x samples", "stage", "way", "static", "dynamic at t", "at t±1", "at t±2", "points in all",
            "calls", "billion multiplications", "milliseconds", "of published", "products alone",
        ],
        "rows": [row for name in options.sizes for stage in STAGES for row in measure(name, stage, options)],
        "notes": [
            "Points that go through each network in one step, counted at the networks. A call is one batch of them.",
            "Multiplications are those of matrix products, forwards and backwards.",
            "Published: each neighbouring frame is asked for on its own, the heads one layer after another. "
            "Milliseconds as a share of published: the median over turns.",
            "Products alone: the share of a step that its multiplications would take at the speed of one product as "
            "in a hidden layer, measured in the same turns.",
        ],
    }  # fmt: skip
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if options.output_path is not None:
        write_json(options.output_path, result)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
