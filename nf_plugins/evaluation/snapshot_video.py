"""The snapshots of a run as moving pictures: how the reconstruction comes to be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nf_plugins.evaluation.contact_sheet import TITLES, SheetRow, contact_sheet, enlarge
from nf_plugins.exporters.image_files import Image8, read_image
from nf_plugins.exporters.snapshots import Snapshot
from nf_plugins.exporters.video import frame_writer
from nf_plugins.progress import progress_bar

if TYPE_CHECKING:
    from nf_plugins.exporters.mesh_animation import MeshView, PanelPainter

SMALLEST_HEIGHT = 96
"""Smaller pictures are enlarged by a whole factor, so that the labels fit."""


def animate_snapshots(
    snapshots: Sequence[Snapshot],
    outputs: Sequence[str],
    path: Path,
    fps: float,
    *,
    labelled: bool = True,
    mesh_view: MeshView | None = None,
) -> None:
    """Show snapshots one after the other, their pictures side by side.

    All frames have the size of the last snapshot's; pictures of another size, drawn before an option was changed, are
    scaled to it.

    Args:
        snapshots: In order; each has all of ``outputs``.
        outputs: Names of the pictures, from left to right.
        path: Output, see :func:`~nf_plugins.exporters.video.frame_writer`.
        fps: Snapshots per second.
        labelled: Write the step above the pictures, and what they show.
        mesh_view: How the meshes are looked at, painted to the right of the pictures; None leaves them out.
    """
    shapes = [read_image(snapshots[-1].pictures[name]).shape[:2] for name in outputs]
    painter = _mesh_painter(snapshots, mesh_view)
    titles = [TITLES.get(name, name) for name in outputs] + (["mesh"] if painter is not None else [])
    digits = len(str(snapshots[-1].step))
    with frame_writer(path, fps) as add_frame, progress_bar() as bar:
        for index, snapshot in enumerate(bar.track(snapshots, description="Joining snapshots")):
            images = [_scaled(snapshot.pictures[name], shape) for name, shape in zip(outputs, shapes, strict=True)]
            if painter is not None:
                images.append(painter.paint(index, index / len(snapshots)))
            images = [enlarge(image, SMALLEST_HEIGHT) for image in images]
            if labelled:
                add_frame(contact_sheet([SheetRow(f"step {snapshot.step:{digits}d}", images)], titles))
            else:
                add_frame(_side_by_side(images))


def _mesh_painter(snapshots: Sequence[Snapshot], view: MeshView | None) -> PanelPainter | None:
    """Paints the meshes, all at one scale; None without a view, or without any mesh."""
    from nf_plugins.exporters.mesh_animation import MeshSource, PanelPainter, common_sphere
    from nf_plugins.exporters.mesh_folder import MeshFile

    if view is None or not any(snapshot.mesh for snapshot in snapshots):
        return None
    source = MeshSource([MeshFile(snapshot.mesh, None, snapshot.step) for snapshot in snapshots])
    return PanelPainter(source, view, common_sphere([source]))


def _scaled(path: Path, shape: tuple[int, ...]) -> Image8:
    image = read_image(path)
    if image.shape[:2] == tuple(shape):
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0])))


def _side_by_side(images: Sequence[Image8]) -> Image8:
    """Images (H, W, 3) in one row, white below those that are less high."""
    height = max(image.shape[0] for image in images)
    padded = [np.pad(image, ((0, height - len(image)), (0, 0), (0, 0)), constant_values=255) for image in images]
    return np.concatenate(padded, axis=1)
