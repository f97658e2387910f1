"""A capture's numbers, gathered by reading all of it, and what about them will spoil a training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs

from nf_plugins.data import validation
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.multi_view import MultiViewFactors, multi_view_factors
from nf_plugins.data.parallel import threaded_map
from nf_plugins.errors import InputError
from nf_plugins.model_components.box_collider import intersect_box

SPLITS = ("train", "val", "test")
RAYS_PER_IMAGE = 256
FEWEST_RAYS_IN_BOX = 0.99
"""Of the foreground's rays."""
FEWEST_UNMASKED_RAYS_IN_BOX = 0.1
"""Of all rays, where no mask tells which belong to the subject and the background may lie outside the box."""


@dataclass
class SplitReport:
    """Numbers of one split."""

    name: str
    dataset: DynamicDataset
    outputs: DataparserOutputs
    images_per_camera: dict[str, int]
    """Images of every physical camera."""
    resolutions: dict[str, int]
    """Images of every resolution, e.g. {"400x300": 12}."""
    times: torch.Tensor | None
    """(N,), or None where the dataparser gives none."""
    foreground: torch.Tensor | None
    """(N,): fraction of every image that its mask calls foreground; None without masks."""
    rays_in_box: float
    """Fraction of the foreground pixels' rays (of all pixels' without masks) that cross the scene box."""


@dataclass
class CaptureReport:
    """Numbers of a capture."""

    dataparser: str
    data: Path
    splits: dict[str, SplitReport]
    factors: MultiViewFactors
    time_spacing: tuple[float, float, float] | None
    """Least, median and largest step between neighbouring training times; None without times."""
    is_static: bool = False
    """Whether the dataparser is for scenes that stand still, whose images need no times."""
    warnings: list[str] = field(default_factory=list)
    """Sentences on what is allowed but will hurt."""


def check_capture(config: DataParserConfig, dataparser: str) -> CaptureReport:
    """Reads every split of a capture and every image, mask and depth map in it.

    Args:
        config: Of any registered dataparser, with ``data`` set.
        dataparser: Its name on the command line.

    Raises:
        InputError: The data cannot be trained on; the message names the file.
    """
    splits, failures = {}, {}
    for name in SPLITS:
        try:
            splits[name] = _check_split(config, dataparser, name)
        except InputError as error:
            if name == "train" or _is_ours(config):
                raise
            failures[name] = str(error)
    train = splits["train"]
    ids = _camera_ids(train.outputs)
    # Ours give times wherever the scene may move.
    is_static = train.times is None and _is_ours(config)
    times = torch.zeros(len(ids)) if is_static else train.times
    times = torch.linspace(0, 1, len(ids)) if times is None else times
    factors = multi_view_factors(train.outputs.cameras.camera_to_worlds.cpu(), times, ids)
    spacing = None
    if train.times is not None:
        frame_times = torch.unique(train.times)
        validation.require_distinct_frames(len(frame_times), f"The training split of {config.data}")
        steps = frame_times.diff()
        spacing = (float(steps.min()), float(steps.median()), float(steps.max()))
    report = CaptureReport(dataparser, config.data, splits, factors, spacing, is_static)
    report.warnings += [f"The {name} split cannot be read: {sentence}" for name, sentence in failures.items()]
    report.warnings += _warnings(report)
    return report


def _check_split(config: DataParserConfig, dataparser: str, name: str) -> SplitReport:
    outputs = _parse(config, dataparser, name)
    cameras = outputs.cameras
    validation.require_equal_counts(
        f"The {name} split of {config.data} (images)",
        len(outputs.image_filenames),
        "its list of cameras",
        len(cameras),
        "give every image its camera.",
    )
    if len(cameras) == 0:
        raise InputError(f"The {name} split of {config.data} has no images, expected at least one.")
    # The frames of a video are decoded and checked already, pictures of meshes are drawn.
    if not {"video_clip", "mesh_pictures"} & set(outputs.metadata):
        _require_image_sizes(outputs, name)
    for index in torch.nonzero(~torch.isfinite(cameras.camera_to_worlds).all(dim=-1).all(dim=-1))[:, 0].tolist():
        raise InputError(f"The camera of {outputs.image_filenames[index]} holds NaN, expected a finite pose.")
    times = None if cameras.times is None else cameras.times[:, 0].cpu()
    if times is not None:
        validation.require_times(times, [str(path) for path in outputs.image_filenames])
    dataset = DynamicDataset(outputs)
    pixels = threaded_map(lambda index: _sampled_pixels(dataset, index), range(len(dataset)), f"Reading {name} images")
    ids = _camera_ids(outputs)
    names = outputs.metadata.get("camera_names")
    return SplitReport(
        name=name,
        dataset=dataset,
        outputs=outputs,
        images_per_camera=dict(
            Counter(names[camera_id] if names else f"camera {camera_id}" for camera_id in ids.tolist())
        ),
        resolutions=dict(
            Counter(
                f"{int(w)}x{int(h)}" for w, h in zip(cameras.width.flatten(), cameras.height.flatten(), strict=True)
            )
        ),
        times=times,
        foreground=None if dataset.fg_mask_filenames is None else torch.tensor([part for _, part in pixels]),
        rays_in_box=_fraction_of_rays_in_box(outputs, [coords for coords, _ in pixels]),
    )


def _require_image_sizes(outputs: DataparserOutputs, name: str) -> None:
    """Reads every image's header; its size is that of its camera."""
    if "image_preparation" in outputs.metadata or "picture_source" in outputs.metadata:
        return  # The dataset compares what it reads with the lenses of the files.
    cameras = outputs.cameras
    headers = validation.read_image_headers(outputs.image_filenames, f"Checking {name} images")
    factor = outputs.metadata.get("downscale_factor", 1)
    for index, (path, header) in enumerate(zip(outputs.image_filenames, headers, strict=True)):
        expected = (int(cameras.height[index]), int(cameras.width[index]))
        if (header.height // factor, header.width // factor) != expected:
            raise InputError(
                f"The image {path} is {header.width}x{header.height} pixels, but its camera is {expected[1]}x"
                f"{expected[0]} (times {factor}), expected the same size: correct the camera or write the image anew."
            )


def _is_ours(config: DataParserConfig) -> bool:
    """Whether a dataparser is of this package: its messages are sentences already."""
    return type(config).__module__.split(".")[0] == "dataparsers"


def _parse(config: DataParserConfig, dataparser: str, split: str) -> DataparserOutputs:
    """The outputs of a split; what a foreign dataparser throws is put into a sentence."""
    hint = layout_hint(config.data, dataparser)
    if not _is_ours(config):
        validation.require_folder(config.data, f"data for {dataparser}", hint)
    try:
        return config.setup().get_dataparser_outputs(split)
    except InputError:
        raise
    except Exception as error:  # a foreign dataparser may fail in any way on data that are not its own
        what = f"{dataparser} cannot read the {split} split of {config.data} ({type(error).__name__}: {error})"
        raise InputError(f"{what}, expected its layout. {hint}".strip()) from error


def _sampled_pixels(dataset: DynamicDataset, index: int) -> tuple[torch.Tensor, float]:
    """Reads an image and everything that belongs to it.

    Returns:
        Evenly chosen foreground pixels' centres (R, 2) as row and column (of the whole image without masks), and the
        foreground's part of the image.
    """
    data: dict[str, Any] = dataset.get_data(index)
    height, width = data["image"].shape[:2]
    foreground = data["fg_mask"][..., 0] > 0.5 if "fg_mask" in data else torch.ones(height, width, dtype=torch.bool)
    places = torch.nonzero(foreground)
    chosen = torch.linspace(0, max(len(places) - 1, 0), min(RAYS_PER_IMAGE, len(places))).long()
    return places[chosen] + 0.5, float(foreground.float().mean())


def _fraction_of_rays_in_box(outputs: DataparserOutputs, coords: list[torch.Tensor]) -> float:
    indices = torch.repeat_interleave(torch.arange(len(coords)), torch.tensor([len(pixels) for pixels in coords]))
    if len(indices) == 0:
        return 0.0
    rays = outputs.cameras.generate_rays(indices[:, None], coords=torch.cat(coords))
    near, far = intersect_box(rays.origins, rays.directions, outputs.scene_box.aabb.to(rays.origins))
    return float((far > near).float().mean())


def _camera_ids(outputs: DataparserOutputs) -> torch.Tensor:
    """Physical camera of every image: what the dataparser says, else one moving camera."""
    ids = (outputs.cameras.metadata or {}).get("camera_id")
    return torch.zeros(len(outputs.image_filenames), dtype=torch.long) if ids is None else ids[:, 0].long().cpu()


def _warnings(report: CaptureReport) -> list[str]:
    found = []
    for split in report.splits.values():
        fewest = FEWEST_UNMASKED_RAYS_IN_BOX if split.foreground is None else FEWEST_RAYS_IN_BOX
        if split.rays_in_box < fewest:
            what = "of all pixels" if split.foreground is None else "of the foreground"
            found.append(
                f"{1 - split.rays_in_box:.1%} {what} of the {split.name} split lie on rays that miss the scene box: "
                "enlarge the box (aabb.txt, --scene-box), change --scale-factor, or check the poses."
            )
        if split.foreground is not None and bool((split.foreground == 0).any()):
            empty = torch.nonzero(split.foreground == 0)[:, 0].tolist()
            found.append(
                f"{len(empty)} masks of the {split.name} split are empty, the first that of "
                f"{split.outputs.image_filenames[empty[0]]}."
            )
        if split.foreground is not None and bool((split.foreground == 1).all()):
            found.append(
                f"All masks of the {split.name} split are white everywhere: they say nothing about the shape, which "
                "will grow until it fills the images. Segment the subject first."
            )
        if split.times is None and not report.is_static:
            found.append(f"{report.dataparser} gives no times for the {split.name} split: dynamic methods need them.")
    train = report.splits["train"]
    for name in ("val", "test"):
        split = report.splits.get(name)
        if split is not None and set(split.outputs.image_filenames) & set(train.outputs.image_filenames):
            found.append(f"The {name} split shares images with the training split: its numbers will flatter.")
    return found
