"""Whether a processed monocular capture makes sense: numbers, and a picture to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nf_plugins.atomic_files import atomic_path, write_json
from nf_plugins.data.processing.monocular_scene import MonocularScene
from nf_plugins.data.processing.monocular_stages import spread
from nf_plugins.data.processing.photographs import read_photograph
from nf_plugins.data.processing.stage_log import Warnings
from nf_plugins.model_components.flow_colors import flow_colors
from nf_plugins.progress import progress_bar

REPORT_FILE = "report.json"
PREVIEW_FILE = "preview.png"
PREVIEW_ROWS = 6
LARGE_MASK_SHARE = 0.5
SMALL_CYCLE_SHARE = 0.5
WHITE = 0.98
"""A mask that covers this part of a frame says nothing."""


def write_report(scene: MonocularScene, warnings: Warnings, facts: dict[str, Any]) -> dict[str, Any]:
    """Writes ``report.json`` and ``preview.png``, says what looks wrong, and returns the report.

    Args:
        scene: All of its files are there, but for depth perhaps.
        warnings: Gets what looks wrong.
        facts: Further entries.
    """
    masks, cycles, errors, motions = [], {"forward": [], "backward": []}, [], []
    with progress_bar() as progress:
        task = progress.add_task("Report", total=len(scene))
        for frame in range(len(scene)):
            moving = scene.mask(frame)
            masks.append(float(moving.mean()))
            distances = scene.distances(frame)[~moving]
            errors.append(float(np.median(distances)) if distances.size else None)
            for other in scene.neighbours(frame):
                flow, valid = scene.flow(frame, other)
                cycles["forward" if other > frame else "backward"].append(float(valid.mean()))
                motions.append(float(np.median(np.linalg.norm(flow, axis=-1))))
            progress.advance(task)
    _warn(warnings, masks, cycles)
    report = {
        "frames": len(scene),
        "registered_frames": len(scene),
        "size": list(scene.size),
        "focal_length": scene.lens.fx,
        **facts,
        "mask_ratio": _summary(masks),
        "cycle_valid_ratio": {name: _summary(values) for name, values in cycles.items()},
        "median_flow_pixels": _summary(motions),
        "median_epipolar_error_pixels": _summary([error for error in errors if error is not None]),
        "per_frame": {
            "mask_ratio": masks,
            "cycle_valid_ratio_forward": cycles["forward"],
            "cycle_valid_ratio_backward": cycles["backward"],
            "median_epipolar_error_pixels": errors,
        },
        "warnings": warnings.messages,
    }
    write_json(scene.folder.root / REPORT_FILE, report)
    draw_preview(scene, report)
    return report


def draw_preview(scene: MonocularScene, report: dict[str, Any]) -> None:
    """Some frames: the image, flow as colour, where it is confirmed, what moves, and inverse depth (white: unknown)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = spread(len(scene), PREVIEW_ROWS)
    titles = ("frame", "flow", "flow confirmed (white)", "moving (red)", "inverse depth")
    height, width = scene.size
    figure = Figure(
        figsize=(3.0 * len(titles), 3.0 * len(frames) * height / width + 0.8), dpi=100, layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{report['registered_frames']} frames registered, masks {100 * report['mask_ratio']['mean']:.0f} %, flow "
        f"confirmed {100 * report['cycle_valid_ratio']['forward']['mean']:.0f} %",
        fontsize=11,
    )
    axes = figure.subplots(len(frames), len(titles), squeeze=False)
    for row, frame in enumerate(frames):
        image = read_photograph(scene.folder.image(frame))
        flow, valid = scene.flow(frame, scene.neighbours(frame)[-1])
        depth_file = scene.folder.disparity(frame)
        pictures = (image, _painted(flow), valid, _reddened(image, scene.mask(frame)))
        for column, picture in enumerate(pictures):
            axes[row, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
        if depth_file.is_file():
            disparity = np.load(depth_file, allow_pickle=False)
            low, high = np.nanpercentile(disparity, (1, 99))
            axes[row, 4].imshow(disparity, cmap="inferno", vmin=low, vmax=high)
        else:
            axes[row, 4].text(0.5, 0.5, "left out", ha="center")
        for column, title in enumerate(titles):
            axes[row, column].set_axis_off()
            axes[row, column].set_title(f"{title} {frame}" if column == 0 else title, fontsize=8)
    with atomic_path(scene.folder.root / PREVIEW_FILE) as temporary:
        figure.savefig(temporary)


def _painted(flow: NDArray[np.floating]) -> NDArray[np.floating]:
    """Flow (H, W, 2) as colour (H, W, 3) in [0, 1], full at the 95th percentile of its length."""
    longest = max(float(np.percentile(np.linalg.norm(flow, axis=-1), 95)), 1e-6)
    return flow_colors(torch.from_numpy(np.ascontiguousarray(flow)), longest).numpy()


def _warn(warnings: Warnings, masks: list[float], cycles: dict[str, list[float]]) -> None:
    white = [frame for frame, share in enumerate(masks) if share > WHITE]
    cause = (
        "The poses or the flow are wrong, or nearly everything moves: look at preview.png; raise --epipolar-threshold, "
        "or give masks with --motion-masks and no threshold (--epipolar-threshold None)."
    )
    if white:
        warnings.say(
            f"{len(white)} of {len(masks)} motion masks are white everywhere (the first of frame {white[0]}). {cause}"
        )
    elif np.mean(masks) > LARGE_MASK_SHARE:
        warnings.say(f"Motion masks cover {100 * np.mean(masks):.0f} % of the frames. {cause}")
    share = float(np.mean([*cycles["forward"], *cycles["backward"]]))
    if share < SMALL_CYCLE_SHARE:
        warnings.say(
            f"Flow forward and backward agree on {100 * share:.0f} % of the pixels alone: frames may be too far apart "
            "(lower --frame-stride), blurred, or cut."
        )


def _reddened(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    red = np.array([255.0, 0.0, 0.0])
    return np.where(mask[..., None], 0.5 * image + 0.5 * red, image).astype(np.uint8)


def _summary(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"mean": None, "smallest": None, "largest": None}
    return {"mean": float(np.mean(values)), "smallest": min(values), "largest": max(values)}
