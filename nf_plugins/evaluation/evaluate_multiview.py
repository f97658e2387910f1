"""Published protocols of captures with several cameras: what held-out cameras see, measured where the subject is.

"box": PSNR over the pixels that see the subject's box, SSIM and LPIPS over the rectangle around them (ZJU-MoCap,
DNA-Rendering). "nhr" adds PSNR over the foreground without its rim (NHR). "dynerf" adds what happens in the patches
with most motion (Neural 3D Video).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.errors import InputError
from nf_plugins.evaluation.box_protocol import BoxChoice
from nf_plugins.evaluation.dataset_images import (
    RenderedImage,
    Split,
    dataset_for_split,
    image_identity,
    render_and_load,
    truth_of,
    with_learnt_poses,
)
from nf_plugins.evaluation.dynamic_patches import (
    PATCH_SIZE,
    WINDOW,
    DynamicPatches,
    find_dynamic_patches,
    read_patches,
    write_patches,
)
from nf_plugins.evaluation.edge_truth import EdgeTruth, edge_band, edge_psnr, read_edge_truth
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.multiview_metrics import METRICS_NOTE, finite_means, patch_metrics, view_metrics
from nf_plugins.evaluation.protocol import protocol_block
from nf_plugins.progress import progress_bar
from nf_plugins.run_facts import count_parameters

MultiviewProtocol = Literal["box", "nhr", "dynerf"]


@dataclass(frozen=True)
class MultiviewOptions:
    """What is evaluated, and how."""

    protocol: MultiviewProtocol = "box"
    split: Split = "test"
    box: BoxChoice = "frame"
    test_cameras: tuple[str, ...] = ()
    """Names or numbers; empty takes all of the split."""
    frame_stride: int = 1
    """Every n-th of the split's frames."""
    image_stride: int = 1
    """Every n-th of the images that are left."""
    truth_folder: Path | None = None
    """Released pictures for "nhr"; None compares with the data's own."""
    patches: Path | None = None
    """JSON file for "dynerf"; read where it exists, else written."""
    patch_size: int = PATCH_SIZE
    """Of patches that are found."""


def evaluate_multiview(
    pipeline: Any,
    config: Any,
    step: int,
    options: MultiviewOptions | None = None,
    *,
    lpips: LazyLPIPS | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Render held-out images and compare them with the truth.

    Args:
        pipeline: Any nerfstudio pipeline; boxes are those of our dataparsers, else the scene's.
        config: Its TrainerConfig, for the protocol block.
        step: Training step of the weights.
        options: What is evaluated.
        lpips: None leaves LPIPS out.
        checkpoint: The file the weights came from, for the protocol block.

    Returns:
        Plain values: ``protocol`` (its name is ``name``), ``num_parameters``, ``num_images``, ``mean``, ``per_camera``,
        ``images`` (metrics of each), ``patches`` ("dynerf" only), ``seconds`` and ``seconds_per_image`` (rendering it
        and reading its truth, the first image left out; None for a single one). Metrics that are defined for no image
        are left out of the means.

    Raises:
        InputError: The options choose no image, the protocol lacks its masks, pictures or patches, or the model
            renders no colours.
    """
    options = options or MultiviewOptions()
    dataset = dataset_for_split(pipeline.datamanager, options.split)
    indices = chosen_images(dataset, options)
    numbers = frame_numbers(pipeline.datamanager, dataset)
    if options.protocol == "nhr" and options.truth_folder is None and "fg_mask_filenames" not in dataset.metadata:
        raise InputError(
            "--protocol nhr measures within masks, and the run's data have none, expected masks or --truth-folder."
        )
    for index in indices if options.protocol == "nhr" and options.truth_folder is not None else ():
        _released_truth(dataset, index, options.truth_folder, numbers)  # all there, before anything is rendered
    patches = _patches(pipeline, dataset, indices, options) if options.protocol == "dynerf" else None
    dataset, poses = with_learnt_poses(pipeline, dataset)
    places = frame_places(dataset)
    was_training, started = pipeline.training, time.perf_counter()
    pipeline.eval()
    rows: list[dict[str, Any]] = []
    durations: list[float] = []
    try:
        with progress_bar() as progress:
            for index in progress.track(indices, description=f"Evaluating, {options.protocol}"):
                image, seconds = _timed_render(pipeline, dataset, index)
                durations.append(seconds)
                row = {**image_identity(dataset, index), **view_metrics(dataset, index, image, options.box, lpips)}
                if options.protocol == "nhr":
                    truth = _edge_truth(dataset, index, image, options.truth_folder, numbers)
                    row["psnr_inner"] = edge_psnr(image.rgb, truth)
                if patches is not None:
                    row |= patch_metrics(image.rgb, image.truth, patches, places[index], lpips)
                rows.append(row)
    finally:
        pipeline.train(was_training)
    block = protocol_block(config, dataset, options.split, step, device=pipeline.device, checkpoint=checkpoint)
    block |= {
        "name": options.protocol,
        "num_images": len(rows),
        "box": options.box,
        "cameras": sorted({row["camera_id"] for row in rows if row["camera_id"] is not None}),
        "frame_stride": options.frame_stride,
        "image_stride": options.image_stride,
        "truth_folder": None if options.truth_folder is None else str(options.truth_folder),
        "poses": poses,
        "metrics_note": METRICS_NOTE,
    }
    result: dict[str, Any] = {
        "protocol": block,
        "num_parameters": count_parameters(pipeline.model),
        "num_images": len(rows),
        "mean": finite_means(rows),
        "per_camera": _per_camera(rows, dataset.metadata.get("camera_names")),
        "images": rows,
        "seconds": round(time.perf_counter() - started, 3),
        "seconds_per_image": sum(durations[1:]) / len(durations[1:]) if len(durations) > 1 else None,
    }
    return result if patches is None else result | {"patches": patches._asdict()}


def chosen_images(dataset: Any, options: MultiviewOptions) -> list[int]:
    """Indices of the images that the options choose, in order.

    Raises:
        InputError: A camera is unknown to the split, a stride is below 1, or nothing is left.
    """
    if min(options.frame_stride, options.image_stride) < 1:
        raise InputError(
            f"--frame-stride {options.frame_stride} --image-stride {options.image_stride}: expected at least 1."
        )
    identities = [image_identity(dataset, index) for index in range(len(dataset))]
    wanted = {_camera_of(asked, dataset, identities) for asked in options.test_cameras}
    frames = sorted({identity["frame_id"] for identity in identities if identity["frame_id"] is not None})
    kept = set(frames[:: options.frame_stride])
    indices = [
        index
        for index, identity in enumerate(identities)
        if (not wanted or identity["camera_id"] in wanted)
        and (identity["frame_id"] is None or identity["frame_id"] in kept)
    ][:: options.image_stride]
    if not indices:
        raise InputError(f"--test-cameras and strides leave none of the {len(dataset)} images, expected at least one.")
    return indices


def frame_numbers(datamanager: Any, dataset: Any) -> list[int]:
    """The number in the capture of every frame that was trained on."""
    config = getattr(getattr(datamanager, "dataparser", None), "config", None)
    first, stride = getattr(config, "start_frame", 0), getattr(config, "frame_stride", 1)
    times = dataset.metadata.get("frame_times")
    return [first + stride * frame for frame in range(1 if times is None else len(times))]


def frame_places(dataset: Any) -> list[int]:
    """For every image its place among the times of its split."""
    times = dataset.cameras.times
    if times is None:
        return [0] * len(dataset)
    return torch.unique(times.reshape(-1), return_inverse=True)[1].tolist()


def _camera_of(asked: str, dataset: Any, identities: Sequence[Any]) -> int:
    """The ``camera_id`` of a camera of the split, by name or number."""
    present = sorted({identity["camera_id"] for identity in identities if identity["camera_id"] is not None})
    names = dataset.metadata.get("camera_names") or []
    called = {names[camera]: camera for camera in present if camera < len(names)}
    if asked in called:
        return called[asked]
    if asked.isdecimal() and int(asked) in present:
        return int(asked)
    known = ", ".join(called) or ", ".join(map(str, present)) or "no cameras"
    raise InputError(f"--test-cameras names {asked}, which the split does not have, expected some of {known}.")


def _timed_render(pipeline: Any, dataset: Any, index: int) -> tuple[RenderedImage, float]:
    started = time.perf_counter()
    image = render_and_load(pipeline, dataset, index)
    if image.rgb.is_cuda:
        torch.cuda.synchronize(image.rgb.device)
    return image, time.perf_counter() - started


def _edge_truth(
    dataset: Any, index: int, image: RenderedImage, folder: Path | None, numbers: Sequence[int]
) -> EdgeTruth:
    """Released pictures of an image, or the data's own."""
    if folder is not None:
        return _released_truth(dataset, index, folder, numbers)
    if image.foreground is None:
        raise InputError("--protocol nhr measures within masks, and the images have none: use --truth-folder.")
    return EdgeTruth(image.truth, image.foreground > 0.5, edge_band(image.foreground))


def _released_truth(dataset: Any, index: int, folder: Path | None, numbers: Sequence[int]) -> EdgeTruth:
    assert folder is not None
    identity, camera = image_identity(dataset, index), dataset.cameras[index]
    size = (int(camera.height), int(camera.width))
    return read_edge_truth(folder, numbers[identity["frame_id"] or 0], identity["camera_id"] or 0, size)


def _patches(pipeline: Any, dataset: Any, indices: Sequence[int], options: MultiviewOptions) -> DynamicPatches:
    """Those of the options' file, or new ones of all frames of the one camera, which are written there."""
    cameras = {image_identity(dataset, index)["camera_id"] for index in indices}
    if len(cameras) != 1:
        raise InputError(
            f"--protocol dynerf knows patches of one camera, and {len(cameras)} are evaluated, expected one: choose it "
            "with --test-cameras."
        )
    camera = dataset.cameras[indices[0]]
    size = (int(camera.height), int(camera.width))
    if options.patches is not None and options.patches.exists():
        return read_patches(options.patches, size)
    of_camera = [index for index in range(len(dataset)) if image_identity(dataset, index)["camera_id"] in cameras]
    ordered = sorted(of_camera, key=lambda index: image_identity(dataset, index)["time"] or 0.0)
    found = find_dynamic_patches(
        (truth_of(dataset, index, pipeline) for index in ordered), options.patch_size, window=WINDOW
    )
    if options.patches is not None:
        write_patches(options.patches, found)
        CONSOLE.print(f"Patches: {options.patches}", soft_wrap=True)
    return found


def _per_camera(rows: Sequence[dict[str, Any]], names: Sequence[str] | None) -> list[dict[str, Any]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["camera_id"] is not None:
            groups[row["camera_id"]].append(row)
    return [
        {
            "camera_id": camera,
            "name": names[camera] if names is not None and camera < len(names) else None,
            "num_images": len(groups[camera]),
            **finite_means(groups[camera]),
        }
        for camera in sorted(groups)
    ]
