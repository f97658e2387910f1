"""What a model shows at one step of its training: pictures of one training camera, and the surface's mesh.

A snapshot is a few files of one folder, ``step-000001000_rgb.png``, ``..._normal_rgb.png``, ``..._depth.png`` and
``step-000001000.ply``. Their names depend on the step alone, so a step that is taken again after a restart writes its
files again and adds none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras

from nf_plugins.errors import InputError
from nf_plugins.exporters.image_files import write_image
from nf_plugins.exporters.mesh import extract_mesh, write_mesh
from nf_plugins.exporters.rendering import OutputPainter, render_frame
from nf_plugins.exporters.signed_distance_grid import GridSettings

SNAPSHOT_FOLDER = "snapshots"
"""Where they lie in the folder of a run."""
SNAPSHOT_OUTPUTS = ("rgb", "normal_rgb", "depth")
"""The model outputs that are drawn, where the model has them."""
_NAME = re.compile(r"step-(\d{9,})(?:_(\w+)\.png|\.ply)")


@dataclass(frozen=True)
class SnapshotSettings:
    """What a snapshot shows."""

    image: int = 0
    """Which training camera, from 0."""
    downscale: float = 2.0
    """The camera's resolution is divided by this."""
    mesh_resolution: int = 96
    """Grid cells along the longest side of the surface's bounds; 0 writes no mesh."""

    def check(self) -> None:
        """Raise InputError for values out of range, by the names of the trainer's options."""
        if self.image < 0:
            raise InputError(f"--snapshot-image is {self.image}, expected the number of a training image, from 0.")
        if not self.downscale > 0:
            raise InputError(f"--snapshot-downscale is {self.downscale:g}, expected a positive factor.")
        if self.mesh_resolution < 0 or self.mesh_resolution == 1:
            raise InputError(
                f"--snapshot-mesh-resolution is {self.mesh_resolution}, expected at least 2 cells, or 0 for no mesh."
            )


@dataclass
class Snapshot:
    """The files of one step."""

    step: int
    """The last training step that the model had seen."""
    pictures: dict[str, Path] = field(default_factory=dict)
    """By the name of the model's output."""
    mesh: Path | None = None
    """None where the method has no surface, or there was none at this step."""


def snapshot_camera(pipeline: Any, settings: SnapshotSettings) -> Cameras:
    """The reduced training camera (batch of one) that the snapshots of a run show.

    It is the dataset's: where poses are learnt the picture stands still all the same.

    Raises:
        InputError: if there is no such camera, or nothing would be left of it.
    """
    cameras = pipeline.datamanager.train_dataset.cameras
    if settings.image >= len(cameras):
        raise InputError(
            f"--snapshot-image is {settings.image}, expected 0 to {len(cameras) - 1}: the data has {len(cameras)} "
            "training images."
        )
    camera = cameras[settings.image : settings.image + 1]
    camera.rescale_output_resolution(1.0 / settings.downscale)
    if min(int(camera.height.min()), int(camera.width.min())) < 1:
        raise InputError(f"--snapshot-downscale {settings.downscale:g} leaves no pixel; choose a smaller factor.")
    return camera


def write_snapshot(pipeline: Any, folder: Path, step: int, settings: SnapshotSettings) -> Snapshot:
    """Draw and write the pictures and the mesh of one step.

    Depth is coloured between the near and the far side of the sphere in the scene's box, as the camera sees it, so
    that colours mean the same at every step. Meshes are in world units where the data knows them, else in scene units.
    A surface that is nowhere zero gives no mesh, and one printed line; a mesh that an earlier process wrote for the
    same step is removed then.

    Args:
        pipeline: In evaluation mode.
        folder: Where the files go.
        step: The last step that was taken.
        settings: What to draw.

    Returns:
        What was written.
    """
    camera = snapshot_camera(pipeline, settings)
    outputs = render_frame(pipeline, camera)
    depth_range = _depth_range(camera, getattr(pipeline.model, "scene_box", None))
    snapshot = Snapshot(step)
    for name in SNAPSHOT_OUTPUTS:
        if name in outputs:
            snapshot.pictures[name] = folder / f"step-{step:09d}_{name}.png"
            write_image(snapshot.pictures[name], OutputPainter([name], depth_range)(outputs))
    if settings.mesh_resolution and hasattr(pipeline.model, "surface_at"):
        snapshot.mesh = _write_surface(pipeline, camera, folder / f"step-{step:09d}.ply", settings.mesh_resolution)
    return snapshot


def _write_surface(pipeline: Any, camera: Cameras, path: Path, resolution: int) -> Path | None:
    time = 0.0 if camera.times is None else float(camera.times.flatten()[0])
    metadata = getattr(pipeline.datamanager.train_dataset, "metadata", None) or {}
    world_from_scene = metadata.get("world_from_scene")
    mesh = extract_mesh(pipeline.model.surface_at(time), GridSettings(resolution), world_from_scene)
    if len(mesh.faces) == 0:
        path.unlink(missing_ok=True)
        return None
    write_mesh(path, mesh)
    return path


def _depth_range(camera: Cameras, scene_box: Any) -> tuple[float, float] | None:
    """Nearest and farthest distance from a camera to the sphere in the scene's box; None without a box."""
    if scene_box is None:
        return None
    box = torch.as_tensor(scene_box.aabb).detach().cpu()
    distance = float((camera.camera_to_worlds[0, :, 3].cpu() - box.mean(dim=0)).norm())
    radius = 0.5 * float((box[1] - box[0]).max())
    return max(distance - radius, 0.0), distance + radius


def read_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots of a folder, in order of their steps.

    Raises:
        InputError: if there are none.
    """
    snapshots: dict[int, Snapshot] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        snapshot = snapshots.setdefault(int(match.group(1)), Snapshot(int(match.group(1))))
        if match.group(2) is None:
            snapshot.mesh = path
        else:
            snapshot.pictures[match.group(2)] = path
    if not snapshots:
        raise InputError(
            f"There are no snapshots in {folder}, expected files such as step-000001000_rgb.png: train with "
            "--steps-per-snapshot 1000."
        )
    return [snapshots[step] for step in sorted(snapshots)]


def remove_snapshots_from(folder: Path, first_step: int) -> None:
    """Remove the snapshots of a step and of all later ones."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is not None and int(match.group(1)) >= first_step:
            path.unlink()


def snapshots_with(snapshots: Sequence[Snapshot], outputs: Sequence[str]) -> list[Snapshot]:
    """Those snapshots that have all of some pictures.

    Raises:
        InputError: if none has.
    """
    complete = [snapshot for snapshot in snapshots if all(name in snapshot.pictures for name in outputs)]
    if not complete:
        present = sorted({name for snapshot in snapshots for name in snapshot.pictures})
        raise InputError(
            f"--outputs {' '.join(outputs)}: no snapshot shows all of these, there are {' '.join(present) or 'none'}."
        )
    return complete
