"""Snapshots while training, which leave the training as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.utils import comms
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.engine import checkpoints
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.exporters.snapshots import SnapshotSettings


class SnapshotOptions(Protocol):
    """The part of a trainer's config that is about snapshots."""

    steps_per_snapshot: int
    snapshot_image: int
    snapshot_downscale: float
    snapshot_mesh_resolution: int
    max_num_iterations: int

    def get_base_dir(self) -> Path:
        """The run's folder."""
        ...


def snapshot_settings(config: SnapshotOptions) -> SnapshotSettings:
    """What the trainer's options say of snapshots.

    Raises:
        InputError: for values out of range.
    """
    from nf_plugins.exporters.snapshots import SnapshotSettings

    if config.steps_per_snapshot < 0:
        raise InputError(
            f"--steps-per-snapshot is {config.steps_per_snapshot}, expected a number of steps, or 0 for none."
        )
    settings = SnapshotSettings(config.snapshot_image, config.snapshot_downscale, config.snapshot_mesh_resolution)
    settings.check()
    return settings


def snapshot_callbacks(config: SnapshotOptions, pipeline: Any) -> list[TrainingCallback]:
    """The callback that draws a snapshot every ``steps_per_snapshot`` steps and after the last; none if that is 0.

    It runs at the end of a step, before the checkpoint of the same step is written: a run that is continued from a
    checkpoint has all snapshots up to it.

    Raises:
        InputError: for options out of range, or a training camera that does not exist.
    """
    if config.steps_per_snapshot == 0:
        return []
    from nf_plugins.exporters.snapshots import SNAPSHOT_FOLDER, snapshot_camera

    settings = snapshot_settings(config)
    snapshot_camera(pipeline, settings)
    folder, last_step = config.get_base_dir() / SNAPSHOT_FOLDER, config.max_num_iterations - 1

    def draw(step: int) -> None:
        if (step % config.steps_per_snapshot == 0 or step == last_step) and comms.is_main_process():
            draw_snapshot(pipeline, folder, step, settings)

    return [TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], draw)]


def remove_later_snapshots(run_dir: Path, first_step: int) -> None:
    """Remove what an earlier process drew of the steps that are to be taken now: they are another run's if the
    checkpoints were lost or the options changed, and would stay where fewer snapshots are drawn."""
    from nf_plugins.exporters.snapshots import SNAPSHOT_FOLDER, remove_snapshots_from

    remove_snapshots_from(run_dir / SNAPSHOT_FOLDER, first_step)


def draw_snapshot(pipeline: Any, folder: Path, step: int, settings: SnapshotSettings) -> None:
    """Write one snapshot and say so; what goes wrong is said too, and training goes on."""
    from nf_plugins.exporters.snapshots import write_snapshot

    started = time.perf_counter()
    try:
        with training_undisturbed(pipeline):
            snapshot = write_snapshot(pipeline, folder, step, settings)
    except Exception as error:  # a picture is not worth the run: no memory, no disk, a model that is not a number yet
        message = str(error).strip() or type(error).__name__
        CONSOLE.print(f"[bold yellow]No snapshot at step {step}, training goes on:[/]", message.splitlines()[0])
        return
    parts = [*snapshot.pictures, *(["mesh"] if snapshot.mesh is not None else [])]
    seconds = time.perf_counter() - started
    CONSOLE.print(f"Snapshot at step {step}: {', '.join(parts) or 'nothing to show'} ({seconds:.1f} s).")


@contextmanager
def training_undisturbed(pipeline: Any) -> Iterator[None]:
    """The block finds the pipeline in evaluation mode; afterwards mode and chance are as before.

    What is drawn at random in the block has no influence on the steps that follow.
    """
    random_state = checkpoints.pack_random_state()
    modes = {module: module.training for module in pipeline.modules()}
    pipeline.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        checkpoints.unpack_random_state(random_state)
