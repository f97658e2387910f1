"""Writer of the D-NeRF layout: one camera pose per image, RGBA images, a time per frame.

transforms_{train,val,test}.json   camera_angle_x; frames: file_path (no suffix), time, transform_matrix (OpenGL)
{train,val,test}/r_000.png         8-bit RGBA, straight alpha
mesh/000000.ply                    the true surface per training time, vertex colours, in the camera poses' frame
mesh_frames.json                   the time of every mesh
synth.json                         the request
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.scene_folder import new_scene_folder
from nf_plugins.data.writers.truth_files import padded_bounds, write_mesh, write_png

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DnerfView:
    """One image of one split."""

    split: str
    """train, val or test."""
    rgba: np.ndarray
    """(H, W, 4) uint8, colours not multiplied by alpha."""
    camera_to_world: np.ndarray
    """(4, 4) pose, OpenGL axes, the subject inside the unit sphere."""


@dataclass(frozen=True)
class DnerfFrame:
    """One training time: the true surface and the images taken of it, in whichever splits."""

    time: float
    """In [0, 1]."""
    mesh: ColouredMesh
    """In the frame and units of the camera poses."""
    views: list[DnerfView] = field(default_factory=list)


def write_dnerf_scene(
    folder: Path,
    frames: Iterable[DnerfFrame],
    *,
    camera_angle_x: float,
    world_from_scene: np.ndarray,
    request: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a scene; ``folder`` appears whole, at the end.

    Args:
        frames: in order of time; may be a generator.
        camera_angle_x: horizontal opening angle of every camera, radians.
        world_from_scene: (4, 4), scene units to the data's own; kept in ``synth.json``, the layout has no place for it.
        request: every option that determines the scene (plain JSON values).
        overwrite: replace an earlier scene.

    Raises:
        InputError: the folder holds something to be kept or cannot be written.
    """
    facts: dict[str, Any] = {"layout": "dnerf", "world_from_scene": world_from_scene.tolist()}
    with new_scene_folder(folder, request, overwrite, facts) as staging:
        for name in (*SPLITS, "mesh"):
            (staging / name).mkdir()
        listed: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        mesh_times: list[float] = []
        bounds = []
        for frame in frames:
            write_mesh(staging / "mesh" / f"{len(mesh_times):06d}.ply", frame.mesh)
            bounds.append(np.stack([frame.mesh.vertices.min(axis=0), frame.mesh.vertices.max(axis=0)]))
            mesh_times.append(frame.time)
            for view in frame.views:
                name = f"{view.split}/r_{len(listed[view.split]):03d}"
                write_png(staging / f"{name}.png", view.rgba)
                listed[view.split].append(
                    {
                        "file_path": f"./{name}",
                        "time": frame.time,
                        "transform_matrix": view.camera_to_world.tolist(),
                    }
                )
        for split in SPLITS:
            content = {"camera_angle_x": camera_angle_x, "frames": listed[split]}
            _write_json(staging / f"transforms_{split}.json", content)
        _write_json(
            staging / "mesh_frames.json",
            {"frames": [{"file_path": f"mesh/{i:06d}.ply", "time": time} for i, time in enumerate(mesh_times)]},
        )
        facts["scene_aabb"] = padded_bounds(bounds).tolist()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
