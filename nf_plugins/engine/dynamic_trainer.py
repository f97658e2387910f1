"""nerfstudio's trainer, made restartable: the same command continues the run as if it had not stopped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from nerfstudio.configs.base_config import MachineConfig
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils import comms, writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.atomic_files import atomic_path
from nf_plugins.engine import checkpoints, run_folder
from nf_plugins.engine.devices import default_machine_config
from nf_plugins.engine.flags import Flag
from nf_plugins.engine.snapshot_callback import remove_later_snapshots, snapshot_callbacks, snapshot_settings
from nf_plugins.engine.training_record import RECORD_NAME, StepClock, StepInterval, update_training_record
from nf_plugins.errors import InputError
from nf_plugins.run_facts import count_parameters, machine_name


@dataclass
class DynamicTrainerConfig(TrainerConfig):
    """nerfstudio's training options, and what makes a run restartable."""

    _target: type = field(default_factory=lambda: DynamicTrainer)
    """Class to instantiate."""
    machine: MachineConfig = field(default_factory=default_machine_config)
    """Machine configuration; the device is chosen by what the machine has."""
    resume: Flag = False
    """Continue the newest run of this experiment and method from its newest readable checkpoint, up to
    max_num_iterations in all; a new run is started if there is none. With --timestamp, that run is continued."""
    keep_previous_checkpoint: bool = True
    """With save_only_latest_checkpoint, keep the one before the latest as well, in case the latest gets damaged."""
    evaluate_after_training: bool = True
    """Evaluate the held-out images when training ends and write evaluation/test.json into the run's folder."""
    steps_per_snapshot: int = 0
    """Every so many steps, and after the last, write pictures and the surface's mesh into snapshots/ of the run's
    folder; 0 writes none. nf-render snapshots makes a video of them."""
    snapshot_image: int = 0
    """Number of the training image, from 0, whose camera the snapshots show."""
    snapshot_downscale: float = 2.0
    """Divide that camera's resolution by this."""
    snapshot_mesh_resolution: int = 96
    """Grid cells along the longest side of the snapshots' meshes; 0 writes no meshes."""

    def set_timestamp(self) -> None:
        """Name the run's folder: a fresh one, or with resume the newest one there is.

        This is the first thing that ns-train does with a config, so a command that cannot work ends here, before
        anything is written.

        Raises:
            InputError: if the output folder is not writable, the run to continue was started with other options or is
                being trained by another process, a finished run would be overwritten, or an option of the snapshots
                is out of range.
        """
        snapshot_settings(self)
        if self.resume and self.timestamp == "{timestamp}":
            newest = run_folder.find_newest_run(self.get_base_dir().parent)
            if newest is not None:
                self.timestamp = newest.name
        super().set_timestamp()
        self._check_run_folder()

    def _check_run_folder(self) -> None:
        base_dir = self.get_base_dir()
        run_folder.check_folder_writable(base_dir)
        if not checkpoints.list_checkpoints(self.get_checkpoint_dir()):
            return
        if self.resume:
            run_folder.check_same_training(base_dir / run_folder.CONFIG_NAME, self)
        elif self.load_dir is None and self.load_checkpoint is None:
            raise InputError(
                f"The run {base_dir} already holds checkpoints: add --resume to continue it, or choose another "
                "--timestamp."
            )
        run_folder.check_not_training(base_dir)

    def save_config(self) -> None:
        """Write config.yml into the run's folder, whole or not at all.

        Raises:
            InputError: if the folder is not writable.
        """
        path = self.get_base_dir() / run_folder.CONFIG_NAME
        CONSOLE.log(f"Saving config to: {path}")
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.dump(self), "utf8")


class DynamicTrainer(Trainer):
    """nerfstudio's trainer with whole checkpoints, exact resuming and an evaluation at the end.

    A checkpoint holds the model, the optimisers, the schedules, the gradient scaler and the state of all random number
    generators of the main process at the moment the next step begins. On one CPU the loss curve of a resumed run is
    therefore that of an uninterrupted one, bit for bit. With several processes the others begin anew from
    ``seed + rank + step``: the run goes on with other random rays, not with the same ones. Gradients that are being
    accumulated over several steps (``gradient_accumulation_steps``) are not stored.
    """

    config: DynamicTrainerConfig

    def __init__(self, config: DynamicTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        super().__init__(config, local_rank=local_rank, world_size=world_size)
        self._whole_config = config
        self._completed_step: int | None = None
        self._good_checkpoints: list[Path] = []
        self._random_state: checkpoints.State | None = None
        self._step_clock = StepClock(self.device)

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Set up the pipeline, the optimisers and the viewer, and load the checkpoint to continue from."""
        super().setup(test_mode=test_mode)
        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        self.callbacks = [
            # First of all: later callbacks may draw random numbers.
            TrainingCallback([before], self._begin_training, iters=(self._start_step,)),
            TrainingCallback([before], self._step_clock.begin),
            *self.callbacks,
            TrainingCallback([after], self._note_completed_step),
            *snapshot_callbacks(self.config, getattr(self.pipeline, "module", self.pipeline)),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN], self._evaluate),
        ]

    def train(self) -> None:
        """Train up to ``max_num_iterations`` steps in all, those before a restart included.

        Raises:
            InputError: if another process trains in the same run.
        """
        if not comms.is_main_process():
            self._train_remaining_steps()
            return
        self.base_dir.mkdir(parents=True, exist_ok=True)
        with run_folder.training_lock(self.base_dir):
            checkpoints.remove_unfinished_files(self.checkpoint_dir)
            self._train_remaining_steps()

    def _train_remaining_steps(self) -> None:
        remaining = self.config.max_num_iterations - self._start_step
        if remaining <= 0:
            self._end_completed_run()
            return
        if comms.is_main_process():
            remove_later_snapshots(self.base_dir, self._start_step)
        # The host's loop counts max_num_iterations from the step it starts at.
        self.config = dataclasses.replace(self._whole_config, max_num_iterations=remaining)
        try:
            super().train()
        finally:
            self.config = self._whole_config

    def _begin_training(self, step: int) -> None:
        """Runs once, right before the first step, and makes chance continue where the checkpoint was saved."""
        self.config = self._whole_config
        if self._start_step == 0:
            return
        if self._random_state is not None and comms.is_main_process():
            checkpoints.unpack_random_state(self._random_state)
        else:
            seed = self.config.machine.seed + comms.get_rank() + step
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
        self._random_state = None

    def _note_completed_step(self, step: int) -> None:
        self._step_clock.end(step)
        self._completed_step = step

    def _end_completed_run(self) -> None:
        """Nothing is left to train: say so, write nothing but a missing evaluation, keep the viewer open."""
        self.step = self._start_step - 1
        self.training_state = "completed"
        CONSOLE.print(
            f"The run {self.base_dir} is already complete: {self._start_step} of {self.config.max_num_iterations} "
            "steps; raise --max-num-iterations to train further."
        )
        evaluation = self._evaluation_path()
        checkpoint = self._good_checkpoints[-1]
        if not evaluation.exists() or evaluation.stat().st_mtime < checkpoint.stat().st_mtime:
            self._evaluate(step=self.step)
        self._init_viewer_state()
        if not self.config.viewer.quit_on_train_completion:
            self._train_complete_viewer()

    def _after_train(self) -> None:
        if self._completed_step is None:
            CONSOLE.print("Training was stopped before its first step; nothing is saved.")
            return
        # When the loop is stopped from outside, self.step is a step that was never taken.
        self.step = self._completed_step
        super()._after_train()

    def _evaluation_path(self) -> Path:
        return self.base_dir / "evaluation" / "test.json"

    def _evaluate(self, step: int) -> None:
        """Evaluate the held-out images. The run is saved by now: an error here is told and does not end the process."""
        if not self.config.evaluate_after_training or not comms.is_main_process():
            return
        from nf_plugins.evaluation.evaluate import evaluate_pipeline

        self.pipeline.eval()
        try:
            evaluate_pipeline(self.pipeline, self.config, step, split="test", output_path=self._evaluation_path())
        except Exception as error:
            CONSOLE.print(f"[bold yellow]The evaluation after training failed, the run itself is saved:[/] {error}")
        finally:
            self.pipeline.train()

    def _load_checkpoint(self) -> None:
        """Load the checkpoint to continue from, if there is one.

        Raises:
            InputError: if a checkpoint that the user named cannot be read or belongs to another method.
        """
        found = self._find_checkpoint()
        if found is None:
            CONSOLE.print("No checkpoint to continue from: training starts at step 0.")
            return
        path, state = found
        self._restore(path, state)
        CONSOLE.print(f"Continuing from {path}, at step {self._start_step}.")

    def _find_checkpoint(self) -> tuple[Path, checkpoints.State] | None:
        config = self.config
        if config.resume:
            newest = checkpoints.load_newest_valid(self.checkpoint_dir)
            if newest is not None:
                return newest
        if config.load_dir is not None:
            return _checkpoint_of_folder(config.load_dir, config.load_step)
        if config.load_checkpoint is not None:
            return config.load_checkpoint, checkpoints.load_checkpoint(config.load_checkpoint)
        return None

    def _restore(self, path: Path, state: checkpoints.State) -> None:
        try:
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
        except RuntimeError as error:
            raise InputError(
                f"The checkpoint {path} does not fit the model of {self.config.method_name} "
                f"({_last_line(error)}): choose a checkpoint of the same method and settings."
            ) from error
        _check_groups(path, "optimizers", state["optimizers"], self.optimizers.optimizers)
        try:
            self.optimizers.load_optimizers(state["optimizers"])
        except ValueError as error:
            raise InputError(f"The optimiser state in {path} does not fit this model ({error}).") from error
        if "schedulers" in state and self.config.load_scheduler:
            _check_groups(path, "schedulers", state["schedulers"], self.optimizers.schedulers)
            self.optimizers.load_schedulers(state["schedulers"])
        self.grad_scaler.load_state_dict(state["scalers"])
        self._start_step = state["step"] + 1
        self._random_state = state.get("random_state")
        self._good_checkpoints = [path]

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Save everything that the next step depends on, then delete older checkpoints as the config asks.

        Args:
            step: the last step that was taken.
        """
        path = self.checkpoint_dir / checkpoints.checkpoint_name(step)
        # Before the checkpoint: writing it waits for the GPU, and that wait belongs to the steps.
        interval = self._step_clock.take()
        _flush_logs()
        checkpoints.save_checkpoint_atomically(self._state(step), path)
        self._good_checkpoints = [good for good in self._good_checkpoints if good != path] + [path]
        if self.config.save_only_latest_checkpoint:
            keep = self._good_checkpoints[-2:] if self.config.keep_previous_checkpoint else [path]
            checkpoints.remove_checkpoints_except(self.checkpoint_dir, set(keep))
        if interval is not None:
            self._record_training(interval)

    def _record_training(self, interval: StepInterval) -> None:
        """Bring training.json up to the checkpoint that was just saved."""
        pipeline: Any = getattr(self.pipeline, "module", self.pipeline)
        update_training_record(
            self.base_dir / RECORD_NAME,
            interval,
            machine=machine_name(self.device),
            num_parameters=count_parameters(pipeline.model),
        )

    def _state(self, step: int) -> dict[str, Any]:
        pipeline: Any = getattr(self.pipeline, "module", self.pipeline)
        return {
            "step": step,
            "pipeline": pipeline.state_dict(),
            "optimizers": {name: value.state_dict() for name, value in self.optimizers.optimizers.items()},
            "schedulers": {name: value.state_dict() for name, value in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "random_state": checkpoints.pack_random_state(),
        }


def _flush_logs() -> None:
    """Put what was logged so far on disk: steps before a checkpoint are never taken, and so never logged, again."""
    writer.write_out_storage()
    for event_writer in writer.EVENT_WRITERS:
        if isinstance(event_writer, writer.TensorboardWriter):
            event_writer.tb_writer.flush()


def _checkpoint_of_folder(folder: Path, step: int | None) -> tuple[Path, checkpoints.State]:
    if step is not None:
        path = folder / checkpoints.checkpoint_name(step)
        return path, checkpoints.load_checkpoint(path)
    newest = checkpoints.load_newest_valid(folder)
    if newest is None:
        raise InputError(
            f"--load-dir {folder} holds no readable checkpoint, expected step-XXXXXXXXX.ckpt files as ns-train writes "
            "them into nerfstudio_models/ of a run."
        )
    return newest


def _check_groups(path: Path, kind: str, stored: dict[str, Any], current: dict[str, Any]) -> None:
    if stored.keys() != current.keys():
        raise InputError(
            f"The checkpoint {path} has {kind} for {', '.join(sorted(stored)) or 'nothing'}, this method has them for "
            f"{', '.join(sorted(current)) or 'nothing'}: choose a checkpoint of the same method."
        )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__
