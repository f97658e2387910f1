"""One picture that shows at a glance whether a run works: true | rendered | normals | depth, over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nf_plugins.evaluation.dataset_images import Split, dataset_for_split, image_identity, truth_of, with_final_names
from nf_plugins.exporters.image_files import Image8, to_8_bit
from nf_plugins.exporters.rendering import OutputPainter, render_frame
from nf_plugins.progress import progress_bar

LABEL_HEIGHT = 16
GAP = 2
BACKGROUND = 255
DEFAULT_OUTPUTS = ("rgb", "normal_rgb", "depth")
TITLES = {"rgb": "rendered", "normal_rgb": "normals", "depth": "depth", "accumulation": "opacity"}


@dataclass(frozen=True)
class SheetRow:
    """One row: a label in the margin above it and images of one height."""

    label: str
    images: Sequence[Image8]


def contact_sheet(rows: Sequence[SheetRow], titles: Sequence[str]) -> Image8:
    """Lay out rows of images under column titles.

    Args:
        rows: Each with as many images (H, W, 3) as there are titles.
        titles: What the columns show.

    Returns:
        The sheet (H_total, W_total, 3), uint8, white between the images.
    """
    widths = [max(row.images[column].shape[1] for row in rows) for column in range(len(titles))]
    lefts = np.cumsum([0, *(width + GAP for width in widths)])
    heights = [max(image.shape[0] for image in row.images) for row in rows]
    sheet = np.full(
        (LABEL_HEIGHT + sum(LABEL_HEIGHT + height for height in heights), int(lefts[-1]) - GAP, 3),
        BACKGROUND,
        dtype=np.uint8,
    )
    labels = [(int(left), 0, title) for left, title in zip(lefts, titles, strict=False)]
    top = LABEL_HEIGHT
    for row, height in zip(rows, heights, strict=True):
        labels.append((0, top, row.label))
        top += LABEL_HEIGHT
        for left, image in zip(lefts, row.images, strict=False):
            sheet[top : top + image.shape[0], int(left) : int(left) + image.shape[1]] = image
        top += height
    return _draw_labels(sheet, labels)


def pipeline_contact_sheet(
    pipeline: Any,
    split: Split = "test",
    frames: Sequence[int] | None = None,
    *,
    num_rows: int = 4,
    outputs: Sequence[str] = DEFAULT_OUTPUTS,
    smallest_height: int = 96,
) -> Image8:
    """Contact sheet of images of one camera of a split.

    Args:
        pipeline: Any nerfstudio pipeline; outputs that its model does not have are left out.
        split: Whose images to show.
        frames: Frame ids, one row each, of the split's first camera; None takes ``num_rows`` images spread evenly over
            the split's times.
        num_rows: See ``frames``.
        outputs: Model outputs to the right of the true image.
        smallest_height: Smaller images are enlarged by a whole factor, so that the labels fit.

    Returns:
        The sheet (H, W, 3), uint8.
    """
    dataset = dataset_for_split(pipeline.datamanager, split)
    indices = choose_images([image_identity(dataset, index) for index in range(len(dataset))], frames, num_rows)
    rows, painters = [], {name: OutputPainter([name]) for name in outputs}
    was_training = pipeline.training
    pipeline.eval()
    try:
        with progress_bar() as progress:
            for index in progress.track(indices, description="Contact sheet"):
                rendered = with_final_names(render_frame(pipeline, dataset.cameras[index : index + 1]))
                present = [name for name in outputs if name in rendered]
                images = [to_8_bit(truth_of(dataset, index, pipeline))]
                images += [painters[name](rendered) for name in present]
                identity = image_identity(dataset, index)
                rows.append(SheetRow(row_label(identity), [enlarge(image, smallest_height) for image in images]))
    finally:
        pipeline.train(was_training)
    return contact_sheet(rows, ["true", *(TITLES.get(name, name) for name in present)])


def choose_images(identities: Sequence[Any], frames: Sequence[int] | None, num_rows: int) -> list[int]:
    """Image indices of the first camera for the wanted frames, or spread evenly over its images in order of time.

    Where nothing has a time, the images of all cameras stand beside each other.
    """
    is_still = all(entry["time"] is None for entry in identities)
    of_camera = [entry for entry in identities if is_still or entry["camera_id"] == identities[0]["camera_id"]]
    if frames is not None:
        by_frame = {entry["frame_id"]: entry["image_index"] for entry in reversed(of_camera)}
        chosen = [by_frame[frame] for frame in frames if frame in by_frame]
        if chosen:
            return chosen
    in_time = sorted(of_camera, key=lambda entry: (entry["time"] or 0.0, entry["image_index"]))
    positions = np.unique(np.linspace(0, len(in_time) - 1, min(num_rows, len(in_time))).round().astype(int))
    return [in_time[position]["image_index"] for position in positions]


def enlarge(image: Image8, smallest_height: int) -> Image8:
    """Repeat pixels by the smallest whole factor that makes the image at least this high."""
    factor = -(-smallest_height // image.shape[0])
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _draw_labels(sheet: Image8, labels: Sequence[tuple[int, int, str]]) -> Image8:
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for left, top, text in labels:
        pen.text((left + 2, top + 2), text, fill=(0, 0, 0), font=font)
    return np.asarray(canvas)


def row_label(identity: Any) -> str:
    """The time and frame of an image, or its file's name where there is no time."""
    if identity["time"] is None:
        return identity["file_name"]
    frame = "" if identity["frame_id"] is None else f"  frame {identity['frame_id']}"
    return f"t = {identity['time']:.3f}{frame}"
