"""Occupancy caches on disk: our own file beside a run, and the pair of files of the published code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.atomic_files import atomic_path
from nf_plugins.errors import InputError
from nf_plugins.exporters.model_digest import model_digest
from nf_plugins.model_components.occupancy_cache import OccupancyCache

FORMAT_VERSION = 1
FOLDER = "occupancy"
REFERENCE_FILES = ("binarys.npz", "bounds.npz")
REFERENCE_KEY = "arr_0"
SAME_TIME = 1e-4


class CacheFacts(NamedTuple):
    """What a file says beside the cells."""

    method: str
    """Name of the method."""
    step: int
    """Training step of the checkpoint."""
    raw_threshold: float | None
    """The threshold as the published code gives it, where it was given so."""
    source: str
    """What the cells come from: the field, masks, points, or another file."""


def cache_path(run_dir: Path, tag: str) -> Path:
    """Where a run's cache of a name lies.

    Raises:
        InputError: The name is no file name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", tag):
        raise InputError(f"--tag {tag!r} is no name: use letters, digits, '.', '_' and '-'.")
    return run_dir / FOLDER / f"{tag}.npz"


def cache_tags(run_dir: Path) -> list[str]:
    """Names of the caches of a run."""
    return sorted(path.stem for path in (run_dir / FOLDER).glob("*.npz") if not path.name.startswith("."))


def write_cache(path: Path, cache: OccupancyCache, model: Any, facts: CacheFacts) -> None:
    """Writes a cache of a model, atomically."""
    times = frame_times_of(model)[cache.frame_ids]
    header = {
        "version": FORMAT_VERSION, "tag": cache.tag, "resolution": list(cache.resolution),
        "density_threshold": cache.density_threshold, "metres_per_unit": world_scale(model.metadata),
        "checkpoint": cache.checkpoint, **facts._asdict(),
    }  # fmt: skip
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, bits=cache.bits.numpy(), boxes=cache.boxes.numpy(), frame_ids=cache.frame_ids.numpy(),
            frame_times=times.numpy(), header=np.array(json.dumps(header)),
        )  # fmt: skip


def read_cache(path: Path) -> tuple[OccupancyCache, CacheFacts, Tensor]:
    """A cache, what its file says, and the times ``(F,)`` of its frames.

    Raises:
        InputError: The file is missing, damaged or of a newer format.
    """
    if not path.is_file():
        there = ", ".join(cache_tags(path.parent.parent)) or "none"
        raise InputError(
            f"There is no occupancy cache {path} (caches of this run: {there}): make it with nf-cache grid."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("bits", "boxes", "frame_ids", "frame_times")}
            header = json.loads(str(file["header"]))
        if header["version"] != FORMAT_VERSION:
            raise InputError(
                f"{path} has format {header['version']}, expected {FORMAT_VERSION}: run nf-cache grid again."
            )
        x, y, z = (int(side) for side in header["resolution"])
        cache = OccupancyCache(
            torch.from_numpy(arrays["bits"]), (x, y, z), torch.from_numpy(arrays["boxes"]),
            torch.from_numpy(arrays["frame_ids"]), tag=header["tag"],
            density_threshold=float(header["density_threshold"]), checkpoint=header["checkpoint"],
        )  # fmt: skip
        facts = CacheFacts(*(header[name] for name in CacheFacts._fields))
    except InputError:
        raise
    except Exception as error:  # a damaged zip file raises what it likes
        raise InputError(f"{path} is no occupancy cache ({error}): run nf-cache grid again.") from error
    return cache, facts, torch.from_numpy(arrays["frame_times"])


def load_cache(
    run_dir: Path, tag: str, model: Any, *, step: int | None = None, allow_other_checkpoint: bool = False
) -> OccupancyCache:
    """A run's cache, if it is of this very model.

    Args:
        run_dir: Folder of the run, where config.yml lies.
        tag: Name of the cache.
        model: The loaded model.
        step: Its training step, for the message.
        allow_other_checkpoint: Say in one line that the cache is of other parameters, and use it.

    Raises:
        InputError: It is missing, damaged, of another checkpoint, or its frames are not at the model's times.
    """
    path = cache_path(run_dir, tag)
    cache, facts, times = read_cache(path)
    own = frame_times_of(model)
    ids = cache.frame_ids
    if int(ids.max()) >= len(own) or not torch.allclose(own[ids], times.to(own), atol=SAME_TIME):
        raise InputError(
            f"{path} is of frames {int(ids[0])} to {int(ids[-1])} at times from {float(times[0]):g} to "
            f"{float(times[-1]):g}, which are not those of the {len(own)} frames of this run: run nf-cache grid again."
        )
    if cache.checkpoint != model_digest(model):
        loaded = "the loaded one" if step is None else f"the loaded one of step {step}"
        problem = f"{path} was computed from another checkpoint (step {facts.step}) than {loaded}"
        if not allow_other_checkpoint:
            raise InputError(
                f"{problem}: run nf-cache grid --tag {tag} again, or say --allow-other-checkpoint to skip what was "
                "empty then."
            )
        CONSOLE.print(f"{problem}; it is used all the same.", soft_wrap=True)
    return cache


def write_reference_pair(folder: Path, cache: OccupancyCache, world_from_scene: Any) -> list[Path]:
    """Writes the cells as the published code keeps them: bool ``(F, X, Y, Z)`` and world boxes ``(F, 2, 3)``.

    Raises:
        InputError: The world is turned against the scene, so that boxes are none there.
    """
    scale, origin = scale_and_origin(world_from_scene)
    grids = np.stack([cache.grid(int(frame)).numpy() for frame in cache.frame_ids])
    boxes = (cache.boxes.numpy().astype(np.float64) * scale + origin).astype(np.float32)
    paths = [folder / name for name in REFERENCE_FILES]
    for path, values in zip(paths, (grids, boxes), strict=True):
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, values)
    return paths


def read_reference_pair(folder: Path, world_from_scene: Any, frame_ids: list[int] | None = None) -> OccupancyCache:
    """The cells of a pair of files of the published code.

    Args:
        folder: Where ``binarys.npz`` and ``bounds.npz`` lie.
        world_from_scene: ``(4, 4)``.
        frame_ids: Training frames of the grids, rising; None counts them from 0.

    Raises:
        InputError: A file is missing, damaged or of another shape, or the numbers of frames differ.
    """
    arrays = []
    for name in REFERENCE_FILES:
        path = folder / name
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays.append(file[REFERENCE_KEY])
        except Exception as error:  # a damaged zip file raises what it likes
            raise InputError(f"{path} cannot be read ({error}), expected the array {REFERENCE_KEY}.") from error
    grids, boxes = arrays
    if grids.ndim != 4 or boxes.shape != (len(grids), 2, 3):
        raise InputError(
            f"{folder}: {REFERENCE_FILES[0]} holds {grids.shape} and {REFERENCE_FILES[1]} {boxes.shape}, expected "
            "(frames, X, Y, Z) and (frames, 2, 3)."
        )
    ids = list(range(len(grids))) if frame_ids is None else frame_ids
    if len(ids) != len(grids):
        raise InputError(f"{folder} holds {len(grids)} frames, --frames names {len(ids)}.")
    scale, origin = scale_and_origin(world_from_scene)
    in_scene = torch.from_numpy(((boxes.astype(np.float64) - origin) / scale).astype(np.float32))
    return OccupancyCache.from_grids(torch.from_numpy(grids > 0), in_scene, ids)


def frame_times_of(model: Any) -> Tensor:
    """Training times ``(T,)``, on the CPU; one at 0 where nothing moves."""
    times = getattr(model, "frame_times", None)
    return torch.zeros(1) if times is None else times.detach().cpu().float()


def world_scale(metadata: dict[str, Any]) -> float:
    """World units in a unit of the scene; 1 where the data does not say."""
    matrix = metadata.get("world_from_scene")
    if matrix is None:
        return 1.0
    return float(np.linalg.det(np.asarray(matrix, dtype=np.float64)[:3, :3])) ** (1 / 3)


def scale_and_origin(world_from_scene: Any) -> tuple[float, np.ndarray]:
    """A similarity ``(4, 4)`` that does not turn, as a factor and a translation ``(3,)``; None is the identity.

    Raises:
        InputError: It turns.
    """
    matrix = np.eye(4) if world_from_scene is None else np.asarray(world_from_scene, dtype=np.float64)
    scale = float(matrix[0, 0])
    if scale <= 0 or not np.allclose(matrix[:3, :3], scale * np.eye(3), atol=1e-5 * abs(scale) + 1e-12):
        raise InputError(
            "The scene is turned against the data's world, where the published files have boxes along the axes: such "
            "files cannot be exchanged for this data."
        )
    return scale, matrix[:3, 3]
