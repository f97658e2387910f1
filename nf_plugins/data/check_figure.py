"""One picture of a capture: its cameras around the scene box, its images with masks and box, its times."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.data.check import CaptureReport, SplitReport
from nf_plugins.errors import InputError
from nf_plugins.model_components.visual_hull import project_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN_THUMBNAILS = 8
EVAL_THUMBNAILS = 4
MOST_FRUSTUMS = 60
HULL_RESOLUTION = 40
BOX_EDGES = [(a, b) for a in range(8) for b in range(8) if a < b and (a ^ b) in (1, 2, 4)]
BOX_COLOR, EVAL_COLOR = "tab:orange", "tab:red"


def draw_capture(report: CaptureReport, output_path: Path) -> None:
    """Writes the picture as PNG, whole or not at all.

    Args:
        report: From ``check.check_capture``.
        output_path: Ends in .png; its folder must exist and be writable.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18, 10), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(4, 7, height_ratios=[1, 1, 1, 0.55])
    figure.suptitle(f"{report.data}  ({report.dataparser})", fontsize=13)
    _draw_cameras(figure.add_subplot(grid[:3, :3], projection="3d"), report)
    _draw_times(figure.add_subplot(grid[3, :]), report)
    train = report.splits["train"]
    for slot, index in enumerate(_spread(len(train.dataset), TRAIN_THUMBNAILS)):
        _draw_thumbnail(figure.add_subplot(grid[slot // 4, 3 + slot % 4]), train, index)
    evaluation = report.splits.get("test") or report.splits.get("val")
    if evaluation is not None:
        for slot, index in enumerate(_spread(len(evaluation.dataset), EVAL_THUMBNAILS)):
            _draw_thumbnail(figure.add_subplot(grid[2, 3 + slot]), evaluation, index)
    temporary = output_path.with_name(f".{output_path.stem}.{os.getpid()}.png")
    try:
        figure.savefig(temporary)
        os.replace(temporary, output_path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(output_path: Path) -> None:
    """The picture can be written; found out before the work.

    Raises:
        InputError: It is no .png, is a folder, or its folder is missing or not writable.
    """
    folder = output_path.resolve().parent
    if output_path.suffix.lower() != ".png" or output_path.is_dir():
        raise InputError(f"--output-path {output_path} is no .png file name, expected one such as check.png.")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"The output folder {folder} of --output-path is missing or not writable: choose another one.")


def box_corners(aabb: torch.Tensor) -> torch.Tensor:
    """Corners (8, 3) of a box (2, 3); corners i and j share an edge where i xor j is 1, 2 or 4."""
    return torch.stack([aabb[[(i >> 2) & 1, (i >> 1) & 1, i & 1], [0, 1, 2]] for i in range(8)])


def scene_points(report: CaptureReport) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Points (N, 3) of the scene's subject with a time (N,) each, and what they are; None without any source.

    True point clouds where there are any, else joints (``metadata["keypoints"]``, (T, J, 3)), else the masks' visual
    hull: the points of a grid that are foreground in all images of the middle time, or, with fewer than three images
    per time or in a scene that stands still, in four fifths of all images.
    """
    train = report.splits["train"]
    clouds = train.outputs.metadata.get("point_cloud_filenames")
    if clouds:
        import trimesh

        points, times = [], []
        for frame in _spread(len(clouds), 3):
            vertices = np.asarray(trimesh.load(clouds[frame]).vertices)  # type: ignore[union-attr]
            points.append(vertices[_spread(len(vertices), 1500)])
            times.append(np.full(len(points[-1]), float(train.outputs.metadata["frame_times"][frame])))
        return np.concatenate(points), np.concatenate(times), "true points at three times"
    keypoints = train.outputs.metadata.get("keypoints")
    if keypoints is not None and bool(torch.isfinite(keypoints).any()):
        found = torch.isfinite(keypoints[..., 0])
        times_of_points = train.outputs.metadata["frame_times"][:, None].expand(found.shape)[found]
        return keypoints[found].numpy(), times_of_points.numpy(), "triangulated joints at all times"
    if train.foreground is None or (train.times is None and not report.is_static):
        return None
    views, needed, middle = _spread(len(train.dataset), 60), 0.8, 0.0
    if train.times is not None:
        distinct = torch.unique(train.times)
        middle = float(distinct[len(distinct) // 2])
        together = torch.nonzero(train.times == middle)[:, 0].tolist()
        views, needed = (together, 1.0) if len(together) >= 3 else (views, needed)
    aabb = train.outputs.scene_box.aabb
    axes = [torch.linspace(float(aabb[0, i]), float(aabb[1, i]), HULL_RESOLUTION) for i in range(3)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    votes = torch.zeros(len(points))
    for index in views:
        mask = train.dataset[index]["fg_mask"][..., 0] > 0.5
        x, y, depth = project_points(train.dataset.cameras[index], points)
        row, column = y.floor().long(), x.floor().long()
        seen = (depth > 0) & (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        votes += seen & mask[row.clamp(0, mask.shape[0] - 1), column.clamp(0, mask.shape[1] - 1)]
    inside = points[votes >= needed * len(views)]
    what = "visual hull at the middle time" if needed == 1.0 else "foreground in 80 % of the images"
    return inside.numpy(), np.full(len(inside), middle), what


def _spread(count: int, chosen: int) -> list[int]:
    """At most ``chosen`` different indices in [0, count), evenly spread, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(chosen, count)).round().astype(int)).tolist()


def _draw_cameras(axes: Any, report: CaptureReport) -> None:
    from matplotlib import colormaps

    aabb = report.splits["train"].outputs.scene_box.aabb
    corners = box_corners(aabb).numpy()
    for first, second in BOX_EDGES:
        axes.plot(*corners[[first, second]].T, color=BOX_COLOR, linewidth=1.5)
    colours = colormaps["viridis"]
    title = ["scene box (orange)"]
    drawn = scene_points(report)
    if drawn is not None and len(drawn[0]):
        points, times, what = drawn
        kept = _spread(len(points), 4000)
        axes.scatter(*points[kept].T, s=7, c=times[kept], cmap=colours, vmin=0, vmax=1, alpha=0.7, linewidths=0)
        title.append(what)
    train_positions = report.splits["train"].outputs.cameras.camera_to_worlds[:, :, 3]
    size = 0.12 * float((train_positions - report.factors.look_at_point).norm(dim=-1).median())
    reach = [corners]
    for split in _drawn_splits(report):
        cameras = split.outputs.cameras
        ids = (cameras.metadata or {}).get("camera_id", torch.zeros(len(cameras), 1))[:, 0]
        for camera_id in torch.unique(ids):
            own = torch.nonzero(ids == camera_id)[:, 0]
            positions = cameras.camera_to_worlds[own, :, 3]
            moves = float((positions - positions[0]).norm(dim=-1).max()) > 1e-3 * size
            shown = own[_spread(len(own), MOST_FRUSTUMS if moves else 1)]
            for index in shown.tolist():
                frustum = _frustum(cameras[index], size)
                colour: Any = "dimgray"
                if moves and split.times is not None:
                    colour = colours(float(split.times[index]))
                for line in frustum:
                    axes.plot(*line.T, color=colour, linewidth=1.0)
                if split.name != "train":
                    axes.scatter(*frustum[0][:1].T, color=EVAL_COLOR, s=22)
            reach.append(positions.numpy())
            names = split.outputs.metadata.get("camera_names")
            if names:
                axes.text(*positions[0].tolist(), "  " + names[int(camera_id)], fontsize=8)
    everything = np.concatenate(reach)
    middle, half = (everything.max(0) + everything.min(0)) / 2, np.ptp(everything, axis=0).max() / 2
    for setter, centre in zip((axes.set_xlim, axes.set_ylim, axes.set_zlim), middle, strict=True):
        setter(centre - half, centre + half)
    axes.set_box_aspect((1, 1, 1), zoom=1.15)
    axes.set(xlabel="x", ylabel="y", zlabel="z")
    title.append("cameras: colour = time, grey = standing, red dot = evaluation")
    axes.set_title("\n".join([", ".join(title[:-1]), title[-1]]), fontsize=9)


def _drawn_splits(report: CaptureReport) -> list[SplitReport]:
    """Training, and one evaluation split (the two often hold the same images)."""
    evaluation = report.splits.get("test") or report.splits.get("val")
    return [report.splits["train"]] + ([evaluation] if evaluation is not None else [])


def _frustum(camera: Cameras, size: float) -> list[np.ndarray]:
    """Polylines of a camera's viewing pyramid with depth ``size``; the first begins at the camera's centre."""
    width, height = float(camera.width), float(camera.height)
    local = torch.tensor(
        [
            [(u - float(camera.cx)) / float(camera.fx), -(v - float(camera.cy)) / float(camera.fy), -1.0]
            for u, v in ((0, 0), (width, 0), (width, height), (0, height))
        ]
    )
    pose = camera.camera_to_worlds
    apex = pose[:3, 3].numpy()
    corners = (pose[:3, 3] + size * local @ pose[:3, :3].T).numpy()
    return [np.stack([apex, corner]) for corner in corners] + [corners[[0, 1, 2, 3, 0]]]


def _draw_thumbnail(axes: Axes, split: SplitReport, index: int) -> None:
    data = split.dataset[index]
    image = data["image"].numpy()
    height, width = image.shape[:2]
    axes.imshow(image, extent=(0, width, height, 0))
    if "fg_mask" in data:
        mask = data["fg_mask"][..., 0].numpy()
        if mask.min() < 0.5 < mask.max():
            centres = np.arange(width) + 0.5, np.arange(height) + 0.5
            axes.contour(*centres, mask, levels=[0.5], colors="magenta", linewidths=1.0)
    camera = split.dataset.cameras[index]
    x, y, depth = project_points(camera, box_corners(split.outputs.scene_box.aabb))
    for first, second in BOX_EDGES:
        if depth[first] > 0 and depth[second] > 0:
            axes.plot(x[[first, second]], y[[first, second]], color=BOX_COLOR, linewidth=0.9)
    _draw_keypoints(axes, split, index)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    names = split.outputs.metadata.get("camera_names")
    label = split.name
    if names and camera.metadata:
        label += f" {names[int(camera.metadata['camera_id'])]}"
    if split.times is not None:
        label += f" t={float(split.times[index]):.3f}"
    if split.foreground is not None:
        label += f" fg {float(split.foreground[index]):.0%}"
    axes.set_title(label, fontsize=8, color="black" if split.name == "train" else EVAL_COLOR)


def _draw_keypoints(axes: Axes, split: SplitReport, index: int) -> None:
    """Joints of the image's time, where the capture has any: they should lie on the body in every view."""
    keypoints = split.outputs.metadata.get("keypoints")
    if keypoints is None or split.times is None:
        return
    frame = int((split.outputs.metadata["frame_times"] - split.times[index]).abs().argmin())
    x, y, depth = project_points(split.dataset.cameras[index], keypoints[frame])
    drawn = (depth > 0) & torch.isfinite(x)
    axes.scatter(x[drawn], y[drawn], s=5, c="cyan", edgecolors="black", linewidths=0.3)


def _draw_times(axes: Axes, report: CaptureReport) -> None:
    with_times = [split for split in report.splits.values() if split.times is not None]
    if not with_times:
        axes.text(0.5, 0.5, "the scene stands still" if report.is_static else "no times", ha="center")
        axes.set_axis_off()
        return
    times = [split.times.numpy() for split in with_times if split.times is not None]
    labels = [f"{split.name} ({len(split.dataset)})" for split in with_times]
    colours = ["tab:blue", "tab:green", EVAL_COLOR][: len(times)]
    axes.hist(times, bins=np.linspace(0, 1, 51).tolist(), label=labels, color=colours)
    axes.set(xlabel="time", ylabel="images", xlim=(0, 1))
    axes.legend(fontsize=8)
