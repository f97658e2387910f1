"""Published protocols of space-time view synthesis from a monocular video.

"nsff" (Li et al., CVPR 2021): of a rig of standing cameras those that were not trained on at a time, at all times, 24 x
11 images of the NVIDIA Dynamic Scene set. "dynamic-nerf" (Gao et al., ICCV 2021): the first camera at twelve times,
images of eight bits. Which images these are is the dataparser's affair.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nf_plugins.data.monocular_dataset import MonocularDataset
from nf_plugins.errors import InputError
from nf_plugins.evaluation.dataset_images import image_identity, render_and_load, with_learnt_poses
from nf_plugins.evaluation.flow_accuracy import flow_accuracy
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.monocular_metrics import MONOCULAR_METRICS, monocular_metrics
from nf_plugins.evaluation.protocol import protocol_block
from nf_plugins.progress import progress_bar
from nf_plugins.run_facts import count_parameters

MonocularProtocol = Literal["nsff", "dynamic-nerf"]
PROTOCOLS: tuple[MonocularProtocol, ...] = ("nsff", "dynamic-nerf")
METRICS_NOTE = (
    "psnr, ssim and lpips (AlexNet) are over whole images; the same with _dynamic are over the motion mask: the mean "
    "of the squared error, of the map of SSIM, and of the map of each layer of LPIPS. ssim_range2 assumes values in a "
    "range of 2, as published numbers of NSFF do, which inflates it; ssim_range1 the true range of 1. Windows of SSIM "
    "are 7 x 7, equally weighted. Means are over images. Images with an empty mask take no part in dynamic means, "
    "and values that are not finite in none; both are counted. A mask is brought to the size of a layer of LPIPS by "
    "its values nearest to the centres of the layer's pixels, (i + 1/2) old / new rounded down; torch's nearest "
    "interpolation, with which numbers were published, takes i old / new, half a pixel of the layer beside."
)


class ProtocolImages(NamedTuple):
    """What a protocol asks a run to render."""

    name: MonocularProtocol
    dataset: Any
    """Of the images."""
    trained: set[tuple[int | None, float | None]]
    """Camera and time, as the dataset counts them, of the images that the run was trained on."""


def protocol_images(datamanager: Any, protocol: MonocularProtocol | None = None) -> ProtocolImages:
    """The images of a protocol.

    Args:
        datamanager: Any of nerfstudio's, of a run whose dataparser knows evaluation protocols (``eval_protocol``).
        protocol: None takes the one that the run's dataparser was given.

    Raises:
        InputError: The dataparser knows none, the run was told to evaluate on its own frames, or there are no views
            of other cameras.
    """
    config = getattr(getattr(datamanager, "dataparser", None), "config", None)
    own = getattr(config, "eval_protocol", None)
    if config is None or own is None:
        raise InputError(
            "The run's data know no protocol of monocular videos (those of nsff-data do): use nf-eval --load-config."
        )
    named = protocol or ("nsff" if own == "auto" else own)
    if named not in PROTOCOLS:
        raise InputError(
            f"The run evaluates on its own frames (--eval-protocol {own}): use nf-eval --load-config, or name one with "
            f"--protocol {' or '.join(PROTOCOLS)}."
        )
    dataparser = datamanager.dataparser if named == own else replace(config, eval_protocol=named).setup()
    outputs = dataparser.get_dataparser_outputs(split="test")
    scale_factor = getattr(datamanager.config, "camera_res_scale_factor", 1.0)
    # The datasets of methods that are not ours have no motion masks, and views at the size of their files.
    return ProtocolImages(named, MonocularDataset(outputs, scale_factor), _trained_on(datamanager, dataparser))


def evaluate_monocular(
    pipeline: Any,
    config: Any,
    step: int,
    protocol: MonocularProtocol | None = None,
    *,
    lpips: LazyLPIPS | None = None,
    image_stride: int = 1,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Render a protocol's images and compare them with the truth.

    Args:
        pipeline: Any nerfstudio pipeline on ``nsff-data``.
        config: Its TrainerConfig, for the protocol block.
        step: Training step of the weights.
        protocol: None takes the one of the run's data.
        lpips: None leaves LPIPS out.
        image_stride: Evaluate every n-th image, and optical flow at every n-th training frame.
        checkpoint: The file the weights came from, for the protocol block.

    Returns:
        Plain values: ``protocol`` (its name is ``name``), ``num_parameters``, ``num_images``, ``num_trained_on`` (how
        many of them a training image shows from the same camera at the same time), ``num_empty_masks`` (None where
        there are no masks), ``mean``, ``not_finite`` (number of such values, by metric), ``images`` (metrics of each),
        ``optical_flow`` (see :func:`~nf_plugins.evaluation.flow_accuracy.flow_accuracy`) and ``seconds``. Metrics that
        are defined for no image are None.

    Raises:
        InputError: See :func:`protocol_images`; also if the model renders no colours.
    """
    named, dataset, trained = protocol_images(pipeline.datamanager, protocol)
    dataset, poses = with_learnt_poses(pipeline, dataset)
    was_training, started = pipeline.training, time.perf_counter()
    pipeline.eval()
    rows: list[dict[str, Any]] = []
    try:
        with progress_bar() as progress:
            for index in progress.track(range(0, len(dataset), image_stride), description=f"Evaluating, {named}"):
                rows.append(_measure(pipeline, dataset, index, eight_bits=named == "dynamic-nerf", lpips=lpips))
    finally:
        pipeline.train(was_training)
    block = protocol_block(config, dataset, "test", step, device=pipeline.device, checkpoint=checkpoint)
    block |= {"num_images": len(rows), "image_stride": image_stride} if image_stride > 1 else {}
    block |= {
        "name": named,
        "filmed_by": "cameras in turns" if _is_rig(dataset) else "one moving camera",
        "eight_bits": named == "dynamic-nerf",
        "poses": poses,
        "mask_source": "motion masks" if rows[0]["motion_share"] is not None else "none",
        "metrics_note": METRICS_NOTE,
    }
    return {
        "protocol": block,
        "num_parameters": count_parameters(pipeline.model),
        "num_images": len(rows),
        "num_trained_on": sum((row["camera_id"], _rounded(row["time"])) in trained for row in rows),
        "num_empty_masks": _empty_masks(rows),
        "mean": plain_means(rows),
        "not_finite": _not_finite(rows),
        "optical_flow": flow_accuracy(pipeline, image_stride),
        "images": rows,
        "seconds": round(time.perf_counter() - started, 3),
    }


def plain_means(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Mean of each metric over the images where it is defined and finite; None where it is nowhere."""
    means: dict[str, float | None] = {}
    for name in MONOCULAR_METRICS:
        values = [row[name] for row in rows if row[name] is not None and math.isfinite(row[name])]
        means[name] = sum(values) / len(values) if values else None
    return means


def _measure(pipeline: Any, dataset: Any, index: int, *, eight_bits: bool, lpips: LazyLPIPS | None) -> dict[str, Any]:
    """One image: which it is, how much of it moves, its metrics."""
    image = render_and_load(pipeline, dataset, index)
    rendered, truth, mask = image.rgb, image.truth, image.motion_mask
    if eight_bits:
        rendered, truth = ((255 * colors).round() / 255 for colors in (rendered, truth))
    return {
        **image_identity(dataset, index),
        "motion_share": None if mask is None else float(mask.float().mean()),
        **monocular_metrics(rendered, truth, mask, lpips),
    }


def _trained_on(datamanager: Any, dataparser: Any) -> set[tuple[int | None, float | None]]:
    """Camera and time of the images that were trained on, as the dataparser of a protocol counts them.

    The run's own dataparser need not know that the video was filmed by cameras in turns: it was not asked for views.
    """
    files = set(map(str, datamanager.train_dataset.image_filenames))
    outputs = dataparser.get_dataparser_outputs(split="train")
    identities = (
        image_identity(outputs, index) for index, path in enumerate(outputs.image_filenames) if str(path) in files
    )
    return {(identity["camera_id"], _rounded(identity["time"])) for identity in identities}


def _rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment, 6)


def _is_rig(dataset: Any) -> bool:
    """Whether the "video" jumps from one standing camera to the next."""
    return "video" not in dataset.metadata.get("camera_names", ())


def _empty_masks(rows: Sequence[dict[str, Any]]) -> int | None:
    if all(row["motion_share"] is None for row in rows):
        return None
    return sum(row["motion_share"] == 0 for row in rows)


def _not_finite(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    counts = {
        name: sum(row[name] is not None and not math.isfinite(row[name]) for row in rows) for name in MONOCULAR_METRICS
    }
    return {name: count for name, count in counts.items() if count}
